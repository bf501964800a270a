"""Whether a version can be rebuilt, and how a rebuild compares with the record. Nothing here reads or writes files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from ratchet.components.code.constraints import CONSTRAINTS
from ratchet.components.data.pointers import NAMES
from ratchet.components.provenance.lineage import Lineage, StageManifest
from ratchet.components.provenance.reasons import Committed, Origin, reasons
from ratchet.components.provenance.verify import different
from ratchet.components.stages.environment import Machine
from ratchet.components.stages.stage import Stage
from ratchet.components.storage.store import ENVIRONMENT

# The first contains seconds and memory; the others describe a preparation, and a restored dataset has none.
NOT_COMPARED = {"train": {"metrics.jsonl"}, "data": {"report.html", "steps.json"}}
SHARES = ("eval_sampled_accuracy", "eval_format_rate")  # between 0 and 1, so that one tolerance serves them
UNTIL_TRAINED = Stage.TRAIN.up_to()
LOCK, CURRENT = "lock", "current"


class Match(StrEnum):
    """How a rebuilt version compares with the recorded one."""

    EQUAL = "equal"  # the same weights, bit by bit, and the same files beside them
    WITHIN = "within tolerance"  # different bits, on another class of machine or with other libraries
    DIFFERS = "differs"


@dataclass(frozen=True)
class StageMatch:
    """One stage: equal, or the files that differ."""

    name: str
    files: list[str]

    @property
    def equal(self) -> bool:
        return not self.files

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "equal": self.equal, "files": self.files}


@dataclass(frozen=True)
class Rebuilt:
    """What a reproduction made, and with what."""

    weights: str
    policy: str
    stages: Mapping[str, Mapping[str, str]]  # name -> files
    metrics: Mapping[str, float]
    machine: Mapping[str, Any]
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class Here:
    """What a rebuild would be made with."""

    environment: str  # ``lock`` for a clean one, ``current`` for the running one
    lock: str | None  # sha256 of the running environment's constraints
    sources: str  # digest of the running code
    committed: Committed | None = None  # what the version's commit has, if it is here


def refusals(lineage: Lineage, here: Here) -> list[str]:
    """Why this version cannot be rebuilt; empty if it can."""
    found = [one.was for one in reasons(origin_of(lineage, here.committed)) if here.environment == LOCK or not one.clean]
    return [*found, *(_in_current(lineage, here) if here.environment == CURRENT else ())]


def remedy(lineage: Lineage, here: Here) -> str:
    """What can be done where :func:`refusals` gives reasons: the other environment if the version can be rebuilt there."""
    own = lineage.lock_sha256  # the file can be had again from the commit
    other = LOCK if here.environment == CURRENT else CURRENT
    works = {one: not refusals(lineage, replace(here, environment=one, lock=own)) for one in (here.environment, other)}
    restore = f"run `git checkout {lineage.code.commit[:12]} -- {CONSTRAINTS}`"
    ways = [restore] if works[here.environment] and here.lock != own else []
    ways += [f"use --environment {other}"] if works[other] else []
    return f"To rebuild it, {', or '.join(ways)}." if ways else new_version(lineage)


def new_version(lineage: Lineage) -> str:
    """The remedy where no commit rebuilds a version. The same seed would give the same candidate, which is ``unchanged``."""
    return (
        f"It stays so. For a version that can be reproduced, commit the code, the recipe and {CONSTRAINTS} (`ratchet lock` "
        f"writes it), and train with another seed: ratchet run --set seed={lineage.seed + 1}."
    )


def origin_of(lineage: Lineage, committed: Committed | None) -> Origin:
    """Of a version, by its record."""
    code, parent = lineage.code, lineage.policy
    return Origin(
        commit=code.commit,
        changed=_uncommitted(lineage),
        tables=[name for name in code.tables if name not in lineage.files],
        sources=code.sources_sha256,
        release=code.release,
        lock=lineage.lock_sha256,
        installed=lineage.libraries,
        off_lock=lineage.off_lock,
        committed=committed,
        parent_is_registered=parent.kind != "version" or parent.version is not None,
    )


def _in_current(lineage: Lineage, here: Here) -> Iterator[str]:
    """Reasons by which the running environment is not the version's."""
    release, own = lineage.code.release, lineage.lock_sha256
    if release is not None and lineage.code.sources_sha256 != here.sources:
        yield f"Ratchet {release} made it, whose code is not the running one"
    if own is not None and here.lock != own:
        yield f"{CONSTRAINTS} {'is not here' if here.lock is None else 'here differs from its own'}"


