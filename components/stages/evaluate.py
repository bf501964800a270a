"""Stage *evaluate*: challenger and incumbent on dev and the benchmarks, which everybody may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ratchet.components.evaluation.benchmarks.files import benchmark_path, benchmark_rows
from ratchet.components.evaluation.benchmarks.tasks import library_digest, library_items, require_measures, require_same_items
from ratchet.components.recipe import Label, Library, Numbers, Recipe
from ratchet.components.records import Arm, Decoding, ItemResult, rows_name
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Job, Models, ScoredStage, configuration, score
from ratchet.components.stages.stage import Context, Stage, finish, key_of
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.json_text import without_nan


class EvaluateStage(ScoredStage):
    """Rows on dev and below ``benchmarks/NAME/``, and their figures."""

    name = Stage.EVALUATE

    @cached_property
    def summary(self) -> dict[str, dict[str, Any]]:
        """Figures on dev by arm and decoding: {challenger_sampled: {accuracy: {value, low, high, n, error}, ...}, ...}."""
        return dict(read_json(self.path / "summary.json"))

    @cached_property
    def confusion(self) -> dict[str, dict[str, Any]]:
        """Of a gold of labels, {challenger_sampled: {labels: [...], counts: [[...], ...]}, ...} on dev: counts by reference
        (row) and answer (column), of which the last is: none of the labels. Else empty.
        """
        file = self.path / "confusion.json"
        return dict(read_json(file)) if file.is_file() else {}

    @cached_property
    def details(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The same by benchmark and by slice of dev: {"benchmark NAME": {...}, "slice NAME": {...}}."""
        return dict(read_json(self.path / "details.json"))


@dataclass(frozen=True)
class LibraryJob(Job):
    """A benchmark whose items are a library's, so that there are no rows."""

    name: str
    library: Library

    def answer(self, context: Context, policy: Any, measuring: Any) -> list[ItemResult]:
        return library_items(self.name, self.library, policy, context.recipe)


def dev_evaluation(context: Context, data: DataStage, models: Models) -> EvaluateStage:
    """Sampled and greedy rows of both arms on dev and the benchmarks, and summaries."""
    benchmarks = {
        f"benchmark/{name}": _digest(context, name, one) for name, one in context.recipe.evaluation.benchmarks.items()
    }
    inputs = {"data": data.version, **models.digests, **benchmarks}
    key = key_of(EvaluateStage, __name__, [*configuration(context), context.recipe.seed], inputs)
    result = finish(context, EvaluateStage, key, lambda path: _evaluate(context, data, models, path))
    require_measures(context.recipe, result.details)
    return result


def _digest(context: Context, name: str, benchmark: str | Library) -> str:
    if isinstance(benchmark, str):
        digest, task = context.seen.digest(benchmark_path(name, benchmark)), context.recipe.data.task
        return digest if task is None else digest_of([digest, task.model_dump(mode="json")])
    return library_digest(name, benchmark)


def _benchmark_jobs(name: str, benchmark: str | Library, recipe: Recipe) -> list[Job]:
    place, purpose, seed = f"benchmarks/{name}", f"benchmark_{name}", recipe.run_seed
    if isinstance(benchmark, str):
        rows = benchmark_rows(name, benchmark, isinstance(recipe.gold_settings, Numbers), recipe.data)
        return [Job(place, rows, decoding, purpose, seed) for decoding in Decoding]
    return [LibraryJob(place, (), Decoding.SAMPLED, purpose, seed, name, benchmark)]  # decoded as its task specifies


def _evaluate(context: Context, data: DataStage, models: Models, path: Path) -> Mapping[str, str]:
    from ratchet.components.evaluation.labels import confusion_of
    from ratchet.components.evaluation.measures import sliced_summaries, summarise

    seed = context.recipe.run_seed
    dev = data.table("dev")
    jobs = [Job("", dev, decoding, "dev_evaluation", seed) for decoding in Decoding]
    jobs += [
        job for name, one in context.recipe.evaluation.benchmarks.items() for job in _benchmark_jobs(name, one, context.recipe)
    ]
    results, digests = score(context, models, jobs, path)
    for job in jobs:
        if isinstance(job, LibraryJob):
            require_same_items(job.name, *(results[job.place, rows_name(arm, job.decoding)] for arm in Arm))
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
    gold = context.recipe.gold_settings
    if isinstance(gold, Label):
        matrices = {name: confusion_of(items, gold.labels) for (place, name), items in results.items() if place == ""}
        write_json(path / "confusion.json", matrices)
    return digests


def _as_json(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Intervals as JSON; unknown values are null."""
    return dict(without_nan({name: figure._asdict() for name, figure in figures.items()}))
