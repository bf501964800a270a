"""Where commands print, and columns of text in which nothing that a person copies is broken."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions
from rich.containers import Lines
from rich.text import Text

UNWRAPPED = 100_000  # columns of a pipe or a file, which nothing has to fit
NARROWEST = 20  # columns of the last of several, however wide those before it
GAP = 2


class Terminal(Console):
    """As wide as the terminal. A pipe or a file, which Rich takes for 80 columns, has one line per line."""

    @property
    def size(self) -> ConsoleDimensions:
        found = super().size
        return found if self.is_terminal else ConsoleDimensions(UNWRAPPED, found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AssertionError("the terminal has its own size")


def make_console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr. It breaks no line but those of tables, and changes no text: those of users have colons."""
    return Terminal(stderr=stderr, emoji=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Rows:
    """Rows of markup, aligned in columns. The last column is wrapped between words, and a path is never broken."""

    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        rows = [[Text.from_markup(cell, emoji=False) for cell in row] for row in self.rows]
        widths = [max(cell.cell_len for cell in column) for column in zip(*(row[:-1] for row in rows), strict=True)]
        for *first, last in rows:
            before = Text()
            for cell, width in zip(first, widths, strict=True):
                before += cell + Text(" " * (width - cell.cell_len + GAP))
            room = max(NARROWEST, options.max_width - before.cell_len)
            lines = [part for line in last.split(allow_blank=True) for part in _wrapped(line, console, room)]
            for number, line in enumerate(lines):
                whole = (before if number == 0 else Text(" " * before.cell_len)) + line
                whole.rstrip()
                yield whole


def _wrapped(line: Text, console: Console, room: int) -> Lines:
    """Lines of at most so many columns, where no path is longer; Rich breaks a long word, or nothing at all."""
    if "/" not in line.plain:
        return line.wrap(console, room)
    ends, used = list[int](), 0
    for word in re.finditer(r"\s*\S+\s*", line.plain):
        if used and used + cell_len(word[0].rstrip()) > room:
            ends.append(word.start())
            used = 0
        used += cell_len(word[0])
    return line.divide(ends)


def prose(text: str) -> Rows:
    """A paragraph of markup, wrapped between words on a terminal."""
    return Rows([(text,)])
