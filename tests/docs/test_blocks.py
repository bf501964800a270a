"""Every code block of the documents is exercised: recipes are loaded, Python is run, command lines are parsed or run."""

import ast
import configparser
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import markdown
import pytest
import typer
import yaml
from typer.exceptions import TyperException

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Recipe, build_recipe, parse_yaml
from ratchet.flows.cli import app
from tests.commands import environment, ratchet
from tests.docs.blocks import BLOCKS, DOCUMENTS, FENCE, Block, blocks, blocks_of, cells

LANGUAGES = {"bash", "console", "ini", "json", "python", "sh", "sql", "text", "yaml"}
EXACT = {"type": "exact"}
BASE = {"name": "r", "gate": {"rules": {}}, "graders": {"right": EXACT}, "gold": {"grader": "right"}}
KEYS = {*Recipe.model_fields, "task"}
ROOT_COMMAND: Any = typer.main.get_command(app)
# In a list of commands: [an option], a | b, KEY=..., and what is typed only in capitals.
PATTERN = re.compile(r"[\[|<]|\.\.\.")
COMMAND = re.compile(r"(?:^|(?<=&& )|(?<=; )|(?<=\$\())ratchet ")
PROGRAMS = "apt-get|cd|curl|docker|eval|export|git|kubectl|make|mlflow|pip|prefect|python|ratchet|vllm"
SHELL = re.compile(rf"(?:#.*\n)*(?:[A-Z_]+=\S+ )?(?:{PROGRAMS})\b")
PROJECT = ("init", ".", "--task", "extract", "--yes")


def named(chosen: list[Block]) -> Any:
    return pytest.mark.parametrize("block", chosen, ids=lambda block: block.name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_fenced_and_in_a_known_language(document: Path) -> None:
    assert {block.language for block in blocks_of(document)} <= LANGUAGES
    assert "<pre>" not in markdown.markdown(FENCE.sub("", document.read_text())), "an indented block"


def test_what_is_not_exercised_says_why() -> None:
    marked = [block for block in BLOCKS if block.mark is not None]
    assert [block.name for block in marked if block.mark.kind != "run" and len(block.mark.reason) < 10] == []
    assert [block.name for block in marked if block.mark.kind == "run" and block.language not in ("console", "bash")] == []


# Recipes


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = deepcopy(first)
    for name, value in second.items():
        inner = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = value if not inner else {**both[name], **value} if name == "graders" else merged(both[name], value)
    return both


def is_recipe(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= KEYS


def recipe_with(block: Block) -> dict[str, Any]:
    """The block as a whole recipe; what it relies on is in the page's other blocks."""
    value = parse_yaml(block.text, block.name)
    if not is_recipe(value):  # one grader
        return merged(BASE, {"graders": {"shown": value}})
    others = [
        parse_yaml(one.text, one.name) for one in blocks_of(block.document) if one.language == "yaml" and one.mark is None
    ]
    if "task" in value:
        value = merged({"data": {"source": "rows.jsonl"}}, value)
    try:
        build_recipe(merged(BASE, value), block.name)
    except RecipeError:
        for other in filter(is_recipe, others):
            value = merged(other, value)
    return merged(BASE, value)


@named([block for block in blocks("yaml") if block.mark is None])
def test_a_recipe_loads(block: Block) -> None:
    build_recipe(recipe_with(block), block.name)


@named([block for block in blocks("yaml") if block.mark is not None])
def test_other_yaml_is_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@named(blocks("json"))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@named(blocks("ini"))
def test_ini_is_ini(block: Block) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(block.text)
    assert parser.sections()


# Command lines


@named(blocks("console", "bash"))
def test_a_console_has_commands(block: Block) -> None:
    """Output is ``text``, and YAML without a language is not taken for commands."""
    assert SHELL.match(block.text)


def lines(block: Block) -> Iterator[str]:
    """The commands of ``ratchet`` in a block, each in one line, without what explains it."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for found in COMMAND.finditer(line):
            rest = re.split(r" {2,}#| && |; |\)\"| > | \|\| | & ?$", line[found.end() :])[0]
            yield re.split(r" {3,}", rest)[0].split("  #")[0].strip()


def is_accepted(words: list[str]) -> None:
    """Parse a command line as ``ratchet`` would.

    Raises:
        TyperException: naming what is wrong with it.
    """
    command, context = ROOT_COMMAND, ROOT_COMMAND.make_context("ratchet", list(words))
    while hasattr(command, "resolve_command"):
        left = [*context._protected_args, *context.args]
        if not left:
            return
        name, command, rest = command.resolve_command(context, left)
        context = command.make_context(name, list(rest), parent=context)


WRITTEN = [(block, line) for block in blocks("console", "bash", "sh") for line in lines(block) if not PATTERN.search(line)]


@pytest.mark.parametrize(("block", "line"), WRITTEN, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_command_line_is_accepted(block: Block, line: str) -> None:
    is_accepted(shlex.split(line, comments=True))


@pytest.mark.parametrize("line", ["run --recipies x", "gate power --items many", "verify", "lineage 3 4", "data frobnicate"])
def test_a_slip_is_noticed(line: str) -> None:
    with pytest.raises(TyperException):
        is_accepted(line.split())


# Python


@named(blocks("python"))
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in DOCUMENTS if cells(page)], ids=lambda path: path.name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """In order, in one process, as in a notebook, in a project of the template `extract`."""
    subprocess.run(ratchet(*PROJECT), cwd=tmp_path, env=environment(), check=True, timeout=120)
    (tmp_path / "cells.py").write_text("\n".join(cells(page)))
    subprocess.run([ratchet()[0], "cells.py"], cwd=tmp_path, env=environment(), check=True, timeout=240)


# Shell

RUN = [block for block in blocks("console", "bash") if block.mark is not None and block.mark.kind == "run"]


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.document for block in RUN}), ids=lambda path: path.name)
def test_a_marked_block_runs(page: Path, tmp_path: Path) -> None:
    """By bash, which ends at the first command that fails, in an empty folder that the page's blocks share."""
    script = "\n".join(block.text for block in RUN if block.document == page)
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment(), check=True, timeout=240)
