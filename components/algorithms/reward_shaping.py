"""Changes to the reward that depend on a completion's length alone."""

from jaxtyping import Float, Int
from torch import Tensor


def overlong_penalty(lengths: Int[Tensor, " S"], max_tokens: int, buffer: int) -> Float[Tensor, " S"]:
    """DAPO's soft overlong punishment (arXiv:2503.14476): 0 up to max_tokens - buffer, then linear down to -1 at max_tokens.

    Args:
        buffer: tokens before the limit in which the penalty grows; at least 1. Example: limit 100, buffer 20, length 90: -0.5.
    """
    return (-(lengths - (max_tokens - buffer)) / buffer).clamp(-1.0, 0.0)
