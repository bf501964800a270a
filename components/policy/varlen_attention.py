"""Attention over one flat row of groups, without a mask: a prompt is a sequence, and so is each completion after its prompt.

A completion's keys and values are its prompt's and its own, gathered; its queries are only its own. So all linear layers see a
prompt once, and the attention is what it would be for the sequences alone (Prefix Grouper, arXiv:2506.05433). On CUDA in half
precision torch's variable-length flash attention takes all sequences in one call; a CPU gathers nothing (group_attention.py).

Notation: N tokens of the row, M gathered keys, S sequences (prompts, completions, and the padding as one).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.group_attention import Structure, attend_in_groups, structure_of
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.transfer import moved

if TYPE_CHECKING:
    from ratchet.components.policy.packing import Group

NAME = "ratchet_sequences"
Contexts = Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]


class Sequences:
    """The sequences of a flat row. Not a NamedTuple or dataclass: torch.compile would flatten it and specialise on each."""

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        starts: tuple[Tensor, Tensor],
        gathered: Tensor,
        copies: Tensor,
        sums: Tensor,
        longest: int,
    ) -> None:
        """
        Args:
            lengths: tokens of each group's prompt and completions.
            starts: of each sequence's queries and keys, each [S + 1] int32.
            gathered: the token of each key, [M].
            copies: the keys of each of the P tokens that have more than one, [P, C]; M where a token has fewer.
            sums: where each token's gradient is, in those of the keys followed by the P sums, [N].
            longest: at least the keys of the longest sequence.
        """
        self.lengths = lengths
        self.query_starts, self.key_starts = starts
        self.gathered, self.copies, self.sums, self.longest = gathered, copies, sums, longest

    def to(self, device: torch.device) -> "Sequences":
        starts = (moved(self.query_starts, device), moved(self.key_starts, device))
        gathered, copies, sums = (moved(tensor, device) for tensor in (self.gathered, self.copies, self.sums))
        return Sequences(self.lengths, starts, gathered, copies, sums, self.longest)

    @cached_property
    def structure(self) -> Structure:
        """For attention on a CPU."""
        return structure_of(self.lengths)


def sequences_of(groups: Sequence["Group"], width: int) -> Sequences:
    """The sequences of groups in a row of ``width`` tokens; the rest is padding."""
    queries: list[int] = []
    keys: list[NDArray[np.int64]] = []
    start = 0
    all_lengths = [[len(group.prompt), *map(len, group.completions)] for group in groups]
    for lengths in all_lengths:
        bounds = start + np.cumsum([0, *lengths])
        own = [np.arange(a, b) for a, b in pairwise(bounds)]
        queries += lengths
        keys += [own[0], *(np.concatenate([own[0], part]) for part in own[1:])]
        start = int(bounds[-1])
    queries, keys = [*queries, width - start], [*keys, np.arange(start, width)]
    gathered, longest = np.concatenate(keys), max(map(len, keys))
    starts = (_starts(queries), _starts(list(map(len, keys))))
    copies, sums = _copies(gathered, width)
    # A power of two: compiled code may specialise on it.
    return Sequences(all_lengths, starts, torch.from_numpy(gathered), copies, sums, 1 << (longest - 1).bit_length())


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def _copies(gathered: NDArray[np.int64], width: int) -> tuple[Tensor, Tensor]:
    """``copies`` and ``sums`` of :class:`Sequences`: the order in which the gradient of the gather is added up."""
    order, counts = np.argsort(gathered, kind="stable"), np.bincount(gathered, minlength=width)
    ends = np.cumsum(counts)
    shared = (counts > 1).nonzero()[0]
    places = (ends - counts)[shared, None] + np.arange(counts.max(initial=1))
    inside = places < ends[shared, None]
    copies = np.where(inside, order[np.where(inside, places, 0)], len(gathered))
    sums = order[ends - counts]
    sums[shared] = len(gathered) + np.arange(len(shared))
    return torch.from_numpy(copies), torch.from_numpy(sums)


class _Gather(torch.autograd.Function):
    """``x[gathered]`` whose gradient is summed in a fixed order, without atomic additions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gathered: Tensor, copies: Tensor, sums: Tensor) -> Tensor:
        ctx.save_for_backward(copies, sums)
        return x.index_select(0, gathered)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        copies, sums = ctx.saved_tensors
        padded = torch.cat([upstream, upstream.new_zeros(1, *upstream.shape[1:])])
        summed = padded[copies].sum(1, dtype=torch.promote_types(upstream.dtype, torch.float32)).to(upstream.dtype)
        return torch.cat([upstream, summed]).index_select(0, sums), None, None, None


def gather(x: Tensor, sequences: Sequences) -> Tensor:
    """Each sequence's keys or values, [M, H', D], from [N, H', D]."""
    return cast(Tensor, _Gather.apply(x, sequences.gathered, sequences.copies, sequences.sums))  # type: ignore[no-untyped-call]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sequences: Sequences | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention interface of transformers: query [1, H, N, D], key and value [1, H', N, D] -> [1, N, H, D]."""
    if sequences is None:
        raise ModelError("this model does not pass arguments on to its attention. Use another model.")
    # Under autocast a rotation in fp32 leaves queries and keys in fp32 and values in bf16.
    queries, keys, values = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    if not value.is_cuda:
        return _on_cpu(queries, keys, values, sequences, scaling)[None], None
    shared = keys.shape[1]
    gathered = gather(torch.cat([keys, values], 1), sequences)  # at once: half the kernels
    return _flash(queries, gathered[:, :shared], gathered[:, shared:], sequences, scaling)[None], None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # its shapes are data
def _on_cpu(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scaling: float | None) -> Tensor:
    return attend_in_groups(query, key, value, sequences.structure, scaling)


def _flash(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scaling: float | None) -> Tensor:
    """[N, H, D]. Where there are more keys than queries, the last of both are the same token."""
    starts, longest = (sequences.query_starts, sequences.key_starts), sequences.longest
    return torch.ops.aten._flash_attention_forward(  # type: ignore[no-any-return]
        query, key, value, *starts, longest, longest, 0.0, True, False, scale=scaling
    )[0]


AttentionInterface.register(NAME, attend)


@contextmanager
def attending_to_sequences(trunk: PreTrainedModel) -> Iterator[None]:
    """The model's attention is :func:`attend` within."""
    before = trunk.config._attn_implementation
    trunk.set_attn_implementation(NAME)
    try:
        yield
    finally:
        trunk.set_attn_implementation(before)


def recomputing(trunk: PreTrainedModel) -> Contexts:
    """``context_fn`` of torch's checkpointing: the backward pass computes a layer again by the attention that it had."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        flat = trunk.config._attn_implementation == NAME
        return nullcontext(), attending_to_sequences(trunk) if flat else nullcontext()

    return contexts


def flat_rows(policy: Policy) -> bool:
    """Whether this policy is trained on flat rows: on a CPU, and on CUDA in half precision, if its attention supports them."""
    return (policy.model.device.type == "cpu" or policy.low_precision) and serves(policy.model)


def serves(model: PreTrainedModel) -> bool:
    """Whether each layer of this model attends to all that comes before, and by transformers' interface."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    bounded = getattr(config, "sliding_window", None) is not None and "layer_types" not in config.to_dict()
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    width = getattr(config, "v_head_dim", None)  # of values; flash attention wants that of keys
    uneven = width is not None and width != getattr(config, "qk_head_dim", getattr(config, "head_dim", width))
    return kinds == {"full_attention"} and not (bounded or capped or uneven) and bool(model._supports_attention_backend)
