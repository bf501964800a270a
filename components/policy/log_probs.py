"""Score completion tokens under a causal language model, without materialising the prompt's logits."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.policy.head import CPU_TILE, CUDA_TILE, Nucleus, Shape, target_log_probs, tiles
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group, PackedRows, pack
from ratchet.components.policy.sequences import attending_to_sequences


def hidden_states(trunk: PreTrainedModel, rows: PackedRows) -> Tensor:
    """Last hidden state at each completion token's predictor, [N, width]."""
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
    shape = Shape(temperature, cap, logits_at_once or (CUDA_TILE if hidden.is_cuda else CPU_TILE))
    return target_log_probs(model.get_output_embeddings(), hidden, targets, shape, nucleus)


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
