"""Run a task of inspect_ai with the policy, and read its items as ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import eval as run_task
from pydantic_core import to_jsonable_python

from ratchet.components.digests import digest_of
from ratchet.components.errors import DataError
from ratchet.components.evaluation.benchmarks.answers import Decoding, Respondent
from ratchet.components.evaluation.benchmarks.extras import share
from ratchet.components.evaluation.benchmarks.inspect_model import inspect_model
from ratchet.components.recipe import Inspect, Slice, slices_of
from ratchet.components.records import ItemResult

WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # inspect_ai's correct, partial, incorrect and no answer


def inspect_items(
    name: str,
    benchmark: Inspect,
    respondent: Respondent,
    *,
    defaults: Decoding,
    samples: int,
    folder: Path,
    slices: Sequence[Slice] = (),
) -> list[ItemResult]:
    """One result an item and epoch, in the task's order; of two equal items the first counts. Format and KL are never there.

    Args:
        defaults: temperature and most new tokens where the task does not say.
        samples: epochs; a task that decodes greedily says the same in each.
        folder: where inspect_ai may write its log.

    Raises:
        DataError: if the task fails, or its scorer does not say right or wrong.
    """
    file = Path(benchmark.file).resolve()
    (log,) = run_task(
        f"{file}@{benchmark.task.rpartition('@')[2]}",
        model=inspect_model(respondent, defaults),
        limit=benchmark.limit,
        epochs=samples,
        max_samples=1,
        max_tasks=1,
        display="none",
        log_dir=str(folder),
        log_level="error",
        log_realtime=False,
        ctl_server=False,
        debug_errors=True,
    )
    if log.status != "success" or not log.samples:
        said = log.error.message if log.error else "it has no items"
        raise DataError(f"benchmark {name}: {benchmark.task} did not finish: {said}. Correct evaluation.benchmarks.{name}.")
    items: dict[tuple[str, int], ItemResult] = {}
    for sample in log.samples:
        item = _item(name, benchmark, sample, slices)
        items.setdefault((item.id, item.sample), item)
    return list(items.values())


def _item(name: str, benchmark: Inspect, sample: Any, slices: Sequence[Slice]) -> ItemResult:
    value = _score(name, benchmark, sample)
    asked = sample.input if isinstance(sample.input, str) else [[message.role, message.text] for message in sample.input]
    prompt = asked if isinstance(asked, str) else "\n\n".join(text for _, text in asked)
    written = bool(sample.output.choices) and sample.output.usage is not None
    return ItemResult(
        id=digest_of([asked, sample.target, sample.choices]),
        prompt=prompt,
        completion=sample.output.completion,
        correct=share(name, "the scorer", value) > 0.5,
        formatted=None,
        length=sample.output.usage.output_tokens if written else None,
        finished=sample.output.stop_reason == "stop" if written else None,
        kl=None,
        sample=sample.epoch - 1,
        correct_lenient=None,
        slices=slices_of({**to_jsonable_python(sample.metadata, fallback=str), "prompt": prompt}, slices),
    )


def _score(name: str, benchmark: Inspect, sample: Any) -> object:
    scores = sample.scores or {}
    chosen = benchmark.scorer or next(iter(scores), None)
    if chosen not in scores:
        there = ", ".join(scores) or "no scorer at all"
        raise DataError(
            f"benchmark {name}: {benchmark.task} has no scorer {chosen!r}; it has {there}. "
            f"Correct evaluation.benchmarks.{name}.scorer."
        )
    value = scores[chosen].value
    return WORDS.get(value, value) if isinstance(value, str) else value
