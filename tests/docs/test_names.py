"""What the documents name exists: files, links, modules, and the verbs and options of ``ratchet``."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from ratchet.flows.cli import app
from tests.places import ROOT
from tests.test_architecture import LAYERS

DOCUMENTS = sorted(
    {ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "mlflow" / "README.md", *(ROOT / "infra").rglob("README.md")}
)
PATH = re.compile(r"(?<![\w/.-])(?:benchmarks|components|docs|flows|infra|ratchet|recipes|tests)/[\w./-]*\w")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
MODULE = re.compile(r"python -m ((?:benchmarks|ratchet|tests)[\w.]*\w)")
LOCATION = re.compile(r"^\| [^|]+ \| `([\w/]+\.py)` \| `(\w+)` \|$", re.MULTILINE)
BLOCK = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}.*$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?<![\w/.-])(?<!-n )ratchet ([a-z][^#]*)")
ROOT_COMMAND: Any = typer.main.get_command(app)
anywhere = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def code_lines(text: str) -> Iterator[str]:
    """Every line of a code block and every inline code span of a document."""
    for block in BLOCK.finditer(text):
        yield from block.group().splitlines()[1:-1]
    prose = BLOCK.sub("", text)
    yield from INDENTED.findall(prose)
    for span in SPAN.findall(prose):
        yield span.replace("\n", " ")


def commands(line: str) -> Iterator[list[str]]:
    """``ratchet gate --dry-run | power`` names two commands: ``gate --dry-run`` and ``gate power``."""
    for found in COMMAND.findall(line):
        named = re.split(r" {2,}|[`;)]| && ", found)[0]
        first, *others = re.split(r"\s*\|\s*", named)
        yield first.split()
        for other in others:
            yield resolved(first.split()[0], other.split())


def resolved(verb: str, words: list[str]) -> list[str]:
    """An alternative is a subcommand of the verb before it, where it has one of that name, else a verb."""
    group = getattr(ROOT_COMMAND.commands.get(verb), "commands", {})
    return [verb, *words] if words and words[0] in group else words


def unknown(words: list[str]) -> list[str]:
    """What a command line names that ``ratchet`` does not have."""
    if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
        return []
    command = ROOT_COMMAND.commands.get(words[0])
    if command is None:
        return [words[0]]
    group = getattr(command, "commands", {})
    if group and words[1:] and re.fullmatch(r"[a-z][a-z-]*", words[1]):
        command = group.get(words[1])
        if command is None:
            return [" ".join(words[:2])]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return [word for word in re.findall(r"--[a-z][a-z-]*", " ".join(words)) if word not in known]


@anywhere
def test_paths_exist(document: Path) -> None:
    assert [path for path in PATH.findall(document.read_text()) if not (ROOT / path).exists()] == []


def test_what_the_architecture_locates_is_there() -> None:
    rows = LOCATION.findall((ROOT / "docs" / "architecture.md").read_text())
    assert len(rows) >= 10
    wrong = [(path, name) for path, name in rows if not defined(name, (ROOT / path).read_text())]
    assert wrong == []


def test_the_layers_are_drawn_as_they_are_tested() -> None:
    drawing = (ROOT / "docs" / "architecture.md").read_text().split("```text\n")[1].split("```")[0]
    drawn = [set(re.findall(r"\w+", line)) for line in drawing.splitlines() if line.strip() != "|"]
    assert drawn == [{"flows"}, *LAYERS]


def defined(name: str, source: str) -> bool:
    return re.search(rf"^(?:def {name}\(|class {name}\b|{name}\b.*=)", source, re.MULTILINE) is not None


@anywhere
def test_links_resolve(document: Path) -> None:
    assert [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()] == []


@anywhere
def test_modules_exist(document: Path) -> None:
    assert [module for module in MODULE.findall(document.read_text()) if find_spec(module) is None] == []


@anywhere
def test_verbs_and_options_exist(document: Path) -> None:
    lines = list(code_lines(document.read_text()))
    assert [(line, word) for line in lines for words in commands(line) for word in unknown(words)] == []


def test_the_readme_names_every_verb() -> None:
    named = {words[0] for line in code_lines((ROOT / "README.md").read_text()) for words in commands(line) if words}
    hidden = {name for name, command in ROOT_COMMAND.commands.items() if command.hidden}
    assert set(ROOT_COMMAND.commands) - hidden <= named


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("ratchet gate --dry-run | power --effect 0.03 | replay    what it does", []),
        ("ratchet status | ui | recipe show | recipe check", []),
        ("kubectl -n ratchet create secret", []),
        ("ratchet frobnicate", ["frobnicate"]),
        ("ratchet data frobnicate FILE", ["data frobnicate"]),
        ("ratchet status | frobnicate", ["frobnicate"]),
        ('eval "$(ratchet ui --environment)"', ["--environment"]),
    ],
)
def test_what_is_unknown_is_found(line: str, wrong: list[str]) -> None:
    assert [word for words in commands(line) for word in unknown(words)] == wrong
