"""What is printed on a terminal fits it, and nothing that a person copies is broken; a pipe gets whole lines."""

import io

import pytest
from rich.console import Console

from ratchet.flows.cli.views import terminal
from ratchet.flows.cli.views.terminal import Rows, make_console, prose

PATH = "/home/somebody/projects/" + "x" * 80 + "/report.html"
SENTENCE = "a sentence of many words " * 10


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(renderable: object, file: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", file)
    console: Console = make_console()
    console.no_color = True
    console.print(renderable)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("file", [io.StringIO, Tty])
def test_a_path_is_never_broken(file: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(Rows([("dataset", "5a"), ("report", PATH)]), file(), monkeypatch)
    assert lines == ["dataset  5a", f"report   {PATH}"]


def test_words_around_a_path_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"there is no file {PATH}. " + "Correct the recipe. " * 4
    assert printed(prose(f"[red]{said}[/]\n  b/c"), Tty(), monkeypatch) == [
        "there is no file",
        f"{PATH}.",
        "Correct the recipe. Correct the recipe. Correct the recipe. Correct the recipe.",
        "  b/c",
    ]


def test_a_pipe_has_a_line_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(Rows([("why", SENTENCE), ("", "a\nb")]), io.StringIO(), monkeypatch)
    assert lines == [f"why  {SENTENCE}".rstrip(), "     a", "     b"]


def test_a_terminal_has_lines_that_fit_it_and_words_that_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = printed(Rows([("why", SENTENCE)]), Tty(), monkeypatch)
    assert first.startswith("why  a sentence") and len(rest) == 3
    assert all(line.startswith("     ") and len(line) <= 80 for line in rest)
    assert " ".join([first[5:], *(line[5:] for line in rest)]) == SENTENCE.strip()


def test_a_word_that_is_no_path_is_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(prose("y" * 100), Tty(), monkeypatch) == ["y" * 80, "y" * 20]


def test_columns_before_the_last_are_aligned_by_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows([("[green]ok[/]", ":100:", "\\[a]"), ("failed", "日本", "b")])
    assert printed(rows, io.StringIO(), monkeypatch) == ["ok      :100:  [a]", "failed  日本   b"]
    assert terminal.GAP == 2
