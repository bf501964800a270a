"""Tasks of lm-eval: the policy as its model, and its items as results. The only module that imports lm_eval."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, handle_non_serializable, make_disjoint_window

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.answers import (
    Answer,
    DecodingSettings,
    Respondent,
    context_of,
    item_score,
    require_room,
)
from ratchet.components.policy.log_probs import completion_scores
from ratchet.components.policy.packing import Group
from ratchet.components.recipe import LmEval, Slice, slices_of
from ratchet.components.records import ItemResult
from ratchet.components.storage.digests import digest_of

KNOWN = {"until", "do_sample", "temperature", "top_p", "max_gen_toks"}


class PolicyLM(LM):  # type: ignore[misc]
    """Contexts go into the policy's own template as one user message; the scored text begins the answer.

    Attributes:
        answers: context -> generated texts, in request order.
    """

    def __init__(self, respondent: Respondent, max_new_tokens: int) -> None:
        super().__init__()
        self._respondent, self._policy = respondent, respondent.policy
        self._max_new_tokens = max_new_tokens  # if a task does not set it
        self.answers: dict[str, list[Answer]] = defaultdict(list)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Texts up to the first of ``until``, decoded as each request specifies (greedily, unless it samples)."""
        decodings = [self._decoding(request.args[1]) for request in requests]
        texts: dict[int, str] = {}
        for decoding in dict.fromkeys(decodings):
            chosen = [number for number, own in enumerate(decodings) if own == decoding]
            contexts = [str(requests[number].args[0]) for number in chosen]
            answers = self._respondent.answer([[_user(context)] for context in contexts], decoding)
            for number, context, answer in zip(chosen, contexts, answers, strict=True):
                self.answers[context].append(answer)
                texts[number] = answer.text
        return [texts[number] for number in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-prob of the continuation in nats, whether greedy decoding gives it) of (context, continuation)."""
        return completion_scores(self._policy, [self._group(*request.args[:2]) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-prob of whole raw texts in nats, in windows of the context, from end-of-sequence on; no template."""
        totals = []
        for request in requests:
            tokens = self._raw(str(request.args[0]))
            limit = context_of(self._policy) or len(tokens) + 1
            # The library's windows count predicted tokens, one less than a window contains with its context.
            windows = get_rolling_token_windows(tokens, self._policy.end_of_sequence, limit - 1, 1)
            groups = [Group(context, [target]) for context, target in map(make_disjoint_window, windows)]
            totals.append(sum(score for score, _ in completion_scores(self._policy, groups)))
        return totals

    def _decoding(self, options: Mapping[str, Any]) -> DecodingSettings:
        wanted = normalize_gen_kwargs(dict(options), self._max_new_tokens)
        unknown = sorted(set(wanted) - KNOWN)
        if unknown:
            raise ModelError(
                f"generation_kwargs has {unknown[0]}, which this policy does not support. Remove it from the task."
            )
        stops, sampled = wanted["until"], wanted["do_sample"]
        return DecodingSettings(
            temperature=float(wanted.get("temperature", 1.0)) if sampled else 0.0,
            max_new_tokens=int(wanted["max_gen_toks"]),
            top_p=float(wanted.get("top_p", 1.0)) if sampled else 1.0,
            stops=tuple([stops] if isinstance(stops, str) else stops),
        )

    def _group(self, context: str, continuation: str) -> Group:
        if not context.strip():
            prompt, rest = [self._policy.end_of_sequence], self._raw(context + continuation)
        elif self._policy.tokenizer.chat_template:
            # The template ends the turn, so the delimiter before the continuation has nothing to separate.
            prompt, rest = self._policy.encode_prompt(context), self._raw(continuation.lstrip())
        else:
            kept = context.rstrip()  # a space belongs to the word after it, in lm-eval's own models too
            prompt = self._policy.encode_prompt(kept)
            rest = self._policy.encode_prompt(kept + context[len(kept) :] + continuation)[len(prompt) :]
        if not prompt or not rest:
            raise ModelError(f"an item of the task has nothing to score after {context[-40:]!r}. Correct its choices.")
        require_room(self._policy, len(prompt), len(rest))
        return Group(prompt, [rest])

    def _raw(self, text: str) -> list[int]:
        return list(self._policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


FEWSHOT_SEED = 1234  # lm-eval's own default


def lm_eval_items(
    name: str, benchmark: LmEval, respondent: Respondent, *, max_new_tokens: int, slices: Sequence[Slice] = ()
) -> list[ItemResult]:
    """One result per item, in the task's order; of several equal documents the first counts.

    Length and ``finished`` are measured if the task generates text; format, the lenient answer and KL never are.

    Raises:
        DataError: if the task cannot be loaded, or its metric does not return right or wrong.
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
        raise DataError(f"benchmark {name}: lower {metric} is better. Choose another in evaluation.benchmarks.{name}.metric.")
    for sample in kept:
        yield sample, item_score(name, f"the metric {metric}", sample[metric])


def _item(model: PolicyLM, task: str, sample: Mapping[str, Any], value: float, slices: Sequence[Slice]) -> ItemResult:
    document = json.loads(json.dumps(sample["doc"], default=handle_non_serializable))
    prompt = str(sample["arguments"][0][0])
    answers = model.answers.get(prompt) if len(sample["arguments"]) == 1 else None
    right = value > 0.5
    fields = document if isinstance(document, dict) else {}
    return ItemResult(
        id=digest_of([task, document]),
        prompt=prompt,
        completion=answers[0].text if answers else "",
        passed=right,
        score=float(right),
        length=answers[0].length if answers else None,
        finished=answers[0].finished if answers else None,
        kl=None,
        slices=slices_of({**fields, "prompt": prompt}, slices),
    )
