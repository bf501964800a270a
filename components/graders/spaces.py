"""What templates read: the row as ``item``, and the completion as ``sample``, in the shapes of OpenAI's graders."""

from collections.abc import Callable, Mapping
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.response import sample_of
from ratchet.components.templates import AbsentError, Template, parse_template

MISSING_ITEM = "missing_item"


def item_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's kept columns, beside its id, prompt and answer."""
    own = {name: row[name] for name in ("id", "prompt", "answer") if row.get(name) is not None}
    return {**own, **(row.get("item") or {})}


def reference_of(template: str) -> Callable[[Mapping[str, Any]], Any]:
    """Reads a row's reference: the value of the template, None if the row has no such column or nothing in it.

    Raises:
        ValueError: if the template is not one, or reads the completion.
    """
    parsed = parse_template(template)
    if any(path[0] == "sample" for path in parsed.paths):
        raise ValueError(f"{template!r} is a reference and cannot read the completion; write {{{{item.column}}}}")

    def read(row: Mapping[str, Any]) -> Any:
        try:
            return parsed.value({"item": item_of(row)})
        except AbsentError:
            return None

    return read


def filled(
    templates: tuple[Template, ...], completion: str, row: Mapping[str, Any], schema: str | None = None
) -> tuple[str, ...] | Grade:
    """The rendered templates; or the grade where one cannot be: 0 if the completion lacks it, a fault if the row does."""
    spaces = {"item": item_of(row), "sample": sample_of(completion, schema)}
    try:
        return tuple(template.text(spaces) for template in templates)
    except AbsentError as error:
        if error.namespace == "sample":
            return Grade(0.0, passed=False, reason=str(error))
        return Grade(None, reason=str(error), fault=MISSING_ITEM)
