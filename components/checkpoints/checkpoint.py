"""Checkpoints from which training resumes exactly: tensors as safetensors, everything else JSON, committed by a rename."""

import math
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ratchet.components.checkpoints.moments import put_together, taken_apart
from ratchet.components.checkpoints.shard_files import in_shards_like, load_shards, names_in, own_part, read_whole, save_shards
from ratchet.components.checkpoints.steps import in_order, step_of
from ratchet.components.code.machine import machine_class
from ratchet.components.errors import PausedError, StoreError
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.pretrained.loading import not_finite
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import commit_directory, read_json, verify_directory, write_json

Tensors = Mapping[str, Tensor]
Modules = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's
BYTES_PER_SECOND = 2e8  # of a slow disk, until a commit was timed
INTERRUPTED = "training was interrupted after a checkpoint. Run it again to resume from there."


def save_checkpoint(
    root: Path,
    step: int,
    modules: Modules,
    state: Mapping[str, Any],
    others: Mapping[str, Tensors] | None = None,
    ranks: Ranks = ONE,
) -> Path:
    """Commit ``root/step_<step>``: each module's trained weights and optimiser moments, and the JSON state.

    Args:
        others: weights that no optimiser trains, for :func:`weights_of`.
        ranks: all of them must call it. The first writes everything; or each its shards, and the first commits.
    """
    shards = root / f".shards.step_{step:06d}"
    if ranks.sharded:
        _save_shards(shards, modules, ranks)

    def write(path: Path) -> None:
        if ranks.sharded:
            for folder in shards.iterdir():
                folder.rename(path / folder.name)
        else:
            _save_modules(path, modules)
        for name, tensors in (others or {}).items():
            save_file(dict(tensors), path / f"{name}.safetensors")
        write_json(path / "state.json", {"step": step, **state})

    target = root / f"step_{step:06d}"
    if ranks.first:
        commit_directory(target, write, {"step": step})
        shutil.rmtree(shards, ignore_errors=True)
    ranks.barrier()
    return target


def _save_modules(path: Path, modules: Modules) -> None:
    for name, (module, optimizer) in modules.items():
        save_file(trained_state(module), path / f"{name}.safetensors")
        save_file(_moments(module, optimizer), path / f"{name}.optimizer.safetensors")


def _save_shards(folder: Path, modules: Modules, ranks: Ranks) -> None:
    """All ranks' shards, in a directory that is not yet a checkpoint."""
    if ranks.first:
        shutil.rmtree(folder, ignore_errors=True)  # a killed process may have left one
    ranks.barrier()
    for name, (module, optimizer) in modules.items():
        save_shards(trained_state(module), folder / name)
        save_shards(_moments(module, optimizer), folder / f"{name}.optimizer")
    ranks.barrier()


def load_latest(root: Path, modules: Modules, check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
    """Restore the newest checkpoint whose hashes all verify; damaged ones are set aside.

    Args:
        check: called with the JSON state before anything is restored; raises if it belongs to another run.

    Returns:
        Its JSON state, or None if there never was a checkpoint.

    Raises:
        StoreError: if there are checkpoints and none is complete.
        OSError: if one cannot be read now, which does not show that it is damaged.
    """
    committed = in_order(root)[::-1]
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
            load_weights(module, _tensors(path / name, trained_state(module)))
            _restore_moments(module, optimizer, _finite(_tensors(path / f"{name}.optimizer", _room(module))))
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
    cuda, here = device.type == "cuda", machine_class(torch.get_num_threads())
    unused = {"gpu"} if cuda else {"gpu", "driver"}  # the device is named itself
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        **{name: str(value) for name, value in here.items() if name not in unused},
    }


def prune(root: Path, keep: int, best: Collection[int] = ()) -> None:
    """Delete all but the newest ``keep`` (at least 2) checkpoints and those of the best steps."""
    assert keep >= 2, "the last checkpoint may be the damaged one"
    for path in in_order(root)[:-keep]:
        if step_of(path) not in best:
            shutil.rmtree(path)


