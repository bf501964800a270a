"""OpenAI's and Azure's python grader, ``grade(sample, item)``. Here: the share of an invoice's fields that are right."""

from typing import Any

FIELDS = ("vendor", "total", "date")


def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    found = sample.get("output_json")  # there only if the completion is JSON, alone or in one code fence
    if not isinstance(found, dict) or not found.keys() <= set(FIELDS):
        return 0.0
    right = [type(found.get(name)) is type(item[name]) and found[name] == item[name] for name in FIELDS]
    return sum(right) / len(FIELDS)
