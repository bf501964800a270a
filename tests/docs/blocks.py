"""The code blocks of the documents, and how each is exercised. A block that is not is marked in the document, with the reason.

<!-- run -->               above a console block: a shell runs it, in the page's scratch project
<!-- not run: REASON -->   above a python block: it is compiled alone
<!-- not a recipe: WHAT --> above a yaml block: it is read as YAML alone
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.places import ROOT

DOCUMENTS = sorted(
    {
        *(
            ROOT / name
            for name in ("README.md", "AGENTS.md", "mlflow/README.md", "recipes/README.md")
            if (ROOT / name).is_file()
        ),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "infra").rglob("README.md"),
    }
)
FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[^\n]*?) -->\n+ *)?(?P<ticks>`{3,})(?P<language>\w*)\n(?P<text>.*?)^ *(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)


class Mark(NamedTuple):
    """``run``; or ``not run`` and ``not a recipe``, with the reason."""

    kind: str
    reason: str = ""


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    document: Path
    line: int
    language: str  # console if the document names none
    text: str
    mark: Mark | None

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """Every fenced block, in order."""
    text = document.read_text(encoding="utf-8")
    return [_block(document, text, found) for found in FENCE.finditer(text)]


def _block(document: Path, text: str, found: re.Match[str]) -> Block:
    width = len(found["indent"])
    lines = "".join(line[width:] if line.startswith(" " * width) else line for line in found["text"].splitlines(keepends=True))
    kind, _, reason = (found["mark"] or "").partition(": ")
    mark = Mark(kind, reason.strip()) if kind in ("run", "not run", "not a recipe") else None
    return Block(document, text[: found.start("ticks")].count("\n") + 1, found["language"] or "console", lines, mark)


EXAMPLES = {path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "examples").rglob("*.py")}
BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def blocks(*languages: str) -> list[Block]:
    """All blocks in one of these languages."""
    return [block for block in BLOCKS if block.language in languages]


def cells(document: Path) -> list[str]:
    """The Python of a page that is to be run, in order."""
    python = [block for block in blocks_of(document) if block.language == "python" and block.mark is None]
    return [block.text for block in python if block.text not in EXAMPLES]
