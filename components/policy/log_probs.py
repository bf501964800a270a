"""Log-probs of completion tokens under a causal language model: no logits of prompts, and never all logits at once.

Notation: N completion tokens, V the vocabulary. The logits are computed in tiles, with a custom gradient: neither pass holds
more than a tile; the backward pass makes a tile's logits once more, unless one tile was all. The gradient of the head's weight
is added up over the tiles in fp32, whatever the precision of the matrix products: sums in bf16 drift (the entropy falls within
some dozens of steps).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.blocked_log_probs import BlockedLogProbs
from ratchet.components.policy.compilation import compiled_on_cuda
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.logits import CPU_TILE, CUDA_TILE, LogitTransform, as_multiplied, shaped, tiles
from ratchet.components.policy.packing import Group, PackedRows, pack
from ratchet.components.policy.varlen_attention import attending_to_sequences


class Nucleus(NamedTuple):
    """The tokens that the sampler's top-p left at each of N completion tokens, concatenated."""

    token: Tensor  # [M] long: number of the completion token, 0..N-1
    kept: Tensor  # [M] long: vocabulary id


def hidden_states(trunk: PreTrainedModel, rows: PackedRows) -> Tensor:
    """Last hidden state at each completion token's predictor, [N, width].

    A token's predictor is the token before it, and the prompt's last token for the first of each completion.
    """
    inputs = {"input_ids": rows.tokens, "position_ids": rows.positions, "use_cache": False}
    if rows.sequences is None:
        mask = rows.attention_for(trunk.config.get_text_config(), next(trunk.parameters()).dtype)
        out = trunk(**inputs, attention_mask=mask)
    else:
        with attending_to_sequences(trunk):
            out = trunk(**inputs, sequences=rows.sequences)
    return cast(Tensor, out.last_hidden_state[rows.target_row, rows.predictor_column])


def score_tokens(model: PreTrainedModel, rows: PackedRows, temperature: float = 1.0, nucleus: Nucleus | None = None) -> Tensor:
    """Log-probs of the N completion tokens as the sampler saw them: at its temperature, within its top-p, [N]."""
    return score_hidden(model, hidden_states(model.base_model, rows), rows.targets, temperature, nucleus)


def score_hidden(
    model: PreTrainedModel,
    hidden: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
    nucleus: Nucleus | None = None,
    logits_at_once: int | None = None,
) -> Tensor:
    """Log-probs of ``targets`` [N] from their predictors' hidden states [N, width].

    Args:
        temperature: divides the logits; above zero.
        nucleus: where given, every other token has probability zero.
        logits_at_once: logits that may be in memory at a time.

    Raises:
        ModelError: for a head that is not one linear layer.
    """
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    shape = LogitTransform(temperature, cap, logits_at_once or (CUDA_TILE if hidden.is_cuda else CPU_TILE))
    return target_log_probs(model.get_output_embeddings(), hidden, targets, shape, nucleus)


def completion_scores(policy: Policy, groups: Sequence[Group], groups_at_once: int = 256) -> list[tuple[float, bool]]:
    """Log-prob of each completion as a whole, and whether greedy decoding would give it; without gradient."""
    found: list[tuple[float, bool]] = []
    with torch.no_grad(), policy.autocast():
        for start in range(0, len(groups), groups_at_once):
            rows = pack(groups[start : start + groups_at_once]).to(policy.model.device)
            hidden = hidden_states(policy.model.base_model, rows)
            scores = score_hidden(policy.model, hidden, rows.targets)
            missed = (most_likely(policy.model, hidden) != rows.targets).to(scores.dtype)
            sums = torch.zeros(int(rows.sequence.max()) + 1, 2, device=scores.device)
            sums.index_add_(0, rows.sequence, torch.stack([scores, missed], 1))
            found += [(total, misses == 0) for total, misses in sums.tolist()]
    return found


def most_likely(model: PreTrainedModel, hidden: Tensor, logits_at_once: int = CPU_TILE) -> Tensor:
    """The most likely next tokens [N] at predictors' hidden states [N, width]."""
    head = model.get_output_embeddings()
    return torch.cat([head(hidden[at]).argmax(-1) for at in tiles(len(hidden), head.weight.shape[0], logits_at_once)])


def completion_log_probs(policy: Policy, groups: Sequence[Group], groups_at_once: int = 256) -> list[float]:
    """Log-prob of each completion as a whole, without gradient, in the order of the groups."""
    totals: list[float] = []
    with torch.no_grad(), policy.autocast():
        for start in range(0, len(groups), groups_at_once):
            rows = pack(groups[start : start + groups_at_once]).to(policy.model.device)
            scores = score_tokens(policy.model, rows)
            sums = torch.zeros(int(rows.sequence.max()) + 1, device=scores.device)
            totals += sums.index_add_(0, rows.sequence, scores).tolist()
    return totals


