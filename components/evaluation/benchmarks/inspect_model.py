"""The policy as a model of inspect_ai. The only modules that import inspect_ai are this one and inspect_tasks."""

import uuid
from collections.abc import Sequence
from typing import Any

from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, ModelUsage, modelapi

from ratchet.components.errors import ModelError
from ratchet.components.evaluation.benchmarks.answers import Decoding, Respondent

# What changes an answer and this policy cannot do; options of other providers change nothing here.
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
    """One prompt at a time, so that an answer does not depend on what else is under way.

    Args:
        defaults: temperature and most new tokens where the task does not say.
    """

    def __init__(self, respondent: Respondent, defaults: Decoding) -> None:
        # A name of its own for each run: inspect_ai's cache, where a task asks for it, never answers for another model.
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
            raise ModelError("this policy cannot call tools. Choose a task that has the model write its answer.")
        (answer,) = self._respondent.answer([[_message(message) for message in input]], self._decoding(config))
        reason = "stop" if answer.finished else "max_tokens"
        output = ModelOutput.from_content(self.model_name, answer.text, stop_reason=reason)
        output.usage = ModelUsage(output_tokens=answer.length, total_tokens=answer.length)
        return output

    def _decoding(self, config: GenerateConfig) -> Decoding:
        unknown = [name for name in REFUSED if getattr(config, name) not in (None, False, 1)]
        if unknown:
            raise ModelError(f"the task sets {unknown[0]}, which this policy cannot do. Take it out of the task.")
        defaults = self._defaults
        return Decoding(
            temperature=defaults.temperature if config.temperature is None else float(config.temperature),
            max_new_tokens=config.max_tokens or defaults.max_new_tokens,
            top_p=1.0 if config.top_p is None else float(config.top_p),
            stops=tuple(config.stop_seqs or ()),
        )


def inspect_model(respondent: Respondent, defaults: Decoding) -> Any:
    """The policy as inspect_ai's ``Model``.

    Args:
        defaults: temperature and most new tokens where the task does not say.
    """
    return Model(modelapi(name="ratchet")(PolicyAPI)(respondent, defaults), GenerateConfig())


def _message(message: Any) -> dict[str, str]:
    other = [] if isinstance(message.content, str) else [part.type for part in message.content if part.type != "text"]
    if other or message.role == "tool":
        raise ModelError(f"the task sends {(other or ['a tool message'])[0]}, and this policy reads text. Choose another task.")
    return {"role": message.role, "content": message.text}
