"""Raw rows become disjoint tables, the same whatever the order of the rows."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.duplicates import prompt_ids
from ratchet.components.data.journal import Journal
from ratchet.components.data.normal_form import normalise
from ratchet.components.data.prepare import clean, prepare
from ratchet.components.data.questions import place_of
from ratchet.components.data.schemas import raw_frame
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, JsonLines, WordProblems
from ratchet.components.storage.files import read_json, read_json_lines, tree_digests

Source = Callable[..., Data]


def problems(count: int) -> list[dict[str, str]]:
    return [{"question": f"How much is {n} and 3?", "answer": f"#### {n + 3}"} for n in range(count)]


def row(prompt: str, **values: Any) -> dict[str, Any]:
    answer = "#### 5"
    texts = {"prompt": prompt, "answer": answer, "demonstration": answer, "chosen": answer, "rejected": "#### 6"}
    return {"file": "f", "row": 1, **texts, **values}


def cleaned(rows: list[dict[str, Any]], data: Data) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows that are left, and counts of those that were dropped."""
    journal = Journal(data.split, len(rows))
    return clean(raw_frame(rows).frame, data, journal).to_dicts(), journal.dropped()


def prepared(data: Data, target: Path) -> dict[str, str]:
    target.mkdir()
    prepare(data, target)
    return tree_digests(target)


def tables(target: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    return ((path.stem, read_json_lines(path)) for path in sorted(target.glob("*.jsonl")))


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared version of generated problems, with its duplicates removed."""
    target = tmp_path_factory.mktemp("version")
    prepare(Data(source=WordProblems(problems=1500, max_operand=8)), target)
    return target


def test_every_row_is_in_one_table_or_counted_as_dropped(version: Path) -> None:
    summary = read_json(version / "summary.json")
    assert summary["dropped"]["duplicates"] > 0
    assert sum(summary["rows"].values()) + sum(summary["dropped"].values()) == summary["raw_rows"] == 1500


def test_the_summary_counts_the_rows_that_the_tables_hold(version: Path) -> None:
    assert read_json(version / "summary.json")["rows"] == {name: len(rows) for name, rows in tables(version)}


def test_no_prompt_stands_in_two_tables_or_twice_in_one(version: Path) -> None:
    prompts = Counter(normalise(row["prompt"]) for _, rows in tables(version) for row in rows)
    assert max(prompts.values()) == 1


def test_tables_have_their_columns_and_are_sorted_by_id(version: Path) -> None:
    for name, rows in tables(version):
        columns = {"id", "prompt", "answer"} | ({"chosen", "rejected"} if "pairs" in name else {"demonstration"})
        assert all(set(row) == columns for row in rows), name
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_the_same_recipe_prepares_the_same_bytes(source: Source, tmp_path: Path) -> None:
    data = source(*problems(200))
    assert prepared(data, tmp_path / "one") == prepared(data, tmp_path / "two")


def test_the_order_of_the_source_does_not_matter(source: Source, tmp_path: Path) -> None:
    rows = problems(200)
    forward = prepared(source(*rows), tmp_path / "one")
    assert forward == prepared(source(*rows[::-1]), tmp_path / "two")


def test_one_changed_answer_changes_the_version(source: Source, tmp_path: Path) -> None:
    rows = problems(200)
    before = prepared(source(*rows), tmp_path / "one")
    rows[0]["answer"] = "#### 4"
    assert before != prepared(source(*rows), tmp_path / "two")


def test_more_rows_move_no_prompt_to_another_table(source: Source, tmp_path: Path) -> None:
    for name, count in (("few", 200), ("many", 400)):
        prepared(source(*problems(count)), tmp_path / name)
    few, many = ({row["id"]: name for name, rows in tables(tmp_path / n) for row in rows} for n in ("few", "many"))
    assert few.items() <= many.items()


# Cleaning


@pytest.mark.parametrize("other", [" How  many pens? ", "How many\u00a0pens?\r\n", "How many pens?  \n", "How\tmany pens?"])
def test_prompts_that_differ_in_white_space_are_one(other: str) -> None:
    assert len(set(prompt_ids([other, "How many pens?"]))) == 1


def test_an_id_is_the_prompts_place_where_no_other_prompt_shares_it() -> None:
    assert prompt_ids(["How many pens?", "How many?"]) == [place_of("How many pens?"), place_of("How many?")]
    assert place_of("Tom has 3 pens.") != place_of("Tom has 8 pens.")


@pytest.mark.parametrize("other", ["HOW MANY PENS?", "how  many\npens?", "Ｈow many pens?"])
def test_prompts_that_differ_in_case_lines_or_form_are_two_in_one_table(other: str) -> None:
    assert len(set(prompt_ids([other, "How many pens?"]))) == 2
    assert place_of(other) == place_of("How many pens?")


def test_the_survivor_of_duplicates_does_not_depend_on_their_order() -> None:
    rows = [row("How many?", answer=f"{n} - {n - 5} = 5\n#### 5") for n in (7, 5, 6)]
    forward, dropped = cleaned(rows, Data())
    backward, _ = cleaned(rows[::-1], Data())
    assert [r["answer"] for r in forward] == [r["answer"] for r in backward] == ["5 - 0 = 5\n#### 5"]
    assert dropped["duplicates"] == 2


def test_a_prompt_that_is_too_long_is_dropped_and_counted() -> None:
    rows, dropped = cleaned([row("x" * 10), row("y" * 11)], Data(max_prompt_chars=10))
    assert [r["prompt"] for r in rows] == ["x" * 10]
    assert dropped == {"too_long": 1, "duplicates": 0}


def test_odd_texts_that_are_kept_are_counted_with_their_rows() -> None:
    rows = [row("plain"), {**row("caf\u00c3\u00a9", answer="\u00c3\u00a9 #### 5"), "row": 2}]
    journal, data = Journal(Data().split, 2), Data()
    clean(raw_frame(rows).frame, data, journal)
    (step,) = (step for step in journal.steps if step["name"] == "odd_text")
    assert (step["dropped"], step["kept"]) == (0, 1)
    assert [(one["row"], one["why"]) for one in step["examples"]] == [(2, "answer: UTF-8 decoded as another encoding")]


def test_a_prompt_loses_the_space_around_it() -> None:
    assert [r["prompt"] for r in cleaned([row("  How many? \n")], Data())[0]] == ["How many?"]


def test_a_version_with_an_empty_sealed_fold_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no rows fall into .*sealed_0.*data\.split"):
        prepared(source(*problems(1)), tmp_path / "version")


def test_tables_of_a_refused_source_are_not_written(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2: prompt: null value"):
        prepared(source({"question": "q", "answer": "#### 1"}, {"question": None, "answer": "#### 1"}), tmp_path / "version")
    assert list((tmp_path / "version").iterdir()) == []


def test_real_problems_are_prepared_whole(gsm8k: Path, tmp_path: Path) -> None:
    source = JsonLines(kind="jsonl", path=str(gsm8k / "test.jsonl"))
    summary = prepare(Data(source=source, near_duplicates=None, decontaminate=None), tmp_path).summary
    assert summary["raw_rows"] == 1000
    assert summary["dropped"] == {"too_long": 0, "duplicates": 0}
