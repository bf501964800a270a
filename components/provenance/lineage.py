"""What a version says about where it came from, as one JSON record whose sha256 is a tag on the version."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ratchet.components.digests import file_digest, weights_digest
from ratchet.components.errors import RegistryError
from ratchet.components.files import read_json, tree_digests, write_json, write_text
from ratchet.components.provenance.checkout import UNKNOWN, CodeState, code_state
from ratchet.components.provenance.machine import installed_libraries, lock_digest, machine_class, off_lock
from ratchet.components.recipe import Recipe
from ratchet.components.recipe.base import Name, Section
from ratchet.components.source_code import sources_digest
from ratchet.components.stages.data import dataset_version, source_digests
from ratchet.components.stages.policy import policy_weights
from ratchet.components.stages.reward import function_files
from ratchet.components.stages.stage import Context, StageResult
from ratchet.components.stages.train import training_facts, training_points

FILE, DIFFERENCE, TAG = "lineage.json", "code.diff", "lineage_sha256"
STARTS = ("warmup", "champion")
AFTER = ("reward", "train", "evaluate")
MAX_DIFFERENCE_BYTES = 1_000_000
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Code(Section):
    """The commit, and what was not committed."""

    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64}|unknown)$")]
    folder: str  # of the project within the repository
    changed: list[str]
    diff_sha256: Sha256 | None
    sources_sha256: Sha256  # of the sources of ``components`` that ran


class Dataset(Section):
    """The DVC version, and the text of its pointer."""

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
    pointer: str


class Machine(Section):
    """The class of machine: on an equal one the same bits come out."""

    system: str
    architecture: str
    processor: str
    kernels: str  # the instruction set that torch's CPU kernels use
    threads: int
    gpu: str | None
    driver: str | None = None  # the GPU's


class StartingPolicy(Section):
    """What training started from: a policy warmed up in the run, an existing model, or an earlier version."""

    kind: Literal["warmup", "model", "version"]
    version: Version | None = None
    source: str | None = None  # of an existing model: its directory or hub id
    weights_sha256: Sha256


class RewardParent(Section):
    """What it was trained against."""

    kind: str
    stage_sha256: Sha256  # over all files of the stage
    weights_sha256: Sha256 | None = None  # of the reward model, where there is one


class StageManifest(Section):
    """One finished stage: relative path -> sha256 of every file."""

    name: Name
    key: Key
    files: dict[str, Sha256]


class Lineage(Section):
    """Everything that a version is made from."""

    format: Literal[1] = 1
    model: Name
    weights_sha256: Sha256
    code: Code
    recipe: dict[str, Any]
    recipe_digest: Sha256
    seed: int
    dataset: Dataset
    lock_sha256: Sha256 | None  # of constraints.txt
    off_lock: dict[str, str]  # library -> the lock's version, where another one was installed
    machine: Machine
    libraries: dict[str, str]
    files: dict[str, Sha256]  # files beside the code that the recipe names
    policy: StartingPolicy
    reward: RewardParent
    stages: list[StageManifest]
    metrics: dict[str, float]  # of the chosen checkpoint on dev
    exact: bool  # false: training was resumed in another environment
    # Values of ``train`` that memory decided; a rebuild is given them.
    memory: dict[str, bool | int | dict[str, int]] = Field(default_factory=dict)

    def stage(self, name: str) -> StageManifest | None:
        """The manifest of a stage."""
        return next((stage for stage in self.stages if stage.name == name), None)


def read_lineage(path: Path, digest: str) -> Lineage:
    """A version's record, if it is the one that the version's tag names.

    Raises:
        RegistryError: if it is another file, or no record that this release reads.
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


def code_of(state: CodeState, sources: str) -> Code:
    """The record of a checkout's state.

    Args:
        sources: digest of the sources of ``components`` that this process runs.
    """
    return Code(
        commit=state.commit,
        folder=state.folder,
        changed=list(state.changed),
        diff_sha256=state.difference_digest,
        sources_sha256=sources,
    )


def commit_tags(project: Path) -> dict[str, str]:
    """``commit``, ``dirty`` and, for dirty code, ``diff_sha256``; ``unknown`` outside a git checkout."""
    state = code_state(project)
    if state.commit == UNKNOWN:
        return {"commit": UNKNOWN, "dirty": UNKNOWN}
    tags = {"commit": state.commit, "dirty": str(state.dirty).lower(), "mlflow.source.git.commit": state.commit}
    if state.difference_digest is not None:
        tags["diff_sha256"] = state.difference_digest
    return tags


