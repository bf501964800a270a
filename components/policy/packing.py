"""Training batches as rows of packed tokens, with a group's prompt computed once.

Notation: R rows, T tokens a row, N completion tokens in the whole batch, S completions.

A *group* is one prompt and its completions. In a row it lies as ``prompt, completion 1, completion 2, ...``; a
completion's positions go on from the prompt's end, and it sees the prompt and itself but not its siblings. A group with
one completion is an ordinary packed sequence. Example, one group with prompt ``a b`` and completions ``x y`` and ``z``::

    tokens     a  b  x  y  z
    positions  0  1  2  3  2
    groups     0  0  0  0  0      (-1 is padding)
    branches   0  0  1  1  2      (0 is the prompt)
    predictor        1  2  1      column whose output predicts the token
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from components.errors import ModelError


class Group(NamedTuple):
    """One prompt's tokens and its completions' tokens; both non-empty."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class PackedRows:
    """Rows of packed tokens and where their completion tokens are."""

    tokens: Tensor  # [R, T] long
    positions: Tensor  # [R, T] long
    groups: Tensor  # [R, T] long, -1 is padding
    branches: Tensor  # [R, T] long, 0 is the prompt
    target_row: Tensor  # [N] long
    target_column: Tensor  # [N] long
    predictor_column: Tensor  # [N] long
    sequence: Tensor  # [N] long: number of the completion, in the order given
    index: Tensor  # [N] long: position within its completion

    def to(self, device: torch.device) -> "PackedRows":
        """The same rows on another device."""
        return PackedRows(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

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
        """The mask that a model of this configuration takes: one, or one for each of its layers' kinds.

        Raises:
            ModelError: for layers that are neither full nor sliding-window attention.
        """
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ["full_attention" if window is None else "sliding_attention"])
        windows = {"full_attention": None, "sliding_attention": window}
        if not kinds <= set(windows):
            raise ModelError(f"this model has {', '.join(sorted(kinds - set(windows)))} layers. Use one with attention only.")
        masks = {kind: self.attention_mask(dtype, windows[kind]) for kind in kinds}
        return masks if len(masks) > 1 else next(iter(masks.values()))


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
    first_sequence = torch.tensor([0, *(len(g.completions) for g in groups)]).cumsum(0).tolist()
    rows = assign_rows([g.tokens for g in groups], row_tokens)
    columns: list[dict[str, list[int]]] = []
    targets: dict[str, list[int]] = {name: [] for name in ("row", "column", "predictor", "sequence", "index")}
    for row_number, members in enumerate(rows):
        row: dict[str, list[int]] = {"tokens": [], "positions": [], "groups": [], "branches": []}
        for member in members:
            _append_group(row, targets, groups[member], row_number, member, first_sequence[member])
        columns.append(row)
    width = max((len(row["tokens"]) for row in columns), default=0)

    def stack(name: str, fill: int) -> Tensor:
        return torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in columns], dtype=torch.long)

    flat: dict[str, Any] = {name: torch.tensor(values, dtype=torch.long) for name, values in targets.items()}
    return PackedRows(
        tokens=stack("tokens", pad),
        positions=stack("positions", 0),
        groups=stack("groups", -1),
        branches=stack("branches", 0),
        target_row=flat["row"],
        target_column=flat["column"],
        predictor_column=flat["predictor"],
        sequence=flat["sequence"],
        index=flat["index"],
    )


def _append_group(
    row: dict[str, list[int]],
    targets: dict[str, list[int]],
    group: Group,
    row_number: int,
    group_number: int,
    first_sequence: int,
) -> None:
    assert group.prompt, "a prompt without tokens has nothing to predict from"
    assert all(map(len, group.completions)), "a completion without tokens"
    prompt_length = len(group.prompt)
    row["tokens"] += group.prompt
    row["positions"] += range(prompt_length)
    row["branches"] += [0] * prompt_length
    prompt_end = len(row["tokens"]) - 1
    for branch, completion in enumerate(group.completions):
        start, length = len(row["tokens"]), len(completion)
        row["tokens"] += completion
        row["positions"] += range(prompt_length, prompt_length + length)
        row["branches"] += [branch + 1] * length
        targets["row"] += [row_number] * length
        targets["column"] += range(start, start + length)
        targets["predictor"] += [prompt_end, *range(start, start + length - 1)][:length]
        targets["sequence"] += [first_sequence + branch] * length
        targets["index"] += range(length)
    row["groups"] += [group_number] * (len(row["tokens"]) - len(row["groups"]))
