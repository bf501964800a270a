"""Weights as files for a server that reads the same folder: a folder per version, synced before the server hears of it."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.errors import EngineError
from ratchet.components.launch.ranks import fingerprint
from ratchet.components.policy.adapters import Adapter
from ratchet.components.policy.loading import Policy
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import sync

REFUSED = (
    "modules_to_save",
    "use_dora",
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
)  # in vLLM's peft_helper.py


class Version(NamedTuple):
    """One version's files, and the name by which the server knows it."""

    name: str
    path: Path


class WeightFiles:
    """The versions of one training, below a folder that the server sees at the same path."""

    def __init__(self, root: Path, adapter: Adapter | None, session: str) -> None:
        """
        Args:
            root: of this training alone; what an earlier process of it left there is removed at the first write.
            adapter: written in place of the whole policy, if there is one.
            session: distinguishes this process's names from those that a server may still know.

        Raises:
            EngineError: if vLLM does not load such an adapter.
        """
        self.root, self.adapter, self.session, self.count = root, adapter, session, 0
        if adapter is not None:
            refuse_adapter(adapter)

    def write(self, policy: Policy) -> Version:
        """Write the weights as the next version.

        Raises:
            EngineError: if the folder cannot be written, or what was written is not whole.
        """
        name = f"policy-{self.session}-v{self.count + 1}"
        path = self.root / name
        try:
            if not self.count:
                shutil.rmtree(self.root, ignore_errors=True)
            path.mkdir(parents=True)
            self._save(policy, path)
            for file in path.iterdir():
                sync(file)
            sync(path)
            sync(self.root)
        except OSError as error:
            raise EngineError(f"{path} cannot be written ({error}). Correct train.sampling.vllm.folder.") from error
        self.count += 1
        return Version(name, path)

    def keep_only(self, version: Version) -> None:
        """Remove every other version."""
        for path in self.root.iterdir():
            if path != version.path:
                shutil.rmtree(path, ignore_errors=True)

    def drop(self, version: Version) -> None:
        """Remove a version."""
        shutil.rmtree(version.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of them, if there are any of this process."""
        if self.count:
            shutil.rmtree(self.root, ignore_errors=True)

    def _save(self, policy: Policy, path: Path) -> None:
        if self.adapter is not None:
            assert self.adapter.policy.model is policy.model
            self.adapter.save(path)
            return
        state = in_half(policy.model.state_dict()) if policy.low_precision else None
        policy.model.save_pretrained(path, state_dict=state)
        check_whole(path, policy)


def refuse_adapter(adapter: Adapter) -> None:
    """Refuse an adapter that vLLM does not load, or loads without a part of it.

    Raises:
        EngineError: naming what it has.
    """
    model = adapter.policy.model
    for config in adapter.peft.peft_config.values():
        had = [name for name in REFUSED if getattr(config, name, None)]
        had += ["bias"] if config.bias != "none" else []
        heads = {"the head": model.get_output_embeddings(), "the embeddings": model.get_input_embeddings()}
        had += [f"low-rank layers on {name}" for name, layer in heads.items() if hasattr(layer, "lora_A")]
        if had:
            raise EngineError(f"vLLM does not serve an adapter with {', '.join(had)}. Train one on linear layers alone.")


def in_half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in bf16; those that share their memory (a tied head) still do."""
    copies: dict[int, Tensor] = {}
    for tensor in state.values():
        if tensor.is_floating_point() and tensor.data_ptr() not in copies:
            copies[tensor.data_ptr()] = tensor.to(torch.bfloat16)
    return {name: copies.get(tensor.data_ptr(), tensor) for name, tensor in state.items()}


def check_whole(path: Path, policy: Policy) -> None:
    """Compare written weights with the model's: as many numbers, a tied head once, one type.

    Raises:
        EngineError: if a tensor is missing, or has another type than the forward pass reads.
    """
    wanted = "BF16" if policy.low_precision else "F32"
    numbers, types = 0, set()
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            parts = [tensors.get_slice(name) for name in tensors.keys()]  # noqa: SIM118 - it is no mapping
        numbers += sum(_size(part) for part in parts)
        types |= {part.get_dtype() for part in parts}
    unique = {p.data_ptr(): p.numel() for p in policy.model.parameters()}
    if numbers != sum(unique.values()) or types != {wanted}:
        raise EngineError(
            f"the weights in {path} have {numbers} numbers of type {', '.join(sorted(types))}, and the model has "
            f"{sum(unique.values())} of type {wanted}. This model cannot be given to vLLM whole; set train.lora."
        )


def _size(part: Any) -> int:
    return int(torch.Size(part.get_shape()).numel())


def trained_digest(model: PreTrainedModel) -> str:
    """A digest of the values that training changes: of what is trained, or of everything where nothing is."""
    trained = [p for p in model.parameters() if p.requires_grad] or list(model.parameters())
    return digest_of([fingerprint(parameter) for parameter in trained])
