"""Rows of a table of JSON lines, read when they are needed: a million rows take 8 MB, not gigabytes."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

BLOCK = 2**20  # bytes read at once

Row = dict[str, Any]


class Table(Sequence[Row]):
    """The rows that ``files.write_json_lines`` wrote. The file stays open, so that a row can be read after its removal."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        blocks, read, ends = iter(lambda: self._file.read(BLOCK), b""), 0, [np.zeros(1, np.int64)]
        for block in blocks:
            ends.append(read + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")))
            read += len(block)
        self._bounds = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        begin, end = (int(self._bounds[number]) for number in self._line(place))
        row: Row = json.loads(os.pread(self._file.fileno(), end - begin, begin))  # no position that threads could share
        return row

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(len(self)))

    def _line(self, place: int) -> tuple[int, int]:
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return number, number + 1
