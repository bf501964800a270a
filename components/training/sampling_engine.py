"""What draws in training: Ratchet's own engines, or the server that the recipe names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ratchet.components.errors import EngineError
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import Completion, RolloutEngine, SamplingRequest
from ratchet.components.policy.engines.vllm.engine import PROBES, VllmEngine, opened
from ratchet.components.policy.engines.vllm.messages import Served
from ratchet.components.policy.engines.vllm.weights import trained_digest
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor


class SharedServer:
    """One server of several ranks: the first gives it the weights, each draws its own prompts."""

    def __init__(self, engine: VllmEngine, ranks: Ranks) -> None:
        self.engine, self.ranks = engine, ranks
        self._given: str | None = None

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        """See :class:`ratchet.components.policy.engines.engine.RolloutEngine`.

        All ranks must call it after an update, and wait for one another before the next.
        """
        self.sync(policy)
        return self.engine.draw(policy, request)

    def sync(self, policy: Policy) -> None:
        """Give the server the weights, if they changed, and tell every rank by what name it knows them."""
        found = trained_digest(policy.model)
        if found == self._given:
            return
        served = self.engine.sync(policy) if self.ranks.first else None
        told = self.ranks.exchange(json.dumps(served).encode())[0]
        self.engine.follow(Served(*json.loads(told)))
        self._given = found


@contextmanager
def sampling_engine(
    train: Train, actor: Actor, rows: Sequence[Mapping[str, Any]], identity: str, ranks: Ranks = ONE
) -> Iterator[RolloutEngine]:
    """The engine of a training; a server has been looked at, and has the policy's weights, before the first step.

    Args:
        identity: of the training.

    Raises:
        EngineError: if the server does not answer, is of an unknown release, or does not serve such an adapter.
    """
    sampling = train.sampling
    if sampling.engine == "own" or sampling.vllm is None:
        yield generate
        return
    _refuse_ranks(train, ranks)
    probes = [actor.policy.encode_row(row) for row in rows[:PROBES]]
    with opened(sampling.vllm, actor.adapter, probes, identity) as engine:
        if ranks.size > 1:
            shared = SharedServer(engine, ranks)
            shared.sync(actor.policy)
            yield shared
        else:
            engine.sync(actor.policy)
            engine.rest()
            yield engine


def _refuse_ranks(train: Train, ranks: Ranks) -> None:
    """
    Raises:
        EngineError: if these ranks cannot share a server.
    """
    if ranks.sharded:
        raise EngineError("a vLLM server is given whole weights, and no rank has them. Set launch.weights=replicated.")
    if train.sampling.sleeps and ranks.size > 1:
        raise EngineError(
            f"a server shares the GPU of one trainer, and there are {ranks.size} ranks. Give it a GPU of its own, and set "
            "train.sampling.vllm.sleep=false."
        )
    if ranks.size > train.prompts:  # one without prompts would not hear of new weights
        raise EngineError(f"{ranks.size} ranks draw for train.prompts={train.prompts}. Raise it, or lower launch.workers.")


def engine_name(engine: RolloutEngine) -> str | None:
    """A server's kind and release; None for our own engines."""
    server = engine.engine if isinstance(engine, SharedServer) else engine
    return f"vllm {server.version}" if isinstance(server, VllmEngine) else None
