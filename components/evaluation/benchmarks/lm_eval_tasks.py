"""Run a task of lm-eval with the policy, and read its items as ours."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from ratchet.components.digests import digest_of
from ratchet.components.errors import DataError
from ratchet.components.evaluation.benchmarks.answers import Respondent
from ratchet.components.evaluation.benchmarks.extras import share
from ratchet.components.evaluation.benchmarks.lm_eval_model import PolicyLM
from ratchet.components.recipe import LmEval, Slice, slices_of
from ratchet.components.records import ItemResult

FEWSHOT_SEED = 1234  # lm-eval's own default


def lm_eval_items(
    name: str, benchmark: LmEval, respondent: Respondent, *, max_new_tokens: int, slices: Sequence[Slice] = ()
) -> list[ItemResult]:
    """One result an item, in the task's order; of two equal documents the first counts.

    Length and ``finished`` are there where the task has the model write; format, the lenient answer and KL never are.

    Raises:
        DataError: if the task cannot be loaded, or its metric does not say right or wrong.
    """
    model = PolicyLM(respondent, max_new_tokens)
    loaded = load_tasks(name, benchmark)
    found = evaluate(model, loaded, limit=benchmark.limit, bootstrap_iters=0)
    items: dict[str, ItemResult] = {}
    for task, samples in found["samples"].items():
        better = found["higher_is_better"].get(task, {})
        for sample, value in chosen_values(name, benchmark, samples, better):
            item = _item(model, task, sample, value, slices)
            items.setdefault(item.id, item)
    return list(items.values())


def load_tasks(name: str, benchmark: LmEval) -> Any:
    """The task, or the tasks of a group, with the number of examples set."""
    manager = TaskManager(include_path=benchmark.tasks_folder, include_defaults=benchmark.tasks_folder is None)
    if benchmark.task not in manager.all_tasks:
        where = benchmark.tasks_folder or "lm-eval"
        raise DataError(f"benchmark {name}: {where} has no task {benchmark.task!r}. Correct evaluation.benchmarks.{name}.task.")
    loaded = manager.load(benchmark.task)
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if own == 0 and benchmark.num_fewshot:
            raise DataError(f"benchmark {name}: {task.task_name} takes no examples. Remove num_fewshot.")
        task.set_config(key="num_fewshot", value=(own or 0) if benchmark.num_fewshot is None else benchmark.num_fewshot)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return loaded


def chosen_values(
    name: str, benchmark: LmEval, samples: Sequence[Mapping[str, Any]], better: Mapping[str, bool]
) -> Iterator[tuple[Mapping[str, Any], float]]:
    """(logged sample, its score) of one task: of the chosen metric and filter, else of the first ones."""
    metric, _, answer_filter = (benchmark.metric or "").partition(",")
    metric = metric or next(iter(samples[0]["metrics"]))
    answer_filter = answer_filter or samples[0]["filter"]
    kept = [sample for sample in samples if sample["filter"] == answer_filter]
    if not kept or metric not in kept[0]["metrics"]:
        there = dict.fromkeys(f"{one},{sample['filter']}" for sample in samples for one in sample["metrics"])
        raise DataError(
            f"benchmark {name}: {benchmark.task} has no metric {benchmark.metric!r}. Use one of {', '.join(there)} "
            f"in evaluation.benchmarks.{name}.metric."
        )
    if better.get(metric) is False:
        raise DataError(f"benchmark {name}: of {metric} less is better. Choose another in evaluation.benchmarks.{name}.metric.")
    for sample in kept:
        yield sample, share(name, f"the metric {metric}", sample[metric])


def _item(model: PolicyLM, task: str, sample: Mapping[str, Any], value: float, slices: Sequence[Slice]) -> ItemResult:
    document = json.loads(json.dumps(sample["doc"], default=handle_non_serializable))
    prompt = str(sample["arguments"][0][0])
    answers = model.answers.get(prompt) if len(sample["arguments"]) == 1 else None
    fields = document if isinstance(document, dict) else {}
    return ItemResult(
        id=digest_of([task, document]),
        prompt=prompt,
        completion=answers[0].text if answers else "",
        correct=value > 0.5,
        formatted=None,
        length=answers[0].length if answers else None,
        finished=answers[0].finished if answers else None,
        kl=None,
        correct_lenient=None,
        slices=slices_of({**fields, "prompt": prompt}, slices),
    )