def lineage_of(context: Context, stages: Sequence[StageResult], version_of: Callable[[str], str | None]) -> Lineage:
    """The record of the candidate that these stages made.

    Args:
        version_of: the registered version with a weights digest.
    """
    recipe, project = context.recipe, context.home.project
    made = {stage.finished.stage: stage for stage in stages}
    start = next(made[name] for name in STARTS if name in made)  # with a warm-up, the champion is only the incumbent
    libraries = installed_libraries()
    return Lineage(
        model=recipe.name,
        weights_sha256=policy_weights(made["train"]),
        code=code_of(code_state(project), sources_digest()),
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        seed=recipe.run_seed,
        dataset=Dataset(md5=dataset_version(made["data"]), pointer=(made["data"].path / "data.dvc").read_text("utf-8")),
        lock_sha256=lock_digest(project),
        off_lock=off_lock(project, libraries),
        machine=Machine(**machine_class(recipe.threads)),
        libraries=libraries,
        files=named_files(recipe, project),
        policy=_starting_policy(recipe, start, version_of),
        reward=_reward_parent(recipe, made["reward"]),
        stages=[_manifest(made[name]) for name in ("data", start.finished.stage, *AFTER) if name in made],
        metrics=chosen_metrics(made["train"]),
        exact=bool(training_facts(made["train"])["exact"]),
        memory=training_facts(made["train"])["memory"],
    )


def write_lineage(lineage: Lineage, difference: str, folder: Path) -> list[Path]:
    """``lineage.json``, and ``code.diff`` for dirty code unless it is larger than a megabyte; its hash is in the record."""
    write_json(folder / FILE, lineage.model_dump(mode="json"))
    if not difference or len(difference.encode()) > MAX_DIFFERENCE_BYTES:
        return [folder / FILE]
    write_text(folder / DIFFERENCE, difference)
    return [folder / FILE, folder / DIFFERENCE]


def named_files(recipe: Recipe, project: Path) -> dict[str, str]:
    """sha256 of every local file that the recipe names; a path in the project is relative to it."""
    model = recipe.reward.model
    named = [*source_digests(recipe.data), recipe.policy.model, model.base, model.pretrained]
    named += [str(file) for function in recipe.reward.functions for file in function_files(function)]
    digests: dict[str, str] = {}
    for name in named:
        if name is not None:
            digests.update(_digests(name, project))
    return digests


def chosen_metrics(train: StageResult) -> dict[str, float]:
    """Dev figures of the checkpoint that became the candidate."""
    best = training_facts(train)["best_step"]
    points = [values for step, values in training_points(train) if step == best]
    return {name: float(value) for values in points for name, value in values.items() if name.startswith("eval_")}


def _starting_policy(recipe: Recipe, start: StageResult, version_of: Callable[[str], str | None]) -> StartingPolicy:
    weights = policy_weights(start)
    if start.finished.stage == "champion":
        return StartingPolicy(kind="version", version=version_of(weights), weights_sha256=weights)
    if recipe.policy.model is not None:
        return StartingPolicy(kind="model", source=recipe.policy.model, weights_sha256=weights)
    return StartingPolicy(kind="warmup", weights_sha256=weights)


def _reward_parent(recipe: Recipe, reward: StageResult) -> RewardParent:
    files = reward.finished.facts["files"]
    weights = weights_digest(files) if any(name.startswith("model/") for name in files) else None
    return RewardParent(kind=recipe.reward.kind, stage_sha256=reward.finished.digest, weights_sha256=weights)


def _manifest(stage: StageResult) -> StageManifest:
    finished = stage.finished
    return StageManifest(name=finished.stage, key=finished.key, files=dict(finished.facts["files"]))


def _digests(name: str, project: Path) -> Mapping[str, str]:
    place = project / name
    files = {f"{name}/{k}": v for k, v in tree_digests(place).items()} if place.is_dir() else {}
    if place.is_file():
        files = {name: file_digest(place)}
    return {_within(Path(path), project): digest for path, digest in files.items()}


def _within(path: Path, project: Path) -> str:
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else path.as_posix()
