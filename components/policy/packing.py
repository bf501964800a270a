"""Training batches as rows of packed tokens, with a group's prompt computed once.

Notation: R rows, T tokens per row, N completion tokens in the whole batch, S completions.

A *group* is one prompt and its completions. In a row it lies as ``prompt, completion 1, completion 2, ...``; a
completion's positions continue from the prompt's end, and it sees the prompt and itself but not its siblings. A group with
one completion is an ordinary packed sequence. Example, one group with prompt ``a b`` and completions ``x y`` and ``z``::

    tokens     a  b  x  y  z
    positions  0  1  2  3  2
    groups     0  0  0  0  0      (-1 is padding)
    branches   0  0  1  1  2      (0 is the prompt)
    predictor        1  2  1      column whose output predicts the token
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ratchet.components.errors import ModelError
from ratchet.components.policy.transfer import moved
from ratchet.components.policy.varlen_attention import Sequences, sequences_of

TARGETS = ("target_row", "target_column", "predictor_column", "sequence", "index")


class Group(NamedTuple):
    """One prompt's tokens and its completions' tokens; both non-empty."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class PackedRows:
    """Rows of packed tokens and the positions of their completion tokens."""

    tokens: Tensor  # [R, T] long
    positions: Tensor  # [R, T] long
    groups: Tensor  # [R, T] long, -1 is padding
    branches: Tensor  # [R, T] long, 0 is the prompt
    target_row: Tensor  # [N] long
    target_column: Tensor  # [N] long
    predictor_column: Tensor  # [N] long
    sequence: Tensor  # [N] long: number of the completion, in the order given
    index: Tensor  # [N] long: position within its completion
    sequences: Sequences | None = None  # of a flat row: the attention structure, in place of a mask

    def to(self, device: torch.device) -> "PackedRows":
        """The same rows on another device."""
        found = ((f.name, getattr(self, f.name)) for f in fields(self))
        there: dict[str, Any] = {name: _on(value, device) for name, value in found}
        return PackedRows(**there)

    @property
    def targets(self) -> Tensor:
        """Completion tokens, [N]."""
        return self.tokens[self.target_row, self.target_column]

    def attention_mask(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """Additive mask [R, 1, T, T]: zero where a token (row) sees another (column).

        Args:
            window: a token sees only those fewer than ``window`` positions before it.
        """
        same_group = self.groups[:, :, None] == self.groups[:, None, :]
        visible = (self.branches[:, :, None] == self.branches[:, None, :]) | (self.branches == 0)[:, None, :]
        size = self.tokens.shape[1]
        earlier = torch.ones(size, size, dtype=torch.bool, device=self.tokens.device).tril()
        seen = same_group & visible & earlier
        if window is not None:
            seen = seen & (self.positions[:, :, None] - self.positions[:, None, :] < window)
        mask = torch.zeros(same_group.shape, dtype=dtype, device=self.tokens.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]

    def attention_for(self, config: Any, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """The mask that a model of this configuration needs: one, or one per kind of layer.

        Raises:
            ModelError: for layers that are neither full nor sliding-window attention.
        """
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ["full_attention" if window is None else "sliding_attention"])
        windows = {"full_attention": None, "sliding_attention": window}
        if not kinds <= set(windows):
            raise ModelError(
                f"this model has {', '.join(sorted(kinds - set(windows)))} layers. Use a model with attention layers only."
            )
        masks = {kind: self.attention_mask(dtype, windows[kind]) for kind in kinds}
        return masks if len(masks) > 1 else next(iter(masks.values()))


def _on(value: Tensor | Sequences | None, device: torch.device) -> Tensor | Sequences | None:
    return moved(value, device) if isinstance(value, Tensor) else value and value.to(device)


def assign_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Best-fit decreasing: numbers of the groups in each row. A group longer than ``row_tokens`` widens every row."""
    limit = max([row_tokens, *lengths])
    rows: list[list[int]] = []
    free: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [row for row in range(len(rows)) if free[row] >= lengths[number]]
        if not fitting:
            rows.append([])
            free.append(limit)
            fitting = [len(rows) - 1]
        row = min(fitting, key=lambda r: free[r])
        rows[row].append(number)
        free[row] -= lengths[number]
    return rows


def pack(groups: Sequence[Group], row_tokens: int = 128, pad: int = 0) -> PackedRows:
    """Pack groups into rows of at most ``row_tokens`` tokens (or the longest group, if longer)."""
    return _packed(groups, assign_rows([g.tokens for g in groups], row_tokens), pad)


def pack_flat(groups: Sequence[Group], multiple: int = 1, pad: int = 0) -> PackedRows:
    """All groups in one row, padded to a multiple, for attention over their sequences instead of a mask."""
    rows = _packed(groups, [list(range(len(groups)))], pad, multiple)
    return replace(rows, sequences=sequences_of(groups, rows.tokens.shape[1]))


def _packed(groups: Sequence[Group], rows: Sequence[Sequence[int]], pad: int, multiple: int = 1) -> PackedRows:
    first_sequence = np.cumsum([0, *(len(g.completions) for g in groups)])
    widths = [sum(groups[i].tokens for i in members) for members in rows]
    width = -(-max(widths, default=0) // multiple) * multiple
    fills = {"tokens": pad, "positions": 0, "groups": -1, "branches": 0}
    grid = {name: np.full((len(rows), width), fill) for name, fill in fills.items()}
    targets = []
    for row, members in enumerate(rows):
        start = 0
        for member in members:
            group, at = groups[member], (row, slice(start, start + groups[member].tokens))
            lengths = _checked_lengths(group)
            grid["tokens"][at] = list(chain(group.prompt, *group.completions))
            grid["positions"][at], grid["branches"][at] = _positions(lengths), np.repeat(np.arange(len(lengths)), lengths)
            grid["groups"][at] = member
            targets.append(_targets(lengths, row, start, int(first_sequence[member])))
            start += group.tokens
    flat = np.concatenate(targets, 1) if targets else np.zeros((5, 0), dtype=np.int64)
    arrays = {**grid, **dict(zip(TARGETS, flat, strict=True))}
    named: dict[str, Any] = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return PackedRows(**named)


def _checked_lengths(group: Group) -> NDArray[np.int64]:
    """Tokens of the prompt and of each completion."""
    assert group.prompt, "a prompt without tokens has nothing to predict from"
    assert all(map(len, group.completions)), "a completion without tokens"
    return np.array([len(group.prompt), *map(len, group.completions)])


def _index_in_parts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, ... within each part."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _positions(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    positions = _index_in_parts(lengths)
    positions[lengths[0] :] += lengths[0]
    return positions


def _targets(lengths: NDArray[np.int64], row: int, start: int, first_sequence: int) -> NDArray[np.int64]:
    """``TARGETS`` of one group's completion tokens, [5, n]."""
    prompt, completions = lengths[0], lengths[1:]
    index = _index_in_parts(completions)
    columns = start + prompt + np.arange(len(index))
    predictors = np.where(index == 0, start + prompt - 1, columns - 1)  # the prompt's last token predicts each first one
    sequence = np.repeat(first_sequence + np.arange(len(completions)), completions)
    return np.stack([np.full(len(index), row), columns, predictors, sequence, index])
