"""The contract of an external engine as ten checks of a server, each with its figure: ``ratchet engine check``.

They leave the server with the policy's own weights. Check 7 is met by repeating alone; whether a sample is also the same beside
others is its figure, since vLLM promises that in its batch-invariant mode only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ratchet.components.errors import EngineError, ModelError
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.vllm.engine import VllmEngine
from ratchet.components.policy.engines.vllm.messages import Sample, drawing_request
from ratchet.components.policy.engines.vllm.probe import Update, check_look
from ratchet.components.policy.engines.vllm.server import KNOWN_BELOW, KNOWN_FROM, never_connected
from ratchet.components.policy.engines.vllm.weights import refuse_adapter
from ratchet.components.policy.loading import Policy

SEED = SamplingSeed(0, "contract")
SHORT = SamplingSettings(samples=2, max_new_tokens=8)
NEARLY_GREEDY = 0.01  # temperature; vLLM's least
REPEATED = 0.75  # share of samples that are the same again: other kernels may round a few tokens otherwise
NO_TIME = 0.001  # seconds
AT_ONCE = 5.0  # seconds in which a call without time ends
SCALE = 0.2  # of the change that check 6 makes
HEAD = "head"
OLD_HEAD = " vLLM on a CPU draws with the old head where it is tied to the embeddings: set train.lora, or untie it."


class Check(NamedTuple):
    """One point of the contract."""

    number: int
    name: str
    ok: bool
    figure: str  # what was measured, or what is wrong

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


class BrokenError(Exception):
    """A point of the contract that is not met."""


@dataclass(frozen=True)
class Contract:
    """A server's engine, and the policy that it is to serve. The policy's weights are changed and restored."""

    engine: VllmEngine
    policy: Policy
    max_new_tokens: int  # of the recipe

    def checks(self) -> Iterator[Check]:
        """All ten, in order, each whatever became of those before it; but none after one that finds no server."""
        points = self._points()
        for number, (name, check) in enumerate(points, 1):
            try:
                yield Check(number, name, True, check())
            except (BrokenError, EngineError, ModelError) as error:
                gone = never_connected(error) and number < len(points)
                yield Check(number, name, False, f"{error}{f' The checks after it, to {len(points)}, were not made.' * gone}")
                if gone:
                    return

    def _points(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("version", self.version),
            ("prompts and vocabulary", self.prompts),
            ("order and count", self.order),
            ("log-probs", self.log_probs),
            ("ends", self.ends),
            ("update", self.update),
            ("seeds", self.seeds),
            ("weights as files", self.files),
            ("time limits", self.time_limits),
            ("edge cases", self.edges),
        ]

    def version(self) -> str:
        """The release is one whose routes are known."""
        return f"vLLM {self.engine.server.version()}, of {KNOWN_FROM} and later, below {KNOWN_BELOW}"

    def prompts(self) -> str:
        """Prompts come back as they were sent, the last token of the vocabulary too; every reply is checked for that."""
        self.engine.sync(self.policy)
        size = self.policy.model.config.get_text_config().vocab_size
        self._drawn([[*self.engine.probes[0], size - 1]], SHORT)
        return f"ids are echoed up to {size - 1}; completions end at {', '.join(map(str, self.policy.ends))}"

    def order(self) -> str:
        """Completions stand by prompt, then by sample, one for each."""
        prompts = [*self.engine.probes, *self.engine.probes]
        drawn = self._drawn(prompts, SHORT)
        alone = [self._drawn([prompt], SHORT, [item])[0] for item, prompt in enumerate(prompts)]
        if [len(group) for group in drawn] != [SHORT.samples] * len(prompts):
            raise BrokenError(f"{sum(map(len, drawn))} completions for {len(prompts)} x {SHORT.samples} samples")
        first = same_share(drawn, alone)
        return f"{len(prompts)} prompts x {SHORT.samples} samples; {first:.0%} equal to those of one prompt at a time"

    def log_probs(self) -> str:
        """Those of the drawn tokens, at the draws' temperature and top-p, are our scorer's."""
        self.engine.sync(self.policy)
        look = self.engine.look(self.policy)
        check_look(look)
        return f"{look.processed}; from before temperature and top-p {look.raw:.4f} nats away"

    def ends(self) -> str:
        """The ending token is among the tokens; ``finished`` is right at an end and at the limit."""
        free = SamplingSettings(1, 8, NEARLY_GREEDY)
        (whole,) = self._drawn([self.engine.probes[0]], free, ends=())[0]
        end = whole.tokens[2]
        (ended,) = self._drawn([self.engine.probes[0]], free, ends=(end,))[0]
        if not ended.finished or ended.tokens[-1] != end:
            raise BrokenError(
                f"an end of {end} did not end a completion that had it after {whole.tokens.index(end) + 1} tokens"
            )
        if whole.finished or len(whole.tokens) != free.max_new_tokens:
            raise BrokenError(f"without an end, a completion had {len(whole.tokens)} of {free.max_new_tokens} tokens")
        return f"ended after {len(ended.tokens)} tokens with the end among them, cut after {len(whole.tokens)}"

    def update(self) -> str:
        """Other weights change the log-probs to those of our scorer with them; then the policy's own are given again.

        The head has an update of its own: a server may load all weights and still draw with a copy of the old head.
        """
        return "; ".join(f"{name}: {self._updated(name, parts)}" for name, parts in changeable(self.policy).items())

    def _updated(self, name: str, parts: Sequence[Tensor]) -> Update:
        self.engine.sync(self.policy)
        try:
            with changed(parts):
                self.engine.sync(self.policy)
                update = self.engine.updated
            self.engine.sync(self.policy)
        except EngineError as error:
            raise BrokenError(f"{name} changed: {error}{OLD_HEAD if name == HEAD else ''}") from error
        assert update is not None
        return update

    def seeds(self) -> str:
        """The same seed, prompt and sample give the same tokens alone, and other seeds others."""
        alone, again, other = (self._each_alone(seed) for seed in (SEED, SEED, SamplingSeed(1, "contract")))
        beside = self._drawn(self.engine.probes, SHORT)
        repeated, together, different = (same_share(alone, one) for one in (again, beside, other))
        figure = f"{repeated:.0%} the same again alone, {together:.0%} beside others, {different:.0%} with another seed"
        if repeated < REPEATED or different == 1:
            raise BrokenError(f"seeds are not followed: {figure}")
        return f"{figure}; a run with this engine is recorded as not reproducible bit for bit"

    def files(self) -> str:
        """What is written for the server is whole, and of the type that it computes in."""
        if self.engine.files.adapter is not None:
            refuse_adapter(self.engine.files.adapter)
        self.engine.sync(self.policy)
        version = self.engine.files.write(self.policy)  # checks what it wrote
        size = sum(file.stat().st_size for file in version.path.iterdir())
        self.engine.files.drop(version)
        what = "an adapter" if self.engine.files.adapter is not None else "all weights"
        return f"{what}, {size / 1e6:.1f} MB per version"

    def time_limits(self) -> str:
        """A call without time ends at once with an error, and the server continues."""
        served, prompt = self.engine.sync(self.policy), self.engine.probes[0]
        body = drawing_request(served, Sample(prompt, 0), SamplingSettings(1, self.max_new_tokens), ())
        began = monotonic()
        try:
            self.engine.server.complete(body, len(prompt) + self.max_new_tokens, seconds=NO_TIME)
        except EngineError:
            pass
        else:
            raise BrokenError(f"a call that had {NO_TIME:g} s was answered")
        if (took := monotonic() - began) > AT_ONCE:
            raise BrokenError(f"a call that had {NO_TIME:g} s took {took:.1f} s")
        self.engine.server.health()
        return f"ended after {took:.3f} s, and the server is healthy"

    def edges(self) -> str:
        """No prompt, one sample, an end as the first token; the recipe's lengths fit, and longer ones are refused."""
        if self._drawn([], SHORT):
            raise BrokenError("no prompt gave completions")
        longest = max(map(len, self.engine.probes))
        if longest + self.max_new_tokens > self.engine.base.context:
            raise BrokenError(
                f"{longest} + {self.max_new_tokens} tokens exceed the server's context of {self.engine.base.context}"
            )
        one = SamplingSettings(1, 4, NEARLY_GREEDY)
        (free,) = self._drawn([self.engine.probes[0]], one, ends=())[0]
        (ended,) = self._drawn([self.engine.probes[0]], one, ends=(free.tokens[0],))[0]
        if (ended.tokens, ended.finished) != (free.tokens[:1], True):
            raise BrokenError(f"a completion that ends at once has {len(ended.tokens)} tokens")
        self._overflow()
        return f"context {self.engine.base.context}; an immediate end is one token; longer prompts are refused"

    def _overflow(self) -> None:
        prompt = [self.engine.probes[0][-1]] * self.engine.base.context
        try:
            self._drawn([prompt], SamplingSettings(1, 1))
        except (EngineError, ModelError):
            return
        raise BrokenError(f"a prompt of {len(prompt)} tokens was drawn from in a context of {self.engine.base.context}")

    def _drawn(
        self,
        prompts: Sequence[Sequence[int]],
        settings: SamplingSettings,
        items: Sequence[int] | None = None,
        ends: Sequence[int] | None = None,
        seed: SamplingSeed = SEED,
    ) -> list[list[Completion]]:
        self.engine.sync(self.policy)
        numbers = range(len(prompts)) if items is None else items
        ended_by = self.policy.ends if ends is None else ends
        return self.engine.draw(self.policy, SamplingRequest(prompts, numbers, settings, seed, ended_by))

    def _each_alone(self, seed: SamplingSeed) -> list[list[Completion]]:
        one = SamplingSettings(1, SHORT.max_new_tokens)
        self.engine.server.reset_prefix_cache()  # a cached prompt is computed in other shapes
        return [self._drawn([prompt], one, [item], seed=seed)[0] for item, prompt in enumerate(self.engine.probes)]


