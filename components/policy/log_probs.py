"""Score completion tokens under a causal language model, without materialising the prompt's logits."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from components.policy.loading import Policy
from components.policy.packing import Group, PackedRows, pack

LOGITS_AT_ONCE = 2**26  # elements (256 MiB in fp32); beyond it the head runs in chunks, and again in the backward pass


class Nucleus(NamedTuple):
    """The tokens that the sampler's top-p left at each of N completion tokens, concatenated."""

    token: Tensor  # [M] long: number of the completion token, 0..N-1
    kept: Tensor  # [M] long: vocabulary id


def hidden_states(trunk: PreTrainedModel, rows: PackedRows) -> Tensor:
    """Last hidden state at each completion token's predictor, [N, width]."""
    mask = rows.attention_for(trunk.config.get_text_config(), next(trunk.parameters()).dtype)
    out = trunk(input_ids=rows.tokens, position_ids=rows.positions, attention_mask=mask, use_cache=False)
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
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Tensor:
    """Log-probs of ``targets`` [N] from their predictors' hidden states [N, width].

    Args:
        temperature: divides the logits; above zero.
        nucleus: where given, every other token has probability zero.
        logits_at_once: logits that may be in memory at a time.
    """
    head = model.get_output_embeddings()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    size = max(1, logits_at_once // head.weight.shape[0])
    if len(targets) <= size:
        return _score(head, cap, hidden, targets, temperature, nucleus)
    parts = []
    for start in range(0, len(targets), size):
        part = _part_of(nucleus, start, start + size)
        arguments = (head, cap, hidden[start : start + size], targets[start : start + size], temperature, part)
        parts.append(cast(Tensor, checkpoint(_score, *arguments, use_reentrant=False)))
    return torch.cat(parts)


def _score(
    head: nn.Module, cap: float | None, hidden: Tensor, targets: Tensor, temperature: float, nucleus: Nucleus | None
) -> Tensor:
    logits = head(hidden).float()
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    logits = logits / temperature
    if nucleus is not None:
        outside = torch.ones(logits.shape, dtype=torch.bool, device=logits.device)
        outside[nucleus.token, nucleus.kept] = False
        logits = logits.masked_fill(outside, -torch.inf)
    return -nn.functional.cross_entropy(logits, targets, reduction="none")


def _part_of(nucleus: Nucleus | None, start: int, stop: int) -> Nucleus | None:
    if nucleus is None:
        return None
    inside = (nucleus.token >= start) & (nucleus.token < stop)
    return Nucleus(nucleus.token[inside] - start, nucleus.kept[inside])


def completion_scores(policy: Policy, groups: Sequence[Group], groups_at_once: int = 256) -> list[tuple[float, bool]]:
    """Log-prob of each completion as a whole, and whether greedy decoding would have said just that; without gradient."""
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


def most_likely(model: PreTrainedModel, hidden: Tensor, logits_at_once: int = LOGITS_AT_ONCE) -> Tensor:
    """The most likely next tokens [N] at predictors' hidden states [N, width]."""
    head = model.get_output_embeddings()
    size = max(1, logits_at_once // head.weight.shape[0])
    return torch.cat([head(hidden[start : start + size]).argmax(-1) for start in range(0, len(hidden), size)])


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
