"""How per-token losses become one number: each token's weight, computed over a whole minibatch at once.

The loss is sum(weight x loss). Because the weights know the whole minibatch, the sum does not depend on how it is cut into
micro-batches, nor on padding. Completions without any own token (masked out) count nowhere.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def token_weights(mask: Bool[Tensor, "S T"], normaliser: str, max_tokens: int) -> Float[Tensor, "S T"]:
    """Weights [S, T], zero where ``mask`` is False.

    Args:
        mask: True on the own tokens of a minibatch's S completions.
        normaliser: ``sequence_mean``: the mean over completions of their token means (GRPO, arXiv:2402.03300);
            ``token_mean``: the mean over all tokens (DAPO, arXiv:2503.14476); ``constant``: the sum over completions and
            tokens, divided by completions x ``max_tokens`` (Dr. GRPO, arXiv:2503.20783).
        max_tokens: largest number of tokens a completion may have.
    """
    weights = mask.float()
    lengths = weights.sum(1, keepdim=True)
    completions = (lengths > 0).sum().clamp(min=1)
    if normaliser == "token_mean":
        return weights / lengths.sum().clamp(min=1)
    if normaliser == "sequence_mean":
        return weights / (lengths.clamp(min=1) * completions)
    assert normaliser == "constant"
    return weights / (completions * max_tokens)


def masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean over the positions where ``mask`` is True; 0 where there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