def same_share(first: Sequence[Sequence[Completion]], second: Sequence[Sequence[Completion]]) -> float:
    """The share of completions with the same tokens, over the samples that both have."""
    pairs = [(a.tokens, b.tokens) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=False)]
    return sum(a == b for a, b in pairs) / len(pairs)


def changeable(policy: Policy) -> dict[str, list[Tensor]]:
    """By name what an update changes by itself: an adapter, else the norms and the head."""
    adapted = [p for name, p in policy.model.named_parameters() if p.requires_grad and "lora_B" in name]
    if adapted:
        return {"adapter": adapted}
    return {
        "norms": [p for p in policy.model.parameters() if p.dim() == 1],
        HEAD: [policy.model.get_output_embeddings().weight],
    }


@contextmanager
def changed(parts: Sequence[Tensor]) -> Iterator[None]:
    """Within the block, each row of these weights is scaled; weights that are all zero, as a new adapter's, get values."""
    kept = [part.detach().clone() for part in parts]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in parts:
            part.copy_(_moved(part, generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for part, value in zip(parts, kept, strict=True):
                part.copy_(value)


def _moved(part: Tensor, generator: torch.Generator) -> Tensor:
    noise = (torch.randn(part.shape, generator=generator) * SCALE).to(part.device)
    if not part.any():
        return noise
    # Rows of a tied head as wholes: the norm after the embeddings undoes most of that, so that the head shows.
    return part * (1 + (noise if part.dim() == 1 else noise[:, :1]))
