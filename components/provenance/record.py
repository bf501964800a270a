"""The lineage record of a candidate, joined from its stages, its recipe, the checkout and the machine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ratchet.components.digests import file_digest, weights_digest
from ratchet.components.files import tree_digests, write_json, write_text
from ratchet.components.provenance import machine as fingerprint
from ratchet.components.provenance.checkout import code_state
from ratchet.components.provenance.lineage import (
    DIFFERENCE,
    FILE,
    Dataset,
    Lineage,
    Machine,
    RewardParent,
    StageManifest,
    StartingPolicy,
    code_of,
)
from ratchet.components.recipe import Recipe
from ratchet.components.source_code import sources_digest
from ratchet.components.stages.data import dataset_version, source_digests
from ratchet.components.stages.policy import policy_weights
from ratchet.components.stages.reward import function_files
from ratchet.components.stages.stage import Context, StageResult
from ratchet.components.stages.train import training_facts, training_points

STARTS = ("warmup", "champion")
AFTER = ("reward", "train", "evaluate")
MAX_DIFFERENCE_BYTES = 1_000_000


def lineage_of(context: Context, stages: Sequence[StageResult], version_of: Callable[[str], str | None]) -> Lineage:
    """The record of the candidate that these stages made.

    Args:
        version_of: the registered version with a weights digest.
    """
    recipe, project = context.recipe, context.home.project
    made = {stage.finished.stage: stage for stage in stages}
    start = next(made[name] for name in STARTS if name in made)  # with a warm-up, the champion is only the incumbent
    libraries = fingerprint.libraries()
    return Lineage(
        model=recipe.name,
        weights_sha256=policy_weights(made["train"]),
        code=code_of(code_state(project), sources_digest()),
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        seed=recipe.run_seed,
        dataset=Dataset(md5=dataset_version(made["data"]), pointer=(made["data"].path / "data.dvc").read_text("utf-8")),
        lock_sha256=fingerprint.lock_digest(project),
        off_lock=fingerprint.off_lock(project, libraries),
        machine=Machine(**fingerprint.machine(recipe.threads)),
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
