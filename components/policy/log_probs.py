"""Score completion tokens under a causal language model, without materialising the prompt's logits."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.policy.loading import Policy, autocast
from components.policy.packing import Group, PackedRows, pack


class TokenScores(NamedTuple):
    """Per completion token, in the order of ``PackedRows.targets``."""

    log_probs: Tensor  # [N]
    entropy: Tensor  # [N], nats; no gradient flows through it


def hidden_states(trunk: PreTrainedModel, rows: PackedRows) -> Tensor:
    """Last hidden state at each completion token's predictor, [N, width]."""
    mask = rows.attention_mask(next(trunk.parameters()).dtype)
    out = trunk(input_ids=rows.tokens, position_ids=rows.positions, attention_mask=mask, use_cache=False)
    return cast(Tensor, out.last_hidden_state[rows.target_row, rows.predictor_column])


def score_tokens(model: PreTrainedModel, rows: PackedRows, temperature: float = 1.0) -> TokenScores:
    """Log-probs and entropy of completion tokens at the sampling temperature.

    Args:
        rows: N completion tokens in R rows.
        temperature: divides the logits, as the sampler does; above zero.
    """
    head = model.get_output_embeddings()
    logits = head(hidden_states(model.base_model, rows)).float() / temperature
    log_softmax = logits.log_softmax(-1)
    log_probs = log_softmax.gather(-1, rows.targets[:, None])[:, 0]
    with torch.no_grad():
        entropy = -(log_softmax.exp() * log_softmax).sum(-1)
    return TokenScores(log_probs, entropy)


def completion_log_probs(policy: Policy, groups: Sequence[Group], groups_at_once: int = 256) -> list[float]:
    """Log-prob of each completion as a whole, without gradient, in the order of the groups."""
    totals: list[float] = []
    with torch.no_grad(), autocast(policy.model.device):
        for start in range(0, len(groups), groups_at_once):
            rows = pack(groups[start : start + groups_at_once]).to(policy.model.device)
            scores = score_tokens(policy.model, rows).log_probs
            sums = torch.zeros(int(rows.sequence.max()) + 1, device=scores.device)
            totals += sums.index_add_(0, rows.sequence, scores).tolist()
    return totals
