"""Supervised warm-up: the tiny policy learns the task, including the demonstrations' noise."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ratchet.components.algorithms.learning_rate import learning_rate
from ratchet.components.checkpoints.checkpoint import Resumption, set_learning_rate
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import completion_log_probs, score_tokens
from ratchet.components.policy.packing import Group, pack
from ratchet.components.policy.tiny import new_policy, train_tokenizer
from ratchet.components.randomness import batch_indices
from ratchet.components.recipe import Warmup

ROW_TOKENS = 64  # measured best on two CPU cores: attention over longer packed rows costs more than the padding saved
MEASURED, EVERY = 128, 5  # rows, and steps between two measurements of what was learnt: an eighth of the warm-up's time

RISE = 50  # steps in which the learning rate rises
FLOOR = 0.05  # share of the learning rate below which it does not decay


class WarmupStep(NamedTuple):
    """One step's loss, in nats per completion token, and what was learnt after it, where that was measured."""

    step: int
    loss: float
    learnt: float | None = None  # mean probability of a demonstration as a whole

    def reaches(self, until: float | None) -> bool:
        """Whether enough was learnt."""
        return until is not None and self.learnt is not None and self.learnt >= until


def build_policy(rows: Sequence[dict[str, Any]], settings: Warmup, seed: int) -> Policy:
    """A tokenizer trained on the rows' texts and a new tiny policy."""
    texts = (f"{row['prompt']}\n{row['demonstration']}" for row in rows)
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    model = new_policy(
        tokenizer,
        layers=settings.layers,
        width=settings.width,
        heads=settings.heads,
        context=settings.context,
        seed=seed,
    )
    return Policy(model, tokenizer)


def warm_up(
    policy: Policy, rows: Sequence[dict[str, Any]], settings: Warmup, seed: int, resumption: Resumption | None = None
) -> Iterator[WarmupStep]:
    """Fine-tune on demonstrations: the token mean of the completions' negative log-likelihood.

    Learning rate: 50 steps of linear warm-up, then linear decay to a twentieth. With ``until`` it ends at the first measurement
    that reaches it. A resumed warm-up yields the steps that its checkpoint covers first.
    """
    resumption = resumption or Resumption()
    groups = [Group(policy.encode_row(r), [policy.encode_completion(r["demonstration"])]) for r in rows]
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.01)
    taken = resumption.begin({"policy": (policy.model, optimizer)})
    last = WarmupStep(-1, math.nan)
    for step, figures in enumerate(taken):
        last = WarmupStep(step, *figures)
        yield last
    measured = [groups[i] for i in batch_indices(seed, "learnt", 0, min(MEASURED, len(groups)), len(groups))]
    policy.model.train()
    while (step := last.step + 1) < settings.steps and not last.reaches(settings.until):
        set_learning_rate(optimizer, settings.lr * learning_rate(step, settings.steps, RISE, FLOOR))
        batch = [groups[i] for i in batch_indices(seed, "warmup", step, settings.batch, len(groups))]
        figures = [_descend(policy, optimizer, batch)]
        if settings.until is not None and ((step + 1) % EVERY == 0 or step + 1 == settings.steps):
            figures.append(probability(policy, measured))
        resumption.after(figures)
        last = WarmupStep(step, *figures)
        yield last
    policy.model.eval()


def _descend(policy: Policy, optimizer: torch.optim.Optimizer, batch: Sequence[Group]) -> float:
    """Take one step; returns the loss before it."""
    loss = -score_tokens(policy.model, pack(batch, ROW_TOKENS).to(policy.model.device)).mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
    optimizer.step()
    return loss.item()  # waits for the device; nothing at this size


def probability(policy: Policy, groups: Sequence[Group]) -> float:
    """The mean probability of the groups' completions, each as a whole with its end: the share of samples at temperature 1
    that are expected to be them.
    """
    return sum(map(math.exp, completion_log_probs(policy, groups))) / len(groups)
