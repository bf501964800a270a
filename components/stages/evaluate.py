"""Stage *evaluate*: challenger and incumbent on dev and benchmarks; and, only for the gate, on one sealed fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.digests import digest_of, file_digest, weights_digest
from ratchet.components.evaluation.benchmarks.files import benchmark_path, benchmark_rows
from ratchet.components.evaluation.benchmarks.tasks import library_digest, library_items, require_measures, require_same_items
from ratchet.components.files import read_json, read_json_lines, tree_digests, write_json, write_json_lines
from ratchet.components.recipe import Library
from ratchet.components.records import ItemResult
from ratchet.components.source_code import closure_digest
from ratchet.components.stages.data import dataset_version, fold_digest, table
from ratchet.components.stages.stage import Context, StageResult, finish
from ratchet.components.store import stage_key

if TYPE_CHECKING:
    from ratchet.components.evaluation.comparison import Arms

ARMS = ("challenger", "incumbent")
DECODINGS = ("sampled", "greedy")


@dataclass(frozen=True)
class Models:
    """The policies of an evaluation, as verified directories with their weights digests."""

    challenger: Path
    challenger_weights: str
    incumbent: Path
    incumbent_weights: str
    start: Path
    start_weights: str
    reward: Path | None = None  # directory of the validated reward; None measures no reward
    reward_digest: str = ""

    @property
    def digests(self) -> dict[str, str]:
        return {
            "challenger": self.challenger_weights,
            "incumbent": self.incumbent_weights,
            "start": self.start_weights,
            "reward": self.reward_digest,
        }


@dataclass(frozen=True)
class Job:
    """Items to be answered by both arms, in one decoding. Rows go to ``<place>/<arm>_<decoding>.jsonl``."""

    place: str  # "" is the stage's own directory
    rows: Sequence[Mapping[str, Any]]
    decoding: str
    purpose: str
    seed: int
    library: Library | None = None  # whose task has the items; there are no rows then


def dev_evaluation(context: Context, data: StageResult, models: Models) -> StageResult:
    """Sampled and greedy rows of both arms on dev and the benchmarks, and summaries. These are shown to everybody."""
    benchmarks = {f"benchmark/{name}": _digest(name, one) for name, one in context.recipe.evaluation.benchmarks.items()}
    inputs = {"data": dataset_version(data), **models.digests, **benchmarks}
    key = stage_key("evaluate", [*_configuration(context), context.recipe.seed], inputs, closure_digest(__name__))
    result = finish(context, "evaluate", key, lambda path: _evaluate_dev(context, data, models, path))
    require_measures(context.recipe, evaluation_details(result))
    return result


def sealed_evaluation(
    context: Context, data: StageResult, models: Models, fold: str, items: Sequence[str], greedy: Sequence[str], guard: bool
) -> StageResult:
    """Rows of both arms on items of a sealed fold. Only the gate reads this, and nothing of it is logged.

    Args:
        greedy: places (``sealed``, ``guard``) where greedy rows are needed as well.
        guard: whether the guard split is needed.
    """
    inputs = {"data": dataset_version(data), **models.digests}
    what = [_configuration(context), fold, digest_of(list(items)), list(greedy), guard]
    key = stage_key("sealed", what, inputs, closure_digest(__name__))
    # The draws depend on the fold and the challenger alone: another seed in the recipe is no second try.
    seed = int(digest_of([fold_digest(data, fold), models.challenger_weights])[:12], 16)

    def write(path: Path) -> Mapping[str, str]:
        chosen = set(items)
        places = {"": [row for row in table(data, fold) if row["id"] in chosen]}
        if guard:
            places["guard"] = table(data, "guard")
        wanted = [(place, "sampled") for place in places]
        wanted += [(place, "greedy") for place in places if (place or "sealed") in greedy]
        jobs = [Job(place, places[place], decoding, "sealed", seed) for place, decoding in wanted]
        return _score(context, models, jobs, path)[1]

    return finish(context, "sealed", key, write)


def evaluation_summary(stage: StageResult) -> dict[str, dict[str, Any]]:
    """Figures by arm and decoding: {challenger_sampled: {accuracy: {value, low, high, n, error}, ...}, ...}."""
    return dict(read_json(stage.path / "summary.json"))


def evaluation_details(stage: StageResult) -> dict[str, dict[str, dict[str, Any]]]:
    """The same by benchmark and by slice of dev: {"benchmark NAME": {...}, "slice NAME": {...}}."""
    return dict(read_json(stage.path / "details.json"))


def arm_rows(stage: StageResult, arm: str, decoding: str = "sampled") -> list[dict[str, Any]]:
    """Per-item rows of an arm on dev."""
    return read_json_lines(stage.path / f"{arm}_{decoding}.jsonl")


def evaluated_digests(stage: StageResult) -> dict[str, str]:
    """Digests of the weights that were really loaded and scored."""
    return dict(read_json(stage.path / "facts.json"))


def stage_arms(path: Path, place: str, items: Sequence[str] | None, samples: int) -> "Arms":
    """What a stage measured of both arms in a place ("" is the stage's own).

    Args:
        path: the stage's directory.
        items: all that should have been measured; None takes those that were.
    """
    from ratchet.components.evaluation.comparison import arms_of

    found = {file.stem: _results(file) for file in sorted((path / place).glob("*_*.jsonl")) if file.stem in _stems()}
    known = list(dict.fromkeys(result.id for result in found.get("challenger_sampled", [])))
    return arms_of(known if items is None else items, found, read_json(path / "facts.json"), samples)


def _stems() -> list[str]:
    return [f"{arm}_{decoding}" for arm in ARMS for decoding in DECODINGS]


def _results(file: Path) -> list[ItemResult]:
    return [ItemResult(**row) for row in read_json_lines(file)]


def _digest(name: str, benchmark: str | Library) -> str:
    return file_digest(benchmark_path(name, benchmark)) if isinstance(benchmark, str) else library_digest(name, benchmark)


def _benchmark_jobs(name: str, benchmark: str | Library, seed: int) -> list[Job]:
    place, purpose = f"benchmarks/{name}", f"benchmark_{name}"
    if isinstance(benchmark, str):
        rows = benchmark_rows(name, benchmark)
        return [Job(place, rows, decoding, purpose, seed) for decoding in DECODINGS]
    return [Job(place, (), "sampled", purpose, seed, benchmark)]  # decoded as its task says


def _configuration(context: Context) -> list[Any]:
    recipe = context.recipe
    settings = recipe.evaluation.model_dump(mode="json", exclude={"dev_items", "sample_rows", "benchmarks"})
    return [settings, sorted(recipe.evaluation.benchmarks), recipe.policy.max_new_tokens, recipe.device]


def _evaluate_dev(context: Context, data: StageResult, models: Models, path: Path) -> Mapping[str, str]:
    from ratchet.components.evaluation.measures import sliced_summaries, summarise

    seed = context.recipe.run_seed
    dev = table(data, "dev")
    jobs = [Job("", dev, decoding, "dev_evaluation", seed) for decoding in DECODINGS]
    jobs += [job for name, one in context.recipe.evaluation.benchmarks.items() for job in _benchmark_jobs(name, one, seed)]
    results, digests = _score(context, models, jobs, path)
    for place in (job.place for job in jobs if job.library is not None):
        require_same_items(place.rpartition("/")[2], *(results[place, f"{arm}_sampled"] for arm in ARMS))
    summaries: dict[str, dict[str, Any]] = {job.place: {} for job in jobs}
    slices = [piece.name for piece in context.recipe.evaluation.slices]
    details: dict[str, dict[str, Any]] = {f"slice {name}": {} for name in slices}
    for (place, name), items in results.items():
        summaries[place][name] = _as_json(summarise(items))
        for piece, figures in sliced_summaries(items, slices if place == "" else []).items():
            details[f"slice {piece}"][name] = _as_json(figures)
    details |= {f"benchmark {place.removeprefix('benchmarks/')}": summaries[place] for place in summaries if place}
    write_json(path / "summary.json", summaries[""])
    write_json(path / "details.json", details)
    return digests


def _as_json(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Intervals as JSON; what is not known is null."""
    return {n: {k: v if v == v else None for k, v in figure._asdict().items()} for n, figure in figures.items()}


def _score(
    context: Context, models: Models, jobs: Sequence[Job], path: Path
) -> tuple[dict[tuple[str, str], list[ItemResult]], dict[str, str]]:
    """Both arms on every job: results by (place, arm_decoding), also written as rows, and the digests of what was loaded."""
    from ratchet.components.evaluation.evaluate import as_rows
    from ratchet.components.policy.loading import load_policy, pick_device

    device = pick_device(context.recipe.device)
    results: dict[tuple[str, str], list[ItemResult]] = {}
    digests = {}
    for number, (arm, directory) in enumerate(zip(ARMS, (models.challenger, models.incumbent), strict=True)):
        context.observer.progress("evaluate", number, len(ARMS), f"scoring the {arm}")
        policy = load_policy(directory, device)
        digests[arm] = weights_digest({f"model/{name}": digest for name, digest in tree_digests(directory).items()})
        measuring = _measuring(context, models, arm)
        for job in jobs:
            items = _answer(context, policy, job, measuring)
            (path / job.place).mkdir(parents=True, exist_ok=True)
            write_json_lines(path / job.place / f"{arm}_{job.decoding}.jsonl", as_rows(items))
            results[job.place, f"{arm}_{job.decoding}"] = items
    context.observer.progress("evaluate", len(ARMS), len(ARMS), "done")
    return results, digests


def _measuring(context: Context, models: Models, arm: str) -> Any:
    """What is measured of an arm: KL to the start, of the challenger KL to the incumbent, the recipe's reward, slices."""
    from ratchet.components.evaluation.evaluate import Measuring
    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.rewards.build import build_reward

    device = pick_device(context.recipe.device)
    start = Reference(load_policy(models.start, device))
    incumbent = None
    if arm == "challenger":
        same = models.incumbent_weights == models.start_weights
        incumbent = start if same else Reference(load_policy(models.incumbent, device))
    reward = None
    if models.reward is not None:
        reward = build_reward(context.recipe.reward, models.reward / "model", device)
    return Measuring(start, incumbent, reward, context.recipe.evaluation.slices)


def _answer(context: Context, policy: Any, job: Job, measuring: Any) -> list[ItemResult]:
    from ratchet.components.evaluation.evaluate import evaluate_items

    if job.library is not None:
        return library_items(job.place.rpartition("/")[2], job.library, policy, context.recipe)
    settings, sampled = context.recipe.evaluation, job.decoding == "sampled"
    return evaluate_items(
        policy,
        job.rows,
        seed=job.seed,
        purpose=job.purpose,
        max_new_tokens=context.recipe.policy.max_new_tokens,
        temperature=settings.temperature if sampled else 0.0,
        samples=settings.samples if sampled else 1,
        measuring=measuring,
    )
