"""Which engine draws: continuous batching in slots on CUDA if it can serve the model, the plain engine otherwise.

On a CPU the plain engine is not slower at the quickstart's shape (docs/engines.md has the figures).
"""

import logging
from collections.abc import Sequence
from weakref import ReferenceType, ref

from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.engine import Completion, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.parity import check_slots

_log = logging.getLogger(__name__)


def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
) -> list[list[Completion]]:
    """The default rollout engine, for training, evaluation and the pilot alike."""
    engine = None if settings.cuts or policy.model.device.type != "cuda" else _latest.engine(policy)
    return (engine or plain.generate)(policy, prompts, items, settings, seed)


def release() -> None:
    """Free the slots and graphs of the engine in use, if there is one; the next rollout recreates them."""
    _latest.release()


class _Latest:
    """The engine of the last model used: only one model's slots and weights are held at a time."""

    def __init__(self) -> None:
        self._model: ReferenceType[PreTrainedModel] | None = None
        self._precision = ""
        self._engine: SlotEngine | None = None

    def engine(self, policy: Policy) -> SlotEngine | None:
        """None if slots cannot serve this model."""
        known = self._model is not None and self._model() is policy.model and self._precision == policy.precision
        if not known or (self._engine is not None and not self._engine.shared_weights.belong_to(policy.model)):
            self._engine = None  # frees the other model's engine before creating this one
            self._engine = _checked_engine(policy)
            self._model, self._precision = ref(policy.model, self._forget), policy.precision
        return self._engine

    def release(self) -> None:
        if self._engine is not None:
            self._engine.release()

    def _forget(self, model: ReferenceType[PreTrainedModel]) -> None:
        """Release the weights of a freed model."""
        if model is self._model:
            self._engine = None


_latest = _Latest()


def _checked_engine(policy: Policy) -> SlotEngine | None:
    try:
        return check_slots(policy)
    except ModelError as error:
        _log.warning("%s: slots cannot serve this model: %s", policy.model.config.model_type, error)
        return None
