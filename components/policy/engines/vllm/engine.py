"""vLLM as a rollout engine: ``sync`` gives the server the policy's weights, ``draw`` draws, ``rest`` frees the server's memory.

With several ranks one of them calls ``sync`` and ``rest``; the others ``follow`` the version that it returned, and all draw.
"""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ratchet.components.errors import EngineError
from ratchet.components.policy.adapters import Adapter
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, check_room
from ratchet.components.policy.engines.vllm.messages import (
    Sample,
    Served,
    Vocabulary,
    completion_of,
    drawing_request,
    samples_of,
    scores_of,
    scoring_request,
)
from ratchet.components.policy.engines.vllm.probe import (
    PROBING,
    SEED,
    Look,
    Update,
    check_look,
    check_update,
    groups_of,
    mismatch,
    sampled_log_probs,
    scored_log_probs,
)
from ratchet.components.policy.engines.vllm.server import ServedModel, Server
from ratchet.components.policy.engines.vllm.weights import Version, WeightFiles, trained_digest
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.recipe import Vllm

PROBES = 4  # prompts
PROBE_TOKENS = 64  # the end of each: the text that is compared fits into any context


class VllmEngine:
    """A rollout engine (:class:`ratchet.components.policy.engines.engine.RolloutEngine`) whose draws are a server's.

    It has no entropies, and no bits are promised.
    """

    def __init__(self, server: Server, files: WeightFiles, probes: Sequence[Sequence[int]]) -> None:
        """
        Args:
            probes: token ids of a few prompts of the kind that is trained on.
        """
        self.server, self.files, self.probes = server, files, list(probes)[:PROBES]
        self.version = ""  # of vLLM
        self.updated: Update | None = None  # by the last update
        self._base: ServedModel | None = None
        self._served: Served | None = None
        self._given: tuple[str, Version] | None = None  # the digest of what the server has, and its files
        self._asleep = False
        self._text: tuple[list[Group], Tensor] | None = None  # the probe, with our log-probs of it at the last update

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        """See :class:`ratchet.components.policy.engines.engine.RolloutEngine`.

        Raises:
            EngineError: if the server cannot be used, or has other weights.
            ModelError: if a completion could run past the model's context.
        """
        self.sync(policy)
        drawn = self.draw(policy, request)
        self.rest()
        return drawn

    @property
    def base(self) -> ServedModel:
        """The server's model. The first use looks at the server.

        Raises:
            EngineError: if its release is not known, it serves no model, or cannot do what the recipe asks.
        """
        if self._base is None:
            self.version = self.server.version()
            if self.server.settings.sleep:
                self.server.check_sleep_mode()
            self._asleep = self.server.sleeping()  # as another run may have left it: its draws would not be answered
            if self._asleep and self.files.adapter is not None:
                raise EngineError(
                    f"{self.server.url} sleeps, and has lost the weights below the adapter. Start it again, and run the same "
                    "command to resume."
                )
            self._base = self.server.model()
        return self._base

    def follow(self, served: Served) -> None:
        """Draw with a version that another rank gave the server."""
        self._served = served

    def sync(self, policy: Policy) -> Served:
        """Give the server the policy's weights, unless it has them, and see by a text that it computes with them.

        Raises:
            EngineError: if it does not.
        """
        base, found = self.base, trained_digest(policy.model)
        known = self._given is not None and self._given[0] == found
        if self._served is not None and known and not self._asleep:
            return self._served
        old = self._given[1] if self._given is not None else None
        version = old if known and old is not None else self.files.write(policy)
        self._update(version, old)
        self._given = (found, version)
        self._served = Served(version.name if self.files.adapter is not None else base.name, version.name)
        self._see(policy)
        self.files.keep_only(version)
        return self._served

    def draw(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        """Draw with the version that the server was given, in any process.

        Args:
            policy: whose vocabulary and context these are; its weights are not read.

        Raises:
            EngineError: if a reply does not come, or is not a whole completion.
            ModelError: if a completion could run past the model's context.
        """
        assert self._served is not None, "draw before sync or follow"
        served, settings, k = self._served, request.settings, request.settings.samples
        check_room(policy.model, request)
        self._check_room(request)
        vocabulary = Vocabulary(policy.model.config.get_text_config().vocab_size, request.ends)

        def drawn(sample: Sample) -> Completion:
            body = drawing_request(served, sample, settings, request.ends)
            reply = self.server.complete(body, len(sample.prompt) + settings.max_new_tokens)
            return completion_of(reply, sample, settings, vocabulary)

        samples = samples_of(request)
        with ThreadPoolExecutor(self.server.settings.parallel) as pool:
            futures = [pool.submit(drawn, sample) for sample in samples]
            try:
                rows = [future.result() for future in futures]
            finally:
                pool.shutdown(cancel_futures=True)  # after an error: those in flight have their own time limit
        return [rows[i : i + k] for i in range(0, len(rows), k)]

    def rest(self) -> None:
        """Free the server's memory until the next sync, if it shares the trainer's GPU."""
        if self.server.settings.sleep and not self._asleep:
            self.server.sleep()
            self._asleep = True

    def look(self, policy: Policy) -> Look:
        """Draw completions of the probes, and compare the server's log-probs of them with our scorer's."""
        prompts = [prompt[-PROBE_TOKENS:] for prompt in self.probes]
        drawn = self.draw(policy, SamplingRequest(prompts, range(len(prompts)), PROBING, SEED, policy.ends))
        groups, sampled = groups_of(prompts, drawn), sampled_log_probs(drawn)
        scored = scored_log_probs(policy, groups, PROBING.temperature, PROBING.top_p)
        plain = scored_log_probs(policy, groups)
        return Look(groups, mismatch(sampled, scored), float((sampled - plain).abs().mean()), plain)

    def scores(self, groups: Sequence[Group]) -> Tensor:
        """The server's log-probs of given texts at temperature 1, by completion and token, [N]."""
        assert self._served is not None
        found: list[float] = []
        for prompt, completions in groups:
            for completion in completions:
                body = scoring_request(self._served, prompt, completion)
                reply = self.server.complete(body, len(prompt) + len(completion))
                found += scores_of(reply, prompt, completion)
        return torch.tensor(found)

    def _update(self, version: Version, old: Version | None) -> None:
        """Load a version. A server that sleeps wakes its weights first and its cache last; what was cached is dropped."""
        if self._asleep:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.server.wake("weights")
        if self.files.adapter is None:
            self.server.reload_weights(str(version.path))
        else:
            self.server.load_adapter(version.name, str(version.path))
            if old is not None:
                self.server.unload_adapter(old.name)
        if self._asleep:
            self.server.wake("kv_cache")
            self._asleep = False
        self.server.reset_prefix_cache()

    def _see(self, policy: Policy) -> None:
        """Check by the text that the server computes with the new weights; the first time, draw it."""
        if self._text is None:
            first = self.look(policy)
            check_look(first)
            self._text = (first.groups, first.plain)
            return
        groups, before = self._text
        now, server = scored_log_probs(policy, groups), self.scores(groups)
        moved, old = ((one - before).abs().mean() for one in (now, server))
        self.updated = Update(float(moved), mismatch(server, now), float(old))
        check_update(self.updated)
        self._text = (groups, now)

    def _check_room(self, request: SamplingRequest) -> None:
        """Refuse what the server would silently cut short."""
        longest, new = request.longest, request.settings.max_new_tokens
        if longest + new > self.base.context:
            raise EngineError(
                f"a prompt of {longest} tokens and {new} new ones exceed the server's context of "
                f"{self.base.context}. Start it with a larger --max-model-len, or lower policy.max_new_tokens."
            )


@contextmanager
def opened(settings: Vllm, adapter: Adapter | None, probes: Sequence[Sequence[int]], identity: str) -> Iterator[VllmEngine]:
    """An engine whose files are removed at the end.

    Args:
        identity: of the training, which has a folder of its own below ``settings.folder``.

    Raises:
        EngineError: if vLLM does not load such an adapter.
    """
    files = WeightFiles(Path(settings.folder) / f"ratchet-{identity[:16]}", adapter, secrets.token_hex(4))
    with Server(settings) as server:
        try:
            yield VllmEngine(server, files, probes)
        finally:
            files.remove()
