"""``ratchet data diff`` as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ratchet.components.text import visible
from ratchet.flows.cli.views.terminal import make_console

CUT = 60  # characters of a prompt


def print_difference(found: Mapping[str, Any], listed: int) -> None:
    """Tables on stdout: added, removed and changed rows, and how distributions changed."""
    out = make_console()
    out.print(f"old  {found['old']['version']}  ({escape(visible(found['old']['name']))})")
    out.print(f"new  {found['new']['version']}  ({escape(visible(found['new']['name']))})\n")
    if found["old"]["version"] == found["new"]["version"]:
        out.print("the same version")
        return
    out.print(_counts(found["counts"]))
    out.print(_splits(found["splits"]))
    out.print(_lengths(found["lengths"]))
    out.print(_answers(found["answers"]))
    _rows(out, found["rows"], listed)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    table = _table("Prompts", "", "came", "went", "changed")
    for label, kind in (("problems", "problem"), ("with preferences", "pairs")):
        table.add_row(label, *(f"{counts[kind][what]:,}" for what in ("came", "went", "changed")))
    return table


def _splits(splits: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("\nSplits (rows)", "", "old", "new", "change")
    for row in splits:
        table.add_row(row["table"], f"{row['before']:,}", f"{row['after']:,}", f"{row['after'] - row['before']:+,}")
    return table


def _lengths(lengths: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("\nLengths (tokens)", "", "mean", "5%", "50%", "95%", "distance")
    for row in lengths:
        before, after = row["before"], row["after"]
        moved = [f"{before[name]:g} -> {after[name]:g}" for name in ("mean", "p5", "p50", "p95")]
        table.add_row(row["column"], *moved, f"{row['distance']:.3f}")
    return table


def _answers(answers: Mapping[str, Any]) -> Table:
    table = _table(f"\nAnswers (distance {answers['distance']:.3f})", "", "old", "new")
    table.add_row("different answers", *(f"{answers[when]['distinct']:,}" for when in ("before", "after")))
    for row in answers["moved"][:5]:
        table.add_row(escape(_cut(row["answer"], 24)), f"{row['before']:,}", f"{row['after']:,}")
    return table


def _rows(out: Console, rows: Sequence[Mapping[str, Any]], listed: int) -> None:
    for what in ("came", "went", "changed"):
        every = [row for row in rows if row["what"] == what]
        if not every or not listed:
            continue
        out.print(f"\n[bold]{what}[/] ({len(every):,}{f', the first {listed}' if len(every) > listed else ''})")
        for row in every[:listed]:
            place = row["after"] or row["before"]
            moved = f"  [{', '.join(row['columns'])}]" if row["columns"] else ""
            place = f"{row['before']} -> {row['after']}" if "table" in row["columns"] else place
            out.print(escape(f"  {row['id']}  {place:<13} {_cut(row['prompt'], CUT)}{moved}"))


def _cut(text: str, limit: int) -> str:
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
