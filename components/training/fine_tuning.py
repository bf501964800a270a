"""Supervised fine-tuning (SFT) of an existing model on demonstrations, before RL. The loss is on the completions alone.

The model stays in evaluation mode: without dropout only the order of the rows is drawn, which depends on the seed and the step
alone, so that a killed run resumes to the same bits.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ratchet.components.algorithms.learning_rate import learning_rate
from ratchet.components.checkpoints.checkpoint import Resumption, set_learning_rate
from ratchet.components.errors import ModelError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.varlen_attention import flat_rows
from ratchet.components.pretrained.context_length import context_tokens
from ratchet.components.randomness import batch_indices, torch_seed
from ratchet.components.recipe import ModelWarmup
from ratchet.components.training.micro_batches import FLAT_MULTIPLE, ROW_TOKENS, token_runs
from ratchet.components.training.update import parameters_of
from ratchet.components.training.warmup import FLOOR, WarmupStep

BETAS = (0.9, 0.98)  # AdamW's, as in the RL loop


class Demonstrations(NamedTuple):
    """The rows that are learned from, as tokens, and those that are not."""

    groups: list[Group]
    too_long: int  # rows of more tokens than are allowed
    without: int  # rows that demonstrate nothing
    longest: int  # tokens of the longest row among ``groups``


def demonstrations(policy: Policy, rows: Sequence[Mapping[str, Any]], max_tokens: int) -> Demonstrations:
    """Rows in the policy's own template, each with its demonstration as the one completion.

    Args:
        max_tokens: of a prompt with its demonstration; the model's context, if that is shorter.

    Raises:
        ModelError: if no row is left.
    """
    context = context_tokens(policy.model.config.get_text_config())
    limit = min(max_tokens, context or max_tokens)
    given = [row for row in rows if row["demonstration"] is not None]
    groups = [Group(policy.encode_row(row), [policy.encode_completion(row["demonstration"])]) for row in given]
    kept = [group for group in groups if group.tokens <= limit]
    without, longest = len(rows) - len(given), max((group.tokens for group in groups), default=0)
    if not kept:
        raise ModelError(
            f"policy.warmup has nothing to learn from: of {len(rows)} training rows {without} have no demonstration, and the "
            f"others have more than {limit} tokens (up to {longest}). Add demonstrations, raise policy.warmup.max_tokens, or "
            "set policy.warmup=null."
        )
    return Demonstrations(kept, len(groups) - len(kept), without, max(group.tokens for group in kept))


class FineTuning:
    """A policy in training on demonstrations: all of it, or a low-rank adapter that :meth:`merged` puts into its weights."""

    def __init__(self, policy: Policy, settings: ModelWarmup, seed: int) -> None:
        """
        Raises:
            ModelError: if the recipe asks for LoRA and peft is not installed.
        """
        self.policy, self.settings, self.seed = policy, settings, seed
        lora = settings.lora
        self.adapter = None if lora is None else add_lora(policy, lora.rank, lora.alpha, torch_seed(seed, "warmup lora"))
        self.model = policy.model.eval()

    def run(self, groups: Sequence[Group], resumption: Resumption | None = None) -> Iterator[WarmupStep]:
        """Take the steps; a resumed run yields the steps that its checkpoint covers first.

        The learning rate rises linearly over ``lr_warmup`` steps and decays linearly to a twentieth.

        Raises:
            ModelError: if a gradient is not finite, or memory runs out.
        """
        resumption, settings = resumption or Resumption(), self.settings
        optimizer = torch.optim.AdamW(parameters_of(self.model), lr=settings.lr, betas=BETAS, weight_decay=0.0)
        taken = resumption.begin({"policy": (self.model, optimizer)})
        yield from (WarmupStep(step, loss) for step, (loss,) in enumerate(taken))
        for step in range(len(taken), settings.steps):
            set_learning_rate(optimizer, settings.lr * learning_rate(step, settings.steps, settings.lr_warmup, FLOOR))
            batch = [groups[i] for i in batch_indices(self.seed, "warmup", step, settings.batch, len(groups))]
            optimizer.zero_grad()
            loss = self._backward(batch)
            self._clip(step)
            optimizer.step()
            resumption.after([loss])
            yield WarmupStep(step, loss)

    def merged(self) -> Policy:
        """The trained policy as one model. With LoRA this ends the training: the adapter is merged away."""
        return self.policy if self.adapter is None else self.adapter.merge()

    def _backward(self, batch: Sequence[Group]) -> float:
        """Add the gradient of a batch; returns its loss: the mean over completion tokens of -log p, in nats."""
        tokens = sum(len(completion) for group in batch for completion in group.completions)
        total = torch.zeros((), device=self.model.device)
        try:
            for run in token_runs(batch, range(len(batch)), self.settings.micro_tokens):
                loss = self._loss([batch[number] for number in run]) / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"there is not enough memory to fine-tune on {self.settings.micro_tokens} tokens at once "
                f"({str(error).split('. ')[0]}). Lower policy.warmup.micro_tokens or max_tokens, or set policy.warmup.lora."
            ) from error
        return total.item()  # the one wait for the device

    def _loss(self, groups: Sequence[Group]) -> Tensor:
        """The sum over completion tokens of -log p."""
        packed = self._packed(groups).to(self.model.device)
        with self.policy.autocast():
            return -score_tokens(self.model, packed).sum()

    def _packed(self, groups: Sequence[Group]) -> PackedRows:
        return pack_flat(groups, FLAT_MULTIPLE) if flat_rows(self.policy) else pack(groups, ROW_TOKENS)

    def _clip(self, step: int) -> None:
        norm = float(torch.nn.utils.clip_grad_norm_(parameters_of(self.model), self.settings.max_grad_norm))
        if not math.isfinite(norm):
            raise ModelError(f"the gradient of step {step + 1} of policy.warmup is not finite. Lower policy.warmup.lr.")
