"""Templates of graders: ``{{item.x}}`` and ``{{sample.output_text}}``, a path and nothing more. No code, no filters, no Jinja.

A path is names and list positions: ``item.lines[0].total``. The two namespaces are the row (``item``) and the completion
(``sample``: ``output_text``, ``output_json``, ``output_tools``, ``choices``), as in OpenAI's graders.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

NAMESPACES = ("item", "sample")
OF_SAMPLE = ("output_text", "output_json", "output_tools", "choices")
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"\s*(item|sample)((?:\.[A-Za-z_][\w-]*|\[\d{1,6}\])+)\s*")
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]")

Path = tuple[str | int, ...]


class AbsentError(Exception):
    """A path that leads to nothing; ``namespace`` says whether the row or the completion lacks it."""

    def __init__(self, path: Path) -> None:
        self.namespace = str(path[0])
        super().__init__(f"there is no {written(path)}")


@dataclass(frozen=True)
class Template:
    """A parsed template: literals and, between them, the paths."""

    literals: tuple[str, ...]
    paths: tuple[Path, ...]

    def value(self, spaces: Mapping[str, Any]) -> Any:
        """The value that the template stands for: of its one path as it is, else the rendered text.

        Raises:
            AbsentError: if a path leads to nothing.
        """
        if len(self.paths) == 1 and self.literals == ("", ""):
            return follow(self.paths[0], spaces)
        return self.text(spaces)

    def text(self, spaces: Mapping[str, Any]) -> str:
        """The rendered text: strings as they are, everything else as JSON.

        Raises:
            AbsentError: if a path leads to nothing.
        """
        texts = [as_text(follow(path, spaces)) for path in self.paths]
        return self.literals[0] + "".join(text + after for text, after in zip(texts, self.literals[1:], strict=True))


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
    """Parse a template.

    Raises:
        ValueError: naming what stands between the braces and is not a path.
    """
    pieces = _PLACE.split(text)
    if any("{{" in literal or "}}" in literal for literal in pieces[::2]):
        raise ValueError(f"{text!r:.80} has braces {{{{ or }}}} without their partner; write {{{{item.column}}}}")
    return Template(tuple(pieces[::2]), tuple(map(_path, pieces[1::2])))


def _path(text: str) -> Path:
    found = _PATH.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{{{{{text}}}}} is not a path; write {{{{item.column}}}} or {{{{sample.output_text}}}}, without filters or code"
        )
    steps = tuple(name or int(number) for name, number in _STEP.findall(found[2]))
    if found[1] == "sample" and steps[0] not in OF_SAMPLE:
        raise ValueError(f"{{{{{text}}}}}: a sample has {', '.join(OF_SAMPLE)}; write one of these")
    return (found[1], *steps)


def follow(path: Path, spaces: Mapping[str, Any]) -> Any:
    """The value at the end of a path.

    Raises:
        AbsentError: if there is none.
    """
    value: Any = spaces
    for step in path:
        inside = len(value) > step if isinstance(step, int) and isinstance(value, list) else _has(value, step)
        if not inside:
            raise AbsentError(path)
        value = value[step]
    return value


def _has(value: Any, step: str | int) -> bool:
    return isinstance(step, str) and isinstance(value, Mapping) and step in value


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def written(path: Path) -> str:
    """A path as its user wrote it: ``item.lines[0]``."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[1:])
    return f"{path[0]}{steps}"
