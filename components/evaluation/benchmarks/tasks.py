"""Benchmarks that are tasks of a library: their identity, one model's items, and the checks before they are judged."""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError, RecipeError
from ratchet.components.evaluation.benchmarks.containment import MODULES, contained
from ratchet.components.recipe import Evaluation, Inspect, Library, LmEval, Recipe
from ratchet.components.records import Arm, Decoding, ItemResult, rows_name
from ratchet.components.storage.digests import digest_of, file_digest

EXTRAS = {"lm_eval": "lm-eval", "inspect": "inspect"}  # of our distribution; each installs a library


def require_libraries(evaluation: Evaluation) -> None:
    """Reject benchmarks whose library is not installed or whose files do not exist.

    Raises:
        RecipeError: naming the extra that installs the library.
        DataError: naming the file.
    """
    for name, benchmark in evaluation.benchmarks.items():
        if not isinstance(benchmark, str):
            require_library(name, benchmark)
            task_files(name, benchmark)


def require_library(name: str, benchmark: Library) -> None:
    """Reject a benchmark whose library is not installed.

    Raises:
        RecipeError: naming the extra that installs it.
    """
    if importlib.util.find_spec(MODULES[benchmark.kind]) is None:
        raise RecipeError(
            f"benchmark {name} needs {MODULES[benchmark.kind]}, which is not installed. "
            f"Run: pip install 'ratchet-rl[{EXTRAS[benchmark.kind]}]'."
        )


def library_digest(name: str, benchmark: Library) -> str:
    """The identity of the benchmark: its section, the library's version, and the files that it names by path.

    A dataset that the task fetches from a hub is not included; pinning its revision in the task protects against changes.

    Raises:
        RecipeError: if the library is not installed.
        DataError: if a file does not exist.
    """
    require_library(name, benchmark)
    files = {key: file_digest(path) for key, path in task_files(name, benchmark).items()}
    return digest_of([benchmark.model_dump(mode="json"), importlib.metadata.version(MODULES[benchmark.kind]), files])


def task_files(name: str, benchmark: Library) -> dict[str, Path]:
    """The files that a benchmark names by path, by their names in its digest, without compiled Python.

    Raises:
        DataError: if one does not exist.
    """
    if isinstance(benchmark, Inspect):
        files = {path: Path(path) for path in [benchmark.file, *benchmark.files]}
        where = "task" if not Path(benchmark.file).is_file() else "files"
    else:
        folder, where = Path(benchmark.tasks_folder or ""), "tasks_folder"
        if benchmark.tasks_folder is None:
            return {}
        found = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
        files = {path.relative_to(folder).as_posix(): path for path in found} or {benchmark.tasks_folder: folder}
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise DataError(f"benchmark {name}: there is no file {missing[0]}. Correct evaluation.benchmarks.{name}.{where}.")
    return files


def library_items(name: str, benchmark: Library, policy: Any, recipe: Recipe) -> list[ItemResult]:
    """One model's items. The draws depend on the run's seed, the benchmark's name and the prompt: both models get the same.

    Raises:
        DataError: if the task cannot be run, or does not return right or wrong.
        ModelError: if it does not fit the model's context, or needs what our policies do not support.
    """
    from ratchet.components.evaluation.benchmarks.answers import DecodingSettings, Respondent

    settings, most = recipe.evaluation, recipe.policy.max_new_tokens
    respondent = Respondent(policy, recipe.run_seed, f"benchmark_{name}")
    with contained(name, benchmark) as folder:
        if isinstance(benchmark, LmEval):
            from ratchet.components.evaluation.benchmarks.lm_eval import lm_eval_items

            return lm_eval_items(name, benchmark, respondent, max_new_tokens=most, slices=settings.slices)
        from ratchet.components.evaluation.benchmarks.inspect_ai import inspect_items

        defaults, samples = DecodingSettings(settings.temperature, most), samples_of(benchmark, settings.samples)
        return inspect_items(
            name, benchmark, respondent, defaults=defaults, samples=samples, folder=folder, slices=settings.slices
        )


def samples_of(benchmark: str | Library, samples: int) -> int:
    """Samples per item: those of the recipe, but one for lm-eval's tasks, which set their own repeats."""
    return 1 if isinstance(benchmark, LmEval) else samples


def require_same_items(name: str, first: Sequence[ItemResult], second: Sequence[ItemResult]) -> None:
    """Check that both models were asked the same.

    Raises:
        DataError: if an item or its prompt differs, as when a task shuffles without a seed.
    """
    if [(item.id, item.sample, item.prompt) for item in first] != [(item.id, item.sample, item.prompt) for item in second]:
        raise DataError(
            f"benchmark {name} asked the two models different items. If its task shuffles or draws examples, give it a seed."
        )


def require_measures(recipe: Recipe, details: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Reject a guard on a measure that a library's task did not provide, before a use of a sealed fold is counted.

    Args:
        details: figures by place, arm and measure, as in ``details.json``.

    Raises:
        RecipeError: naming the available measures.
    """
    for guard in recipe.gate.rules.guards:
        if isinstance(recipe.evaluation.benchmarks.get(guard.on, ""), str):
            continue
        there = details[f"benchmark {guard.on}"][rows_name(Arm.CHALLENGER, Decoding.SAMPLED)]
        if guard.measure not in there and not guard.measure.startswith("pass@"):  # any K up to the samples is available
            raise RecipeError(
                f"a guard is on {guard.measure!r} of the benchmark {guard.on!r}, whose task generates no text; "
                f"it gives {', '.join(there)}. Correct gate.rules.guards."
            )
