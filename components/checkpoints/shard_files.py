"""Tensors of which each rank holds a shard, in a directory: PyTorch's distributed checkpoints (DCP), written as safetensors.

DCP's own format has an index that is a pickle; this one has none, and any number of ranks can read it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor


def save_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Each rank writes its own shards; all ranks must call it. Tensors without a dimension come back with one."""
    folder.mkdir(parents=True, exist_ok=True)
    if tensors:
        state_dict_saver.save(
            _with_a_dimension(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True)
        )


def load_shards(into: Mapping[str, Tensor], folder: Path) -> None:
    """Fill the tensors, or this rank's shards of them, in place; nothing is sent."""
    if into:
        state_dict_loader.load(_with_a_dimension(into), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def names_in(folder: Path) -> set[str]:
    """The tensors that a directory holds."""
    return set(HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata)


def read_whole(folder: Path) -> dict[str, Tensor]:
    """All tensors of a directory, whole, in the host's memory."""
    known = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors = {name: of for name, of in known.items() if isinstance(of, TensorStorageMetadata)}
    found = {name: torch.empty(of.size, dtype=of.properties.dtype) for name, of in tensors.items()}
    load_shards(found, folder)
    return found


def in_shards_like(parameter: Tensor, value: Tensor) -> Tensor:
    """This rank's shard of a whole tensor, cut as the parameter is; the tensor itself, if the parameter is whole."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None)


def own_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _with_a_dimension(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor if tensor.dim() else tensor.reshape(1) for name, tensor in tensors.items()}
