"""docs/recipe_keys.md: every key of a recipe, from the types that read it."""

import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ratchet.components.recipe import Recipe
from ratchet.components.recipe.base import Section
from ratchet.components.scaffold.meanings import meanings

INTRODUCTION = """# Recipe keys

Every key of a recipe, with what it accepts and its default. `ratchet recipe show` prints a recipe with all defaults filled in.
`recipes/quickstart.yaml` is a complete one. `--set key.path=value` overrides one key. An unknown key is refused (exit 2).
`ratchet init` writes a JSON Schema, with which an editor completes keys and shows their meaning.

Short forms: `data.source: rows.jsonl` for a source with a path; `task` next to `data` for `data.task`, and `task.response` for
`response`; `{file: "graders.py:grade"}`, `{http: URL}` and `{openai: FILE}` for graders without a type; `reward.formula` for a
reward of several graders ([rewards.md](rewards.md)); `grader: NAME` in the gate's rules for `measure: grader/NAME`. The preset
that `train.algorithm` names sets what the recipe leaves out under `train`: [algorithms.md](algorithms.md).

This page is generated: `python -m docs.generate`."""
PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text"}
BOUNDS = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}


class Part(NamedTuple):
    """A section where it is first met."""

    path: str
    section: type[Section]
    tag: str  # the ``kind`` or ``type`` that chooses it among others, if any

    @property
    def title(self) -> str:
        return f"{self.path}: {self.tag}" if self.tag else self.path or "The top level"


def text() -> str:
    """The page."""
    parts = list(walk())
    places = {part.section: part for part in parts}
    return "\n\n".join([INTRODUCTION, *(_chapter(part, places) for part in parts)]) + "\n"


def walk() -> Iterator[Part]:
    """Every section once, in the order of the recipe: each before those that it contains."""
    known: set[type[Section]] = set()
    waiting = [Part("", Recipe, "")]
    while waiting:
        part = waiting.pop(0)
        if part.section in known:
            continue
        known.add(part.section)
        yield part
        waiting = list(_inside(part)) + waiting


def _inside(part: Part) -> Iterator[Part]:
    for name, field in part.section.model_fields.items():
        sections = list(dict.fromkeys(_sections(field.annotation)))
        path = f"{part.path}.{name}" if part.path else name
        for section in sections:
            base = _base(section)
            if base is not None:
                yield Part(path, base, _tag(base))
            yield Part(path, section, _tag(section) if len(sections) > 1 else "")


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _base(section: type[Section]) -> type[Section] | None:
    """The section whose keys it has besides its own."""
    return next((one for one in section.__mro__[1:] if issubclass(one, Section) and one.model_fields), None)


def _tag(section: type[Section]) -> str:
    for name in ("kind", "type"):
        if name in section.model_fields and get_origin(section.model_fields[name].annotation) is Literal:
            return str(get_args(section.model_fields[name].annotation)[0])
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", section.__name__).lower()


def _chapter(part: Part, places: dict[type[Section], Part]) -> str:
    said, base = meanings(part.section), _base(part.section)
    own = {
        name: field for name, field in part.section.model_fields.items() if base is None or name in part.section.__annotations__
    }
    rows = [_row(name, field, said.get(name), places) for name, field in own.items()]
    lines = [f"{'##' if '.' not in part.path and not part.tag else '###'} {part.title}", "", _prose(part.section.__doc__), ""]
    lines += ["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows]
    if base is not None:
        lines += ["", f"And the keys of [{_tag(base)}](#{anchor(places[base].title)})."]
    return "\n".join(lines)


def _prose(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`")


def _row(name: str, field: FieldInfo, meaning: str | None, places: dict[type[Section], Part]) -> str:
    sections = list(dict.fromkeys(_sections(field.annotation)))
    if meaning is None and len(sections) == 1:
        meaning = (sections[0].__doc__ or "").strip().split("\n")[0]
    cells = (f"`{name}`", _value(field, sections, places), _default(field), _prose(meaning))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(field: FieldInfo, sections: list[type[Section]], places: dict[type[Section], Part]) -> str:
    links = [f"[{_tag(one) if len(sections) > 1 else 'section'}](#{anchor(places[one].title)})" for one in sections]
    plain = _kind(field.annotation, field.metadata)
    if not links:
        return plain
    return " or ".join([", ".join(links), *(one for one in plain.split(" or ") if one in ("`auto`", "null", "text"))])


def anchor(title: str) -> str:
    """The anchor that GitHub and the site give a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _kind(annotation: Any, metadata: Any = ()) -> str:
    """What a key accepts, in words: ``integer ≥ 1``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], [*_flat(arguments[1:]), *metadata])
    if origin is Literal:
        return ", ".join(f"`{_shown(one)}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in arguments))
    if origin in (list, tuple):
        return f"list of {_kind(arguments[0])}" if arguments else "list"
    if origin is dict:
        return f"NAME: {_kind(arguments[1])}"
    if annotation is type(None):
        return "null"
    return " ".join(filter(None, [PLAIN.get(annotation, "any"), _bounds(_flat(metadata))]))


def _flat(metadata: Any) -> list[Any]:
    return [inner for one in metadata for inner in (one.metadata if isinstance(one, FieldInfo) else [one])]


def _bounds(metadata: list[Any]) -> str:
    found = {type(one): getattr(one, type(one).__name__.lower()) for one in metadata if type(one) in BOUNDS}
    texts = {kind: "2^63" if value == 2**63 else _shown(value) for kind, value in found.items()}
    if set(found) == {annotated_types.Ge, annotated_types.Le}:
        return f"from {texts[annotated_types.Ge]} to {texts[annotated_types.Le]}"
    return ", ".join(f"{BOUNDS[kind]} {text}" for kind, text in texts.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or isinstance(value, Section):
        return ""
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    """A value as YAML has it in one line."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, list | tuple) and any(isinstance(one, Section) for one in value):
        return f"[{', '.join(_of_section(one) for one in value)}]"
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)


def _of_section(section: Section) -> str:
    return "{" + ", ".join(f"{name}: {_shown(value)}" for name, value in section.model_dump(exclude_unset=True).items()) + "}"
