"""Generated tasks: equal rows every time, the stated share of wrong demonstrations, answers that are wrong in one respect."""

import json
from typing import Any

import pytest

from ratchet.components.data.examples import TASKS, generate, shop, tickets
from ratchet.components.data.sources import read_rows, source_files
from ratchet.components.recipe import Data, Example, Task

NOISE = 0.34


def rows(name: str, noise: float = NOISE, seed: int = 1) -> list[dict[str, Any]]:
    return list(generate(name, noise, seed))


@pytest.mark.parametrize(("name", "size"), [("tickets", 4 * 4 * 6 * 12), ("bills", 5 * 6 * 6 * 5), ("shop", 12 * 4 * 5 * 5)])
def test_every_combination_occurs_once_and_a_third_of_the_demonstrations_is_wrong(name: str, size: int) -> None:
    found = rows(name)
    asked = {row.get("question", row.get("text")) for row in found}
    wrong = sum(row["demonstration"] != row["answer"] for row in found) / size
    assert len(asked) == len(found) == size
    assert wrong == pytest.approx(NOISE, abs=0.04)  # 2.5 standard errors at 900 rows
    assert all(row["chosen"] == row["answer"] != row["rejected"] for row in found)
    assert all(row["demonstration"] in (row["answer"], row["rejected"]) for row in found)


@pytest.mark.parametrize("name", TASKS)
def test_rows_depend_on_the_seed_alone(name: str) -> None:
    assert rows(name) == rows(name)
    assert rows(name, seed=2) != rows(name)
    assert all(row["demonstration"] == row["answer"] for row in rows(name, noise=0.0))


def test_a_tickets_label_is_that_of_its_phrase() -> None:
    for row in rows("tickets"):
        assert any(row["question"].endswith(f" {phrase}.") for phrase in tickets.PHRASES[row["answer"]])


def test_a_wrong_bill_has_one_wrong_field() -> None:
    for row in rows("bills"):
        right, wrong = json.loads(row["answer"]), json.loads(row["rejected"])
        assert str(right["total"]) in row["text"]
        assert right["vendor"] == row["vendor"]
        assert sum(right[name] != wrong[name] for name in right) == 1


def test_a_shops_query_has_the_words_of_its_question() -> None:
    for row in rows("shop"):
        measure, table, town = (
            next(w for w in words if f" {w}" in row["text"]) for words in (shop.MEASURES, shop.TABLES, shop.TOWNS)
        )
        assert row["answer"] == shop.query(measure, table, town)
        assert all(word in row["answer"] for word in (shop.MEASURES[measure], f" {table} ", f"'{town}'"))


def test_a_recipe_reads_them_as_any_rows() -> None:
    data = Data(source=Example(kind="example", path="bills", limit=2), task=Task(prompt="As JSON: {{item.text}}"))
    first, second = read_rows(data)
    assert first["prompt"].startswith("As JSON: ")
    assert (first["file"], first["row"], second["row"]) == ("bills", 1, 2)
    assert first["item"]["vendor"] == json.loads(first["answer"])["vendor"]
    assert data.generated
    assert source_files(Example(kind="example", path="bills")) == []
