"""What a key of a recipe means: the comment beside the field, for the schema that editors show and for the reference."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator

from ratchet.components.recipe.base import Section

FOR_TOOLS = re.compile(r"#\s*(?:type:\s*ignore\S*|fmt:\s*\w+|noqa\S*)")


def sections() -> dict[str, type[Section]]:
    """Every part of a recipe, by the name of its class, which its definition in the schema has too."""
    return {section.__name__: section for section in _below(Section)}


def meanings(section: type[Section]) -> dict[str, str]:
    """Key -> its comment, inherited keys included. A key that is a section of its own may have none."""
    found: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if issubclass(part, Section) and part is not Section:
            found |= _comments(inspect.getsource(part))
    return {name: text for name, text in found.items() if name in section.model_fields}


def _below(section: type[Section]) -> Iterator[type[Section]]:
    for part in section.__subclasses__():
        yield part
        yield from _below(part)


def _comments(source: str) -> dict[str, str]:
    """Field -> the comments on its lines and directly above them, of one class."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    by_line = {
        token.start[0]: FOR_TOOLS.sub("", token.string).strip("# ") for token in tokens if token.type == tokenize.COMMENT
    }
    alone = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            lines = range(first, (node.end_lineno or node.lineno) + 1)
            if text := " ".join(filter(None, (by_line.get(line) for line in lines))):
                found[node.target.id] = text[0].lower() + text[1:].rstrip(".") if first < node.lineno else text
    return found