def target_log_probs(
    head: nn.Module, hidden: Tensor, targets: Tensor, shape: LogitTransform, nucleus: Nucleus | None = None
) -> Tensor:
    """Log-probs of ``targets`` [N] at their predictors' hidden states [N, width], fp32.

    Raises:
        ModelError: for a head that is not one linear layer.
    """
    if not isinstance(head, nn.Linear):
        raise ModelError(f"the model's head is a {type(head).__name__}, not a linear layer. Use another model.")
    arguments = hidden, head.weight, head.bias, targets, shape
    if nucleus is None and not hidden.is_cuda and len(targets) * head.out_features > shape.tile:
        return cast(Tensor, BlockedLogProbs.apply(*arguments))  # type: ignore[no-untyped-call]
    return cast(Tensor, _TargetLogProbs.apply(*arguments, nucleus))  # type: ignore[no-untyped-call]


class _TargetLogProbs(torch.autograd.Function):
    """Log-softmax of the head's product at the targets; the arguments are those of :func:`target_log_probs`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: LogitTransform,
        nucleus: Nucleus | None,
    ) -> Tensor:
        hidden_low, weight_low, bias_low = as_multiplied(hidden, weight, bias)
        parts = tiles(len(targets), weight.shape[0], shape.tile)
        with torch.autocast(hidden.device.type, enabled=False):
            found, logits = [], hidden_low[:0]
            for at in parts:
                logits = nn.functional.linear(hidden_low[at], weight_low, bias_low)
                found.append(_chosen(logits, targets[at], shape, _outside(nucleus, at, logits)))
        ctx.save_for_backward(hidden_low, weight_low, bias_low, targets, logits if len(parts) == 1 else None)
        ctx.rest = (shape, nucleus, parts, hidden.dtype, weight.dtype)
        return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, kept = ctx.saved_tensors
        shape, nucleus, parts, hidden_dtype, weight_dtype = ctx.rest
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if wants_hidden else None
        to_weight = torch.zeros(weight.shape, device=weight.device) if wants_weight else None
        to_bias = torch.zeros(len(weight), device=weight.device) if wants_bias else None
        for at in parts:
            logits = nn.functional.linear(hidden[at], weight, bias) if kept is None else kept
            gradient = _logit_gradient(logits, targets[at], upstream[at], shape, _outside(nucleus, at, logits))
            if to_hidden is not None:
                torch.mm(gradient, weight, out=to_hidden[at])
            if to_weight is not None:
                _add_product(to_weight, gradient.T, hidden[at])
            if to_bias is not None:
                to_bias += gradient.sum(0, dtype=torch.float32)
        return (
            None if to_hidden is None else to_hidden.to(hidden_dtype),
            None if to_weight is None else to_weight.to(weight_dtype),
            None if to_bias is None else to_bias.to(weight_dtype),
            None,
            None,
            None,
        )


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, with the sum in fp32 throughout."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    elif left.is_cuda:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total += (left @ right).float()


def _outside(nucleus: Nucleus | None, at: slice, logits: Tensor) -> Tensor | None:
    """True where a token of the tile is not in its nucleus, [n, V]."""
    if nucleus is None:
        return None
    inside = (nucleus.token >= at.start) & (nucleus.token < at.stop)
    outside = torch.ones(logits.shape, dtype=torch.bool, device=logits.device)
    outside[nucleus.token[inside] - at.start, nucleus.kept[inside]] = False
    return outside


@compiled_on_cuda
def _chosen(logits: Tensor, targets: Tensor, shape: LogitTransform, outside: Tensor | None) -> Tensor:
    """Log-softmax at the targets, [n]."""
    return shaped(logits, shape, outside)[0].log_softmax(-1).gather(-1, targets[:, None])[:, 0]


@compiled_on_cuda
def _logit_gradient(logits: Tensor, targets: Tensor, upstream: Tensor, shape: LogitTransform, outside: Tensor | None) -> Tensor:
    """Gradient of sum(upstream * log-probs) with respect to the logits: upstream * (one-hot - softmax), [n, V]."""
    final, bent = shaped(logits, shape, outside)
    scale = upstream.float()[:, None] / shape.temperature
    gradient = final.softmax(-1).mul(-scale)
    if logits.is_cuda:  # fuses with what is around it; a scatter does not
        chosen = torch.arange(logits.shape[1], device=logits.device)[None, :] == targets[:, None]
        gradient = torch.where(chosen, gradient + scale, gradient)
    else:
        gradient.scatter_add_(1, targets[:, None], scale)
    if bent is not None:
        gradient = gradient * (1 - bent.square())
    return gradient.to(logits.dtype)
