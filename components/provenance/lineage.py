"""What a version was made from, as one JSON record whose sha256 is a tag on the version."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ratchet.components.code.checkout import UNKNOWN
from ratchet.components.errors import RegistryError
from ratchet.components.recipe.base import Name, Section
from ratchet.components.stages.environment import Code, Environment, Machine, Sha256, code_here
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import read_json

FILE, DIFFERENCE, TAG = "lineage.json", "code.diff", "lineage_sha256"
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Dataset(Section):
    """The DVC version and the text of its pointer."""

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
    pointer: str
    # By which fields of the rows its questions were dealt to its tables; [] by the prompts, and None as earlier releases did.
    asked: list[str] | None = None


class StartingPolicy(Section):
    """What training started from: a policy warmed up in the run, an existing model (as it was or fine-tuned), or a version."""

    kind: Literal["warmup", "model", "version"]
    version: Version | None = None
    source: str | None = None  # of an existing model: its directory or hub id
    weights_sha256: Sha256
    policy_sha256: Sha256 | None = None  # over all files that change what it says; None in records of earlier releases
    base_sha256: Sha256 | None = None  # the same of the existing model, if it was fine-tuned
    demonstrations: Annotated[int, Field(ge=1)] | None = None  # on so many

    @property
    def digests(self) -> dict[str, str | None]:
        """By what it is recognised."""
        return {"weights": self.weights_sha256, "policy": self.policy_sha256}


class RewardParent(Section):
    """What it was trained against."""

    kind: str
    stage_sha256: Sha256  # over all files of the stage
    weights_sha256: Sha256 | None = None  # of the reward model, if there is one


class StageManifest(Section):
    """One finished stage: relative path -> sha256 of every file."""

    name: Name
    key: Key
    files: dict[str, Sha256]
    made_in: Environment | None = None  # if it was on another class of machine, or with other libraries, than the training


class Launched(Section):
    """The processes that trained."""

    kind: Literal["torchrun", "ray"]
    ranks: Annotated[int, Field(ge=2)]
    sharded: bool


class Lineage(Section):
    """Everything that a version is made from."""

    format: Literal[1] = 1
    model: Name
    weights_sha256: Sha256
    policy_sha256: Sha256 | None = None  # as in :class:`StartingPolicy`
    code: Code
    recipe: dict[str, Any]
    recipe_digest: Sha256
    gold: Sha256 | None = None  # of the grader; None in older records
    seed: int
    dataset: Dataset
    # These four, and the code, are of the process that trained; in records of earlier releases, of the one that registered.
    lock_sha256: Sha256 | None  # of constraints.txt
    off_lock: dict[str, str]  # library -> the lock's version, if a different one was installed
    machine: Machine
    libraries: dict[str, str]
    files: dict[str, Sha256]  # files outside the code that the recipe names
    policy: StartingPolicy
    reward: RewardParent
    stages: list[StageManifest]
    metrics: dict[str, float]  # of the chosen checkpoint on dev
    # False: training was resumed in another environment, or used what another one had computed, or an outside engine drew.
    exact: bool
    engine: str | None = None  # what drew the completions of training, if not Ratchet's own engines
    # Where its model is in the train stage if it is not the candidate: a person promoted another checkpoint.
    checkpoint: Annotated[str, Field(pattern=r"^(checkpoints/step_[0-9]{6,12})?$")] = ""
    # Values of ``train`` chosen by available memory; a rebuild reuses them.
    memory: dict[str, bool | int | dict[str, int]] = Field(default_factory=dict)
    launch: Launched | None = None  # None: trained in the run's own process

    def stage(self, name: str) -> StageManifest | None:
        """The manifest of a stage."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_lineage(path: Path, digest: str) -> Lineage:
    """A version's record, if it is the one that the version's tag names.

    Raises:
        RegistryError: if it is another file, or not a record that this release reads.
    """
    actual = file_digest(path)
    if actual != digest:
        raise RegistryError(f"{FILE} has sha256 {actual[:12]}, its version's tag says {digest[:12]}. Restore the artifact.")
    try:
        return Lineage.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RegistryError(f"{FILE} cannot be read: {place}: {first['msg']}. Use the release that wrote it.") from error


def commit_tags(project: Path) -> dict[str, str]:
    """Those of the code that this process runs."""
    return code_tags(code_here(project))


def code_tags(code: Code) -> dict[str, str]:
    """``commit``, ``dirty`` and, for dirty code, ``diff_sha256``; ``unknown`` outside a git checkout."""
    if code.commit == UNKNOWN:
        return {"commit": UNKNOWN, "dirty": UNKNOWN}
    tags = {"commit": code.commit, "dirty": str(bool(code.changed)).lower(), "mlflow.source.git.commit": code.commit}
    return tags if code.diff_sha256 is None else {**tags, "diff_sha256": code.diff_sha256}