def is_whole(root: Path, step: int) -> bool:
    """Whether a checkpoint is there and every file has its hash."""
    try:
        verify_directory(root / f"step_{step:06d}")
    except StoreError:
        return False
    return True


def weights_of(root: Path, step: int, name: str) -> dict[str, Tensor]:
    """A module's trained weights in a checkpoint.

    Raises:
        StoreError: if the checkpoint is damaged.
    """
    verify_directory(root / f"step_{step:06d}")
    return _tensors(root / f"step_{step:06d}" / name, {})


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
    own = module.state_dict()
    module.load_state_dict({name: in_shards_like(own[name], tensor) for name, tensor in _finite(weights).items()}, strict=False)


@contextmanager
def other_weights(module: nn.Module, weights: Tensors) -> Iterator[None]:
    """Within the block the module has these weights, and afterwards its own again, bit for bit; they wait in the host's memory.

    Raises:
        StoreError: as :func:`load_weights`.
    """
    own = {name: _local(module.state_dict()[name]).to("cpu", copy=True) for name in trained_state(module)}
    try:
        load_weights(module, weights)
        yield
    finally:
        state = module.state_dict()
        for name, values in own.items():
            _local(state[name]).copy_(values)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _tensors(place: Path, room: Tensors) -> dict[str, Tensor]:
    """The tensors saved at ``place``: as one file, or in shards; shards are read into ``room`` if that is in shards too."""
    if not place.is_dir():
        whole: dict[str, Tensor] = load_file(place.with_name(f"{place.name}.safetensors"))
        return whole
    if not any(isinstance(tensor, DTensor) for tensor in room.values()):
        return read_whole(place)
    found = names_in(place)
    kept = {name: tensor for name, tensor in room.items() if name in found}
    load_shards(kept, place)
    return kept


def _finite(tensors: Tensors) -> Tensors:
    wrong = not_finite({name: own_part(tensor) for name, tensor in tensors.items()})
    if wrong:
        names = f"{len(wrong)} tensors, the first {wrong[0]}"
        raise StoreError(f"a checkpoint contains NaN or infinity ({names}). Delete it to train from the previous one.")
    return tensors


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's state without frozen parameters and second names of tied tensors (which safetensors refuses)."""
    every, first = dict(module.named_parameters(remove_duplicate=False)), dict(module.named_parameters())
    left_out = {name for name, parameter in every.items() if name not in first or not parameter.requires_grad}
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items() if name not in left_out}


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, by the parameter's name and its own: ``layers.0.weight.exp_avg``, or its parts in 8 bits."""
    known = [(name, optimizer.state.get(parameter, {})) for name, parameter in module.named_parameters()]
    every = ((f"{name}.{key}", value) for name, values in known for key, value in values.items())
    return {name: part for moment in every for name, part in taken_apart(*moment).items()}


def _room(module: nn.Module) -> dict[str, Tensor]:
    """Tensors into which AdamW's state can be read, cut as the parameters are; nothing for whole parameters."""
    cut = [(name, p) for name, p in module.named_parameters() if p.requires_grad and isinstance(p, DTensor)]
    steps = {f"{name}.step": torch.zeros(1) for name, _ in cut}
    return steps | {f"{name}.{moment}": torch.zeros_like(p) for name, p in cut for moment in MOMENTS}


def _restore_moments(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    places = {p: place for place, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    state: dict[int, dict[str, Tensor]] = {}
    for name, parameter in module.named_parameters():
        if f"{name}.step" in tensors:
            moments = {key: in_shards_like(parameter, put_together(f"{name}.{key}", tensors)) for key in MOMENTS}
            state[places[parameter]] = {"step": tensors[f"{name}.step"].reshape(()), **moments}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set from the step's number, so that there is no scheduler whose state must be restored."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
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
