"""References that judge nothing are found in the data, and named by table and row."""

from typing import Any

import pytest

from ratchet.components.errors import DataError
from ratchet.components.graders import json_match, label
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.references import require_references
from ratchet.components.graders.rule import RuleGrader

LABELS = RuleGrader(label.rule(["a", "b"], "{{item.queue}}"), "d")
OBJECTS = RuleGrader(json_match.rule("{{item.expected}}", {}), "d")


def rows(key: str, *values: Any) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "item": {key: value}} for number, value in enumerate(values)]


def test_good_references_pass() -> None:
    require_references(LABELS, {"train": rows("queue", "a", "B"), "dev": rows("queue", "b")}, strict=True)


def test_reference_faults_a_label_outside_the_set_is_refused_with_its_table_and_row() -> None:
    tables = {"train": rows("queue", *["a"] * 500), "dev": rows("queue", "b", "refund")}
    with pytest.raises(DataError, match=r"1 of 502 rows(.|\n)*dev, row r1: the reference 'refund' is not one of a, b"):
        require_references(LABELS, tables, strict=True)


def test_reference_faults_more_than_one_in_a_hundred_that_does_not_parse_is_refused() -> None:
    good = rows("expected", *[{"x": 1}] * 198)
    require_references(OBJECTS, {"train": [*good, *rows("expected", "{", {})]})
    with pytest.raises(DataError, match=r"3 of 201 rows(.|\n)*train, row r0: the reference is not a JSON object"):
        require_references(OBJECTS, {"train": [*rows("expected", "{", "[]", None), *good]})


def test_no_code_of_the_users_is_asked() -> None:
    def mine(*_: Any) -> list[Grade]:
        raise AssertionError("called")

    require_references(mine, {"train": rows("queue", "x")}, strict=True)
