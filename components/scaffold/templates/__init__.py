"""Complete small projects, each of which runs offline on two cores and ends in a verdict.

The recipes are files beside this module. The rows and the database are generated when they are asked for.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from ratchet.components.scaffold import extras

KINDS: tuple[str, ...] = ("maths", "classify", "extract", "sql")
DEMO_NOISE = 0.34  # share of demonstrations that are wrong: the noise that RL has to remove
SEED = 1


@dataclass(frozen=True)
class Template:
    """A project of one kind.

    Attributes:
        summary: one line, for people who choose.
        recipe: text of ``ratchet.yaml``. ``{name}`` alone is to be replaced, by the project's name: other braces are YAML.
        files: the other files, by relative POSIX path.
    """

    kind: str
    summary: str
    recipe: str
    files: Mapping[str, bytes]

    def project(self, name: str) -> dict[str, bytes]:
        """Every file of a project of this name, by relative POSIX path."""
        return {"ratchet.yaml": self.recipe.replace("{name}", name).encode(), **self.files}


def template(kind: str) -> Template:
    """The project of a kind: the same bytes each time, on one machine.

    Raises:
        KeyError: if the kind is not one of ``KINDS``.
    """
    summary, generated = _KINDS[kind]
    own = {path: make() for path, make in generated.items()}
    return Template(kind, summary, _text(f"{kind}.yaml"), {**own, extras.TESTS: extras.tests(with_references=True)})


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _rows(task: str) -> bytes:
    """A task's rows as JSONL."""
    from ratchet.components.data.examples import generate

    rows = generate(task, DEMO_NOISE, SEED)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _database() -> bytes:
    from ratchet.components.scaffold.templates.shop_database import database

    return database()


_KINDS: Mapping[str, tuple[str, Mapping[str, Callable[[], bytes]]]] = {
    "maths": ("word problems with a number as the answer", {}),
    "classify": ("support tickets, each for one of four teams", {"tickets.jsonl": partial(_rows, "tickets")}),
    "extract": ("invoices in words, to JSON", {"invoices.jsonl": partial(_rows, "bills")}),
    "sql": (
        "questions about a shop, to SQL on SQLite",
        {"questions.jsonl": partial(_rows, "shop"), "shop.sqlite": _database},
    ),
}
