"""Tasks of inspect_ai: the policy as its model, and its items as results. The only module that imports inspect_ai."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import eval as run_task
from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, ModelUsage, modelapi
from pydantic_core import to_jsonable_python

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.answers import DecodingSettings, Respondent, item_score
from ratchet.components.recipe import Inspect, Slice, slices_of
from ratchet.components.records import ItemResult
from ratchet.components.storage.digests import digest_of

# Options that change an answer and that this policy does not support; options of other providers have no effect here.
REFUSED = (
    "best_of",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "top_k",
    "num_choices",
    "logprobs",
    "response_schema",
)


class PolicyAPI(ModelAPI):  # type: ignore[misc]
    """One prompt at a time, so that an answer does not depend on concurrent requests.

    Args:
        defaults: temperature and maximum new tokens if the task does not set them.
    """

    def __init__(self, respondent: Respondent, defaults: DecodingSettings) -> None:
        # A unique name per run, so that inspect_ai's cache, if a task uses it, never answers for another model.
        super().__init__(model_name=f"policy-{uuid.uuid4().hex}")
        self._respondent, self._defaults = respondent, defaults

    async def generate(
        self, input: Sequence[Any], tools: Sequence[Any], tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """The policy's answer to a conversation, decoded as the task's configuration says.

        Raises:
            ModelError: if the task wants what this policy cannot do: tools, other than text, options such as ``top_k``.
        """
        if tools:
            raise ModelError("this policy cannot call tools. Choose a task in which the model writes its answer.")
        (answer,) = self._respondent.answer([[_message(message) for message in input]], self._decoding(config))
        reason = "stop" if answer.finished else "max_tokens"
        output = ModelOutput.from_content(self.model_name, answer.text, stop_reason=reason)
        output.usage = ModelUsage(output_tokens=answer.length, total_tokens=answer.length)
        return output

    def _decoding(self, config: GenerateConfig) -> DecodingSettings:
        unknown = [name for name in REFUSED if getattr(config, name) not in (None, False, 1)]
        if unknown:
            raise ModelError(f"the task sets {unknown[0]}, which this policy does not support. Remove it from the task.")
        defaults = self._defaults
        return DecodingSettings(
            temperature=defaults.temperature if config.temperature is None else float(config.temperature),
            max_new_tokens=config.max_tokens or defaults.max_new_tokens,
            top_p=1.0 if config.top_p is None else float(config.top_p),
            stops=tuple(config.stop_seqs or ()),
        )


def inspect_model(respondent: Respondent, defaults: DecodingSettings) -> Any:
    """The policy as inspect_ai's ``Model``.

    Args:
        defaults: temperature and maximum new tokens if the task does not set them.
    """
    return Model(modelapi(name="ratchet")(PolicyAPI)(respondent, defaults), GenerateConfig())


def _message(message: Any) -> dict[str, str]:
    other = [] if isinstance(message.content, str) else [part.type for part in message.content if part.type != "text"]
    if other or message.role == "tool":
        raise ModelError(f"the task sends {(other or ['a tool message'])[0]}, and this policy reads text. Choose another task.")
    return {"role": message.role, "content": message.text}


WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # inspect_ai's correct, partial, incorrect and no answer


def inspect_items(
    name: str,
    benchmark: Inspect,
    respondent: Respondent,
    *,
    defaults: DecodingSettings,
    samples: int,
    folder: Path,
    slices: Sequence[Slice] = (),
) -> list[ItemResult]:
    """One result per item and epoch, in the task's order; of equal items the first counts. Format and KL are never measured.

    Args:
        defaults: temperature and maximum new tokens if the task does not set them.
        samples: epochs; a task that decodes greedily gives the same answer in each.
        folder: where inspect_ai may write its log.

    Raises:
        DataError: if the task fails, or its scorer does not return right or wrong.
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
    right = item_score(name, "the scorer", value) > 0.5
    written = bool(sample.output.choices) and sample.output.usage is not None
    return ItemResult(
        id=digest_of([asked, sample.target, sample.choices]),
        prompt=prompt,
        completion=sample.output.completion,
        passed=right,
        score=float(right),
        length=sample.output.usage.output_tokens if written else None,
        finished=sample.output.stop_reason == "stop" if written else None,
        kl=None,
        sample=sample.epoch - 1,
        slices=slices_of({**to_jsonable_python(sample.metadata, fallback=str), "prompt": prompt}, slices),
    )


def _score(name: str, benchmark: Inspect, sample: Any) -> object:
    scores = sample.scores or {}
    chosen = benchmark.scorer or next(iter(scores), None)
    if chosen not in scores:
        there = ", ".join(scores) or "no scorer"
        raise DataError(
            f"benchmark {name}: {benchmark.task} has no scorer {chosen!r}; it has {there}. "
            f"Correct evaluation.benchmarks.{name}.scorer."
        )
    value = scores[chosen].value
    return WORDS.get(value, value) if isinstance(value, str) else value
