"""Checkpoints from which training resumes exactly: tensors as safetensors, everything else JSON, committed by a rename."""

import math
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ratchet.components.digests import digest_of
from ratchet.components.errors import PausedError, StoreError
from ratchet.components.files import commit_directory, read_json, verify_directory, write_json
from ratchet.components.pretrained import not_finite

Tensors = Mapping[str, Tensor]
Modules = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]
BYTES_PER_SECOND = 2e8  # of a slow disk, until a commit was timed
INTERRUPTED = "training was interrupted after a checkpoint. Run it again to resume from there."


def save_checkpoint(
    root: Path, step: int, modules: Modules, state: Mapping[str, Any], others: Mapping[str, Tensors] | None = None
) -> Path:
    """Commit ``root/step_<step>``: each module's trained weights and optimiser moments, and the JSON state.

    Args:
        others: weights that no optimiser trains, for :func:`weights_of`.
    """

    def write(path: Path) -> None:
        for name, (module, optimizer) in modules.items():
            save_file(trained_state(module), path / f"{name}.safetensors")
            save_file(_optimizer_tensors(optimizer), path / f"{name}.optimizer.safetensors")
        for name, tensors in (others or {}).items():
            save_file(dict(tensors), path / f"{name}.safetensors")
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


def check_identity(state: Mapping[str, Any], identity: str) -> None:
    """
    Raises:
        StoreError: if a checkpoint's state belongs to another identity.
    """
    if state["identity"] != identity:
        raise StoreError(
            f"the checkpoint at step {state['step']} is of run {state['identity'][:12]!r}, not of {identity[:12]!r}. "
            "Delete the checkpoints to train from the start."
        )


def environment(device: torch.device) -> dict[str, str]:
    """What must be equal for a resumed training to give the same bits as an uninterrupted one."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
    }


def prune(root: Path, keep: int, best: Collection[int] = ()) -> None:
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


def load_weights(module: nn.Module, weights: Tensors) -> None:
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


def _finite(tensors: Tensors) -> Tensors:
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


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set from the step's number, so that there is no scheduler whose state must be restored."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class Pace(NamedTuple):
    """How often a training commits."""

    seconds: float = 5.0  # at least so long between two commits
    share: float = 0.02  # of the training's time, which commits do not exceed


PACE = Pace()


class Resumption:
    """What a training needs in order to resume where it was killed: it calls :meth:`begin`, and :meth:`after` each step.

    It commits at its own pace and when interrupted. Checkpoints of another environment, in which the same steps would give
    other bits, are left alone.
    """

    def __init__(
        self,
        work: Path | None = None,
        identity: str = "",
        interrupted: Callable[[], bool] = lambda: False,
        pace: Pace = PACE,
    ) -> None:
        """
        Args:
            work: where the checkpoints are, dropped with the finished stage; None keeps none.
            identity: of settings, data, start and code: a checkpoint of another identity is rejected.
            interrupted: called after each step: whether to commit and end early.
        """
        self.work, self.identity, self.interrupted, self.pace = work, identity, interrupted, pace
        self.root = Path()
        self.modules: Modules = {}
        self.figures: list[list[float]] = []
        self.state: dict[str, Any] = {}  # of the checkpoint that was restored
        self._committed, self._cost = 0.0, 0.0  # when, and how long it took, in seconds

    def part(self, name: str) -> "Resumption":
        """For one of several trainings of a stage."""
        return Resumption(self.work and self.work / name, self.identity, self.interrupted, self.pace)

    def begin(self, modules: Modules) -> list[list[float]]:
        """Restore the newest complete checkpoint, if there is one; returns the figures of the steps that it covers.

        Raises:
            StoreError: if the checkpoints belong to another run, or none is complete.
        """
        self.modules = modules
        if self.work is not None:
            device = next(parameter.device for module, _ in modules.values() for parameter in module.parameters())
            self.root = self.work / digest_of(environment(device))[:16]
            self.state = load_latest(self.root, modules, partial(check_identity, identity=self.identity)) or {}
            self.figures = [list(row) for row in self.state.get("figures", [])]
        # A module's weights and its two moments.
        trained = (tensor for module, _ in modules.values() for tensor in trained_state(module).values())
        self._committed, self._cost = time.monotonic(), 3 * sum(tensor.nbytes for tensor in trained) / BYTES_PER_SECOND
        return list(self.figures)

    def others(self, name: str) -> Tensors:
        """Weights of the restored checkpoint that no optimiser trains."""
        return weights_of(self.root, self.state["step"], name)

    def after(
        self, figures: Sequence[float], state: Mapping[str, Any] | None = None, others: Mapping[str, Tensors] | None = None
    ) -> None:
        """A step was taken. Commit if it is time; diverged weights are not committed.

        Args:
            figures: of this step.
            state: what is needed to resume besides weights, moments and figures, as JSON; after a resume, :attr:`state`.

        Raises:
            PausedError: if training is interrupted.
        """
        self.figures.append(list(figures))
        interrupted, began = self.interrupted(), time.monotonic()
        due = began - self._committed >= max(self.pace.seconds, self._cost / self.pace.share)
        if self.work is not None and (due or interrupted) and all(map(math.isfinite, figures)):
            kept = {**(state or {}), "identity": self.identity, "figures": self.figures}
            save_checkpoint(self.root, len(self.figures), self.modules, kept, others)
            prune(self.root, keep=2)
            self._committed = time.monotonic()
            self._cost = self._committed - began
        if interrupted:
            raise PausedError(INTERRUPTED)
