"""A short text by which the server's log-probs are compared with our own scorer's, before training and after each update."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ratchet.components.algorithms.kl import k3
from ratchet.components.errors import EngineError
from ratchet.components.policy.engines.engine import Completion, SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.policy.sampler import nucleus_of

# A synchronised bf16 engine differs by 0.01 to 0.02 on average, one with stale weights by 0.2 (TRL #5312).
MEAN_ABS = 0.05  # nats
K3 = 0.015  # prime-rl's acceptance of a new model
MOVED = 0.005  # nats: an update that moves the text by less cannot be told from rounding
SEED = SamplingSeed(0, "probe")
PROBING = SamplingSettings(samples=2, max_new_tokens=16, temperature=0.6, top_p=0.9)  # neither of them 1


class Mismatch(NamedTuple):
    """How far a sampler's log-probs are from a scorer's, per token."""

    mean_abs: float  # nats
    k3: float  # estimate of KL(sampler || scorer)

    @property
    def small(self) -> bool:
        """Whether the same weights explain it."""
        return self.mean_abs <= MEAN_ABS and self.k3 <= K3

    def __str__(self) -> str:
        return f"mean |difference| {self.mean_abs:.4f} nats (limit {MEAN_ABS:g}), KL {self.k3:.4f} (limit {K3:g})"


class Look(NamedTuple):
    """What the server drew at another temperature than 1 and another top-p than 1, and how its log-probs compare."""

    groups: list[Group]
    processed: Mismatch  # from our scorer's at that temperature and top-p
    raw: float  # mean |difference| from ours at temperature 1 and top-p 1, nats
    plain: Tensor  # these log-probs of ours, [N]

    @property
    def is_raw(self) -> bool:
        """Whether the server gives log-probs from before temperature and top-p."""
        return self.raw < min(self.processed.mean_abs, MEAN_ABS)


class Update(NamedTuple):
    """What an update did to the text's log-probs."""

    moved: float  # mean |new - old| of our scorer, nats
    new: Mismatch  # of the server from the new weights
    old: float  # mean |server - old|, nats

    @property
    def stale(self) -> bool:
        """Whether the server still computes with the old weights; it cannot be told where these hardly moved."""
        return self.moved > MOVED and self.new.mean_abs >= self.old

    def __str__(self) -> str:
        server = f"the server is {self.new.mean_abs:.4f} from the new ones and {self.old:.4f} from the old"
        return f"the weights moved the text by {self.moved:.4f} nats; {server}"


def mismatch(sampled: Tensor, scored: Tensor) -> Mismatch:
    """Of log-probs of the same N tokens, both [N]."""
    return Mismatch(float((sampled - scored).abs().mean()), float(k3(sampled, scored).mean()))


def groups_of(prompts: Sequence[Sequence[int]], drawn: Sequence[Sequence[Completion]]) -> list[Group]:
    """What was drawn, as the scorer takes it."""
    return [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(prompts, drawn, strict=True)]


def sampled_log_probs(drawn: Sequence[Sequence[Completion]]) -> Tensor:
    """The sampler's own, by completion and token, [N]."""
    return torch.tensor([value for group in drawn for c in group for value in c.log_probs])


def scored_log_probs(policy: Policy, groups: Sequence[Group], temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Our own scorer's, in the same order, [N]."""
    texts = [(prompt, completion) for prompt, completions in groups for completion in completions]
    return torch.cat([_scored(policy, prompt, completion, temperature, top_p) for prompt, completion in texts])


def check_look(look: Look) -> None:
    """
    Raises:
        EngineError: if the server's log-probs are not those of the policy at the temperature and top-p of its draws.
    """
    at = f"at temperature {PROBING.temperature:g} and top-p {PROBING.top_p:g}"
    if look.is_raw:
        raise EngineError(
            f"the server's log-probs are those from before temperature and top-p ({look.raw:.4f} nats away, "
            f"{look.processed.mean_abs:.4f} from those {at}). Start it with --logprobs-mode processed_logprobs."
        )
    if not look.processed.small:
        raise EngineError(
            f"the server's log-probs {at} are not this policy's: {look.processed}. Serve the model that the recipe trains, in "
            "its precision."
        )


def check_update(update: Update) -> None:
    """
    Raises:
        EngineError: if the server computes with other weights than the new ones.
    """
    if update.stale or not update.new.small:
        what = "still computes with the old weights" if update.stale else "computes with other weights than it was given"
        raise EngineError(
            f"after an update the server {what}: {update}; {update.new}. See that it reads train.sampling.vllm.folder at the "
            "same path, and serves the model that the recipe trains."
        )


def _scored(policy: Policy, prompt: Sequence[int], completion: Sequence[int], temperature: float, top_p: float) -> Tensor:
    """One completion by the model's own forward pass, [T] on the host."""
    tokens = torch.tensor([[*prompt, *completion]], device=policy.model.device)
    with torch.no_grad(), policy.autocast():
        logits = policy.model(input_ids=tokens, use_cache=False).logits[0].float()
    log_probs = (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    targets = tokens[0, len(prompt) :, None]
    if top_p < 1:
        # The drawn token is in the sampler's nucleus; at its edge ours may differ by rounding.
        kept = nucleus_of(log_probs, top_p).scatter(-1, targets, True)
        log_probs = log_probs.masked_fill(~kept, -torch.inf).log_softmax(-1)
    return cast(Tensor, log_probs.gather(-1, targets)[:, 0].cpu())
