"""Each message that the page quotes is one that the code can print."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from docs.generate.__main__ import DOCS
from tests.places import ROOT

PAGE = (DOCS / "troubleshooting.md").read_text().split("## By message")[1].split("### It runs")[0]
MESSAGES = [found for row in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE) for found in re.findall(r"`([^`]{4,})`", row)]


@cache
def texts() -> str:
    """Every string of the code, one per line; what is inserted into one is a NUL."""
    sources = [path for part in ("components", "flows") for path in (ROOT / part).rglob("*.py")]
    found = [text for path in sources for text in strings(ast.parse(path.read_text()))]
    return "\n".join(text.replace("\n", " ") for text in found)


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def is_said(message: str) -> bool:
    pieces = [re.escape(piece.strip()) for piece in message.split("...") if piece.strip()]
    return re.search(".*".join(pieces), texts()) is not None


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_says_it(message: str) -> None:
    assert is_said(message)


def test_there_are_messages_and_one_that_nobody_says_is_noticed() -> None:
    assert len(MESSAGES) > 30
    assert not is_said("alias champion of ... is at version ..., and nobody minds")
