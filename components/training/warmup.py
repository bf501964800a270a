"""Supervised warm-up: the tiny policy learns the task, including the demonstrations' noise."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ratchet.components.checkpoints import Resumption, set_learning_rate
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, pack
from ratchet.components.policy.tiny import new_policy, train_tokenizer
from ratchet.components.randomness import batch_indices
from ratchet.components.recipe import Warmup

ROW_TOKENS = 64  # measured best on two CPU cores: attention over longer packed rows costs more than the padding saved


class WarmupStep(NamedTuple):
    """The loss of one step, in nats per completion token."""

    step: int
    loss: float


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

    Learning rate: 50 steps of linear warm-up, then linear decay to a twentieth. A resumed warm-up yields the steps that its
    checkpoint covers first.
    """
    resumption = resumption or Resumption()
    groups = [Group(policy.encode_row(r), [policy.encode_completion(r["demonstration"])]) for r in rows]
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.01)
    taken = resumption.begin({"policy": (policy.model, optimizer)})
    yield from (WarmupStep(step, loss) for step, (loss,) in enumerate(taken))
    policy.model.train()
    for step in range(len(taken), settings.steps):
        set_learning_rate(optimizer, settings.lr * learning_rate_factor(step, settings.steps))
        batch = [groups[i] for i in batch_indices(seed, "warmup", step, settings.batch, len(groups))]
        packed = pack(batch, ROW_TOKENS).to(policy.model.device)
        loss = -score_tokens(policy.model, packed).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        taken_step = WarmupStep(step, loss.item())  # waits for the device; nothing at this size
        resumption.after([taken_step.loss])
        yield taken_step
    policy.model.eval()


def learning_rate_factor(step: int, steps: int, ramp: int = 50) -> float:
    """Linear ramp over so many steps (at least one), then linear decay to 0.05."""
    return min(1.0, (step + 1) / ramp) * max(0.05, 1 - step / steps)