def _uncommitted(lineage: Lineage) -> list[str]:
    """Uncommitted paths that its commit would be needed for; older records name pointers too, whose text they have."""
    code = lineage.code
    return [path for path in code.changed if not NAMES.fullmatch(PurePosixPath(path).name)] if code.diff_sha256 else []


def stage_matches(recorded: Sequence[StageManifest], made: Mapping[str, Mapping[str, str]]) -> list[StageMatch]:
    """Stage by stage up to training, in order, without the files of `NOT_COMPARED`.

    A version that started from the champion gets that policy as an existing model: only its weights are compared.
    """
    return [_match(stage, made) for stage in recorded if stage.name in UNTIL_TRAINED]


def _match(stage: StageManifest, made: Mapping[str, Mapping[str, str]]) -> StageMatch:
    if stage.name == "champion":
        return StageMatch(stage.name, different(_weights(stage.files), _weights(made.get("warmup", {}))))
    skipped = {ENVIRONMENT, *NOT_COMPARED.get(stage.name, ())}
    files = [name for name in different(stage.files, made.get(stage.name, {})) if name not in skipped]
    return StageMatch(stage.name, files)


def _weights(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def metric_differences(lineage: Lineage, metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Rebuilt minus recorded, for the figures that are compared; None where one side lacks it."""
    recorded = lineage.metrics
    measured = [SHARES[0], *(n for n in SHARES[1:] if n in metrics or n in recorded)]  # format rate: with a gold of numbers
    return {n: metrics[n] - recorded[n] if n in metrics and n in recorded else None for n in measured}


def same_class(lineage: Lineage, rebuilt: Rebuilt) -> bool:
    """Whether the bits must be equal: the same class of machine and libraries, and an exact training by our own engines.

    On a GPU that also needs ``train.deterministic``: otherwise some CUDA kernels sum in any order.
    """
    libraries = all(lineage.libraries.get(name) == version for name, version in rebuilt.libraries.items())
    deterministic = lineage.machine.gpu is None or lineage.recipe.get("train", {}).get("deterministic") is True
    return lineage.exact and deterministic and libraries and lineage.machine == Machine.model_validate(rebuilt.machine)


def judged(lineage: Lineage, rebuilt: Rebuilt, tolerance: float) -> dict[str, Any]:
    """The comparison: ``{match, same_class, engine, weights, policy, stages, first_difference, metrics, tolerance}``."""
    stages = stage_matches(lineage.stages, rebuilt.stages)
    differences = metric_differences(lineage, rebuilt.metrics)
    same = same_class(lineage, rebuilt)
    match = Match.DIFFERS
    if rebuilt.weights == lineage.weights_sha256 and lineage.policy_sha256 in (None, rebuilt.policy):
        match = Match.EQUAL
    elif not same and all(value is not None and abs(value) <= tolerance for value in differences.values()):
        match = Match.WITHIN
    return {
        "match": match.value,
        "same_class": same,
        "engine": lineage.engine,
        "weights": {"recorded": lineage.weights_sha256, "made": rebuilt.weights},
        "policy": {"recorded": lineage.policy_sha256, "made": rebuilt.policy},
        "stages": [stage.as_json() for stage in stages],
        "first_difference": next((stage.as_json() for stage in stages if not stage.equal), None),
        "metrics": differences,
        "tolerance": tolerance,
    }
