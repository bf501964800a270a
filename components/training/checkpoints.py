"""Checkpoints from which training resumes exactly: tensors as safetensors, everything else JSON, committed by a rename."""

import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ratchet.components.errors import StoreError
from ratchet.components.files import commit_directory, read_json, verify_directory, write_json
from ratchet.components.pretrained import not_finite

Modules = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]


def save_checkpoint(root: Path, step: int, modules: Modules, state: Mapping[str, Any]) -> Path:
    """Commit ``root/step_<step>``: each module's trained weights and optimiser moments, and the JSON state."""

    def write(path: Path) -> None:
        for name, (module, optimizer) in modules.items():
            save_file(trained_state(module), path / f"{name}.safetensors")
            save_file(_optimizer_tensors(optimizer), path / f"{name}.optimizer.safetensors")
        write_json(path / "state.json", {"step": step, **state})

    return commit_directory(root / f"step_{step:06d}", write, {"step": step})


def load_latest(root: Path, modules: Modules, check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
    """Restore the newest checkpoint whose hashes all verify; damaged ones are set aside.

    Args:
        check: called with the JSON state before anything is restored; raises if it belongs to another run.

    Returns:
        Its JSON state, or None if there never was a checkpoint.

    Raises:
        StoreError: if there are checkpoints and none is complete.
    """
    committed = sorted(root.glob("step_*"), reverse=True)
    for path in committed:
        try:
            verify_directory(path)
        except StoreError:
            path.rename(path.with_name(f"corrupt.{path.name}.{uuid.uuid4().hex[:8]}"))
            continue
        state = dict(read_json(path / "state.json"))
        if check is not None:
            check(state)
        # Weights before moments: load_weights checks that the checkpoint is of this model.
        for name, (module, optimizer) in modules.items():
            load_weights(module, load_file(path / f"{name}.safetensors"))
            _restore_optimizer(optimizer, _finite(load_file(path / f"{name}.optimizer.safetensors")))
        return state
    if committed or any(root.glob("corrupt.*")):
        raise StoreError(f"no checkpoint in {root} is complete. Delete that directory to train from the start.")
    return None


def prune(root: Path, keep: int, best: Collection[int]) -> None:
    """Delete all but the newest ``keep`` (at least 2) checkpoints and those of the best steps."""
    assert keep >= 2, "the last checkpoint may be the damaged one"
    for path in sorted(root.glob("step_*"))[:-keep]:
        if path.name not in {f"step_{step:06d}" for step in best}:
            shutil.rmtree(path)


def weights_of(root: Path, step: int, name: str) -> dict[str, Tensor]:
    """A module's trained weights in a checkpoint.

    Raises:
        StoreError: if the checkpoint is damaged.
    """
    verify_directory(root / f"step_{step:06d}")
    weights: dict[str, Tensor] = load_file(root / f"step_{step:06d}" / f"{name}.safetensors")
    return weights


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Restore weights saved by :func:`save_checkpoint`.

    Raises:
        StoreError: if they do not match this module, by name or shape, or are not finite.
    """
    shapes = {name: tensor.shape for name, tensor in trained_state(module).items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    strangers = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if strangers:
        names = f"{len(strangers)} tensors, the first {strangers[0]}"
        raise StoreError(f"a checkpoint belongs to another model ({names}). Delete it to train from the start.")
    module.load_state_dict(_finite(weights), strict=False)


def _finite(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    wrong = not_finite(tensors)
    if wrong:
        names = f"{len(wrong)} tensors, the first {wrong[0]}"
        raise StoreError(f"a checkpoint contains NaN or infinity ({names}). Delete it to train from the previous one.")
    return tensors


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's state without frozen parameters and second names of tied tensors (which safetensors refuses)."""
    frozen = {name for name, parameter in module.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
    seen: set[int] = set()
    kept = {}
    for name, tensor in module.state_dict().items():
        if name not in frozen and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
