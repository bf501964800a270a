"""The lineage record of a candidate, joined from its stages, its recipe, the checkout and the machine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.code.checkout import UNKNOWN
from ratchet.components.code.constraints import bytes_digest, lock_digest
from ratchet.components.data.questions import fields_of
from ratchet.components.graders.build import grader_digests
from ratchet.components.graders.judging import judging_files
from ratchet.components.provenance.lineage import (
    DIFFERENCE,
    FILE,
    Dataset,
    Launched,
    Lineage,
    RewardParent,
    StageManifest,
    StartingPolicy,
)
from ratchet.components.recipe import Recipe
from ratchet.components.stages.data import input_files
from ratchet.components.stages.environment import Environment, code_here
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import ChampionStage, DataStage, GoldStage, PolicyStage, RewardStage, WarmupStage
from ratchet.components.stages.stage import Context, Result, Seen, Stage, StageResult
from ratchet.components.stages.train import Kept, TrainStage
from ratchet.components.storage.digests import weights_digest
from ratchet.components.storage.files import write_json, write_text

MAX_DIFFERENCE_BYTES = 1_000_000


def lineage_of(context: Context, stages: Sequence[StageResult], version_of: Callable[[str], str | None]) -> Lineage:
    """The record of the candidate made by these stages.

    Args:
        version_of: the registered version with a policy's digest.
    """
    recipe, project = context.recipe, context.home.project
    data, reward, train = _made(stages, DataStage), _made(stages, RewardStage), _made(stages, TrainStage)
    warmed = [stage for stage in stages if isinstance(stage, WarmupStage)]
    start = warmed[0] if warmed else _made(stages, ChampionStage)  # with a warm-up, the champion is only the incumbent
    golds, evaluations = ([stage for stage in stages if isinstance(stage, kind)] for kind in (GoldStage, EvaluateStage))
    recorded = [data, *golds, start, reward, train, *evaluations]
    trained = trained_in(train, project)
    manifests = [_manifest(stage, trained) for stage in recorded]
    elsewhere = {stage.name for stage in manifests if stage.made_in is not None}
    return Lineage(
        model=recipe.name,
        weights_sha256=train.weights,
        policy_sha256=train.policy_digest,
        code=trained.code,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        gold=grader_digests(recipe)["gold"],
        seed=recipe.run_seed,
        dataset=_dataset(data, recipe),
        lock_sha256=trained.lock_sha256,
        off_lock=trained.off_lock,
        machine=trained.machine,
        libraries=trained.libraries,
        files=named_files(recipe, project, context.seen),
        policy=_starting_policy(recipe, start, version_of),
        reward=_reward_parent(recipe, reward),
        stages=manifests,
        metrics=train.figures(train.facts.best_step),
        exact=train.facts.exact and elsewhere.isdisjoint(_shaping(recipe)),
        engine=train.facts.engine,
        memory=train.facts.memory,
        launch=None if train.facts.launch is None else Launched(**train.facts.launch),
    )


def trained_in(train: TrainStage, project: Path) -> Environment:
    """Where the candidate was trained. If that was outside a checkout, as in a container, the code is the equal one here."""
    trained, here = train.environment, code_here(project)
    assert trained is not None, "a stage is found by its code, and this code records it"
    own = (trained.code.sources_sha256, trained.code.release, trained.lock_sha256)
    equal = own == (here.sources_sha256, here.release, lock_digest(project))
    return trained.model_copy(update={"code": here}) if trained.code.commit == UNKNOWN and equal else trained


def _manifest(stage: StageResult, trained: Environment) -> StageManifest:
    own = stage.environment
    made_in = None if own is None or own.computes_like(trained) else own
    return StageManifest(name=stage.name, key=stage.key, files=stage.files, made_in=made_in)


def _shaping(recipe: Recipe) -> set[str]:
    """Stages before the training that computed something by which its weights differ: no mere copies or checks."""
    warmed = recipe.policy.model is None or recipe.policy.tuning is not None
    rewarded = recipe.reward.needs_model and recipe.reward.model.pretrained is None
    advised = recipe.train.k == "auto"
    return {name for name, counts in ((Stage.WARMUP, warmed), (Stage.REWARD, rewarded or advised)) if counts}


def _dataset(data: DataStage, recipe: Recipe) -> Dataset:
    pointer, fields = (data.path / "data.dvc").read_text("utf-8"), fields_of(recipe.data.task)
    return Dataset(md5=data.version, pointer=pointer, asked=data.summary.get("asked") or (None if fields else []))


def lineage_at(lineage: Lineage, kept: Kept) -> Lineage:
    """The record of another policy that the candidate's training kept."""
    digests = {"weights_sha256": kept.weights, "policy_sha256": kept.policy}
    return lineage.model_copy(update={**digests, "metrics": kept.figures, "checkpoint": kept.folder})


def write_lineage(lineage: Lineage, difference: str, folder: Path) -> list[Path]:
    """``lineage.json``, and ``code.diff`` for dirty code unless it is larger than a megabyte; its hash is in the record.

    Args:
        difference: of the code here; not written if the training's was another.
    """
    write_json(folder / FILE, lineage.model_dump(mode="json"))
    content = difference.encode()
    if bytes_digest(content) != lineage.code.diff_sha256 or len(content) > MAX_DIFFERENCE_BYTES:
        return [folder / FILE]
    write_text(folder / DIFFERENCE, difference)
    return [folder / FILE, folder / DIFFERENCE]


def named_files(recipe: Recipe, project: Path, seen: Seen) -> dict[str, str]:
    """sha256 of every local file that the recipe names, as the run saw it; a path in the project is relative to it."""
    model = recipe.reward.model
    named = [*map(str, input_files(recipe.data)), recipe.policy.model, model.base, model.pretrained]
    named += map(str, judging_files(recipe))
    digests: dict[str, str] = {}
    for name in named:
        if name is not None:
            digests.update(_digests(name, project, seen))
    return digests


def _starting_policy(recipe: Recipe, start: PolicyStage, version_of: Callable[[str], str | None]) -> StartingPolicy:
    digests: dict[str, Any] = {"weights_sha256": start.weights, "policy_sha256": start.policy_digest}
    if isinstance(start, ChampionStage):
        return StartingPolicy(kind="version", version=version_of(start.policy_digest), **digests)
    if recipe.policy.model is None:
        return StartingPolicy(kind="warmup", **digests)
    tuned = start.tuned if isinstance(start, WarmupStage) else None
    begun: dict[str, Any] = {"base_sha256": tuned.base_policy, "demonstrations": tuned.demonstrations} if tuned else {}
    return StartingPolicy(kind="model", source=recipe.policy.model, **digests, **begun)


def _reward_parent(recipe: Recipe, reward: RewardStage) -> RewardParent:
    weights = weights_digest(reward.files) if any(name.startswith("model/") for name in reward.files) else None
    return RewardParent(kind=recipe.reward.kind, stage_sha256=reward.digest, weights_sha256=weights)


def _made(stages: Sequence[StageResult], kind: type[Result]) -> Result:
    return next(stage for stage in stages if isinstance(stage, kind))


def _digests(name: str, project: Path, seen: Seen) -> Mapping[str, str]:
    place = project / name
    files = {f"{name}/{k}": v for k, v in seen.tree(place).items()} if place.is_dir() else {}
    if place.is_file():
        files = {name: seen.digest(place)}
    return {within(Path(path), project): digest for path, digest in files.items()}


def within(path: Path, project: Path) -> str:
    """A path as records have it: relative to the project if it is in there."""
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else path.as_posix()
