"""What draws in training: Ratchet's own engines, or the server that the recipe names."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import RolloutEngine
from ratchet.components.policy.engines.vllm.engine import PROBES, VllmEngine, opened
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor


@contextmanager
def sampling_engine(train: Train, actor: Actor, rows: Sequence[Mapping[str, Any]], identity: str) -> Iterator[RolloutEngine]:
    """The engine of a training; a server has been looked at before the first step.

    Args:
        identity: of the training.

    Raises:
        EngineError: if the server does not answer, is of an unknown release, or does not serve such an adapter.
    """
    sampling = train.sampling
    if sampling.engine == "own" or sampling.vllm is None:
        yield generate
        return
    probes = [actor.policy.encode_row(row) for row in rows[:PROBES]]
    with opened(sampling.vllm, actor.adapter, probes, identity) as engine:
        engine.sync(actor.policy)
        engine.rest()
        yield engine


def engine_name(engine: RolloutEngine) -> str | None:
    """A server's kind and release; None for our own engines."""
    return f"vllm {engine.version}" if isinstance(engine, VllmEngine) else None
