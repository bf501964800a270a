"""Which engine draws: slots on CUDA, groups on a CPU, and the plain engine for what these cannot serve."""

import logging
from weakref import ReferenceType, ref

from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSettings
from ratchet.components.policy.engines.grouped import GroupedEngine
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.parity import check_engine
from ratchet.components.policy.sharding import parts_of

_log = logging.getLogger(__name__)


def generate(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
    """The default rollout engine, for training, evaluation and the pilot alike."""
    engine = _latest.engine(policy) if _may_be_faster(policy, request.settings) else None
    return (engine or plain.generate)(policy, request)


def _may_be_faster(policy: Policy, settings: SamplingSettings) -> bool:
    """Whether the device's engine is to be asked: slots do not record what top-p kept, groups do not gather shards."""
    if policy.model.device.type == "cuda":
        return not settings.cuts
    return policy.model.device.type == "cpu" and not parts_of(policy.model)


def release() -> None:
    """Free the slots and graphs of the engine in use, if there is one; the next rollout recreates them."""
    _latest.release()


class _Latest:
    """The engine of the last model used: only one model's slots and weights are held at a time."""

    def __init__(self) -> None:
        self._model: ReferenceType[PreTrainedModel] | None = None
        self._precision = ""
        self._engine: SlotEngine | GroupedEngine | None = None

    def engine(self, policy: Policy) -> SlotEngine | GroupedEngine | None:
        """None if only the plain engine can serve this model."""
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


def _checked_engine(policy: Policy) -> SlotEngine | GroupedEngine | None:
    try:
        return check_engine(policy, slots=policy.model.device.type == "cuda")
    except ModelError as error:
        _log.warning("%s: sampling is slower with this model: %s", policy.model.config.model_type, error)
        return None
