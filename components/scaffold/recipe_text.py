"""A recipe's values as the text of ``ratchet.yaml``: one line per key, with a comment where a user would change it."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ratchet.components.recipe import parse_yaml

SCHEMA = ".ratchet/recipe.schema.json"
FIRST_LINE = f"# yaml-language-server: $schema={SCHEMA}\n"
PLAIN = re.compile(r"[\w./][\w./ -]*", re.ASCII)
INLINE = ("gold",)  # sections that stand in one line
COLUMN = 48  # of comments, where the line is shorter


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that a recipe's reader would take for numbers: YAML 1.1 knows ``1e5`` as text."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """In double quotes, where anything can be escaped, unless it is plain."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if PLAIN.fullmatch(text) else '"')


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def recipe_text(values: Mapping[str, Any], summary: str, comments: Mapping[str, str], remarks: Mapping[str, str]) -> str:
    """The text, whose first line names the schema that editors check it by.

    Args:
        summary: one line on the whole.
        comments: by key, such as ``data.source``: what stands behind it.
        remarks: by section: a comment line of its own above the section's first key.
    """
    text = FIRST_LINE + f"# {summary}\n" + "".join(_sections(values, comments, remarks))
    assert parse_yaml(text, "ratchet.yaml") == dict(values)
    return text


def _sections(values: Mapping[str, Any], comments: Mapping[str, str], remarks: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        if name in INLINE or not isinstance(value, Mapping):
            yield _line(f"{name}: {inline(value)}", comments.get(name))
            continue
        yield "\n" + _line(f"{name}:", comments.get(name))
        if name in remarks:
            yield f"  # {remarks[name]}\n"
        yield from (_line(f"  {key}: {inline(one)}", comments.get(f"{name}.{key}")) for key, one in value.items())


def _line(text: str, comment: str | None) -> str:
    return f"{text:<{COLUMN}}  # {comment}\n" if comment else f"{text}\n"


def inline(value: Any) -> str:
    """A value as YAML in one line, which a recipe's reader reads back."""
    flow = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return str(flow.strip()[1:-1])
