"""A source yields raw rows with their place, or names the file and line that is no row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.sources import read_rows, source_files, weigh
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, JsonLines, WordProblems
from ratchet.components.recipe.sources import Folder
from tests.data.frames import frame

ROW = {"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
Source = Callable[..., Data]


def final(text: str) -> int:
    return int(text.rpartition("#### ")[2])


def test_a_line_becomes_a_row_with_its_file_and_number(source: Source, tmp_path: Path) -> None:
    first, second = read_rows(source(ROW, {**ROW, "question": "3 + 3?"}))
    assert (first["file"], first["row"], first["prompt"]) == (str(tmp_path / "source.jsonl"), 1, "2 + 3?")
    assert second["row"] == 2


def test_the_answer_is_the_demonstration_where_there_is_no_other(source: Source) -> None:
    plain, own = read_rows(source(ROW, {**ROW, "demonstration": "5, I think\n#### 5"}))
    assert plain["demonstration"] == ROW["answer"]
    assert own["demonstration"] == "5, I think\n#### 5"


def test_columns_can_have_other_names(source: Source) -> None:
    (row,) = read_rows(source({"ask": "2 + 3?", "say": "#### 5"}, question="ask", answer="say"))
    assert (row["prompt"], row["answer"]) == ("2 + 3?", "#### 5")


def test_a_limit_takes_the_first_rows(source: Source) -> None:
    assert [row["row"] for row in read_rows(source(ROW, ROW, ROW, limit=2))] == [1, 2]


def test_word_problems_come_as_numbered_rows() -> None:
    rows = list(read_rows(Data(source=WordProblems(problems=3))))
    assert [(row["file"], row["row"]) for row in rows] == [("word_problems", 1), ("word_problems", 2), ("word_problems", 3)]


# Pairs


def test_a_pair_of_the_source_is_kept(source: Source) -> None:
    (row,) = read_rows(source({**ROW, "chosen": "#### 5", "rejected": "#### 6"}))
    assert (row["chosen"], row["rejected"]) == ("#### 5", "#### 6")


def test_a_derived_pair_differs_from_the_answer_in_its_last_number_alone(source: Source) -> None:
    (row,) = read_rows(source({**ROW, "answer": "900 + 100 = 1,000\n#### 1,000"}).model_copy(update={"pair_noise": 0.0}))
    assert row["chosen"] == row["answer"]
    assert row["rejected"].startswith("900 + 100 = 1,000\n#### ")
    assert abs(final(row["rejected"]) - 1000) in {1, 2, 10}


@pytest.mark.parametrize("answer", ["#### 2.5", "no number", "#### five"])
def test_no_pair_is_derived_from_an_answer_that_is_no_integer(source: Source, answer: str) -> None:
    (row,) = read_rows(source({**ROW, "answer": answer}))
    assert (row["chosen"], row["rejected"]) == (None, None)


def test_a_derived_pair_depends_on_the_row_and_not_on_its_place(source: Source) -> None:
    rows = [{"question": f"{n} + 3?", "answer": f"#### {n + 3}"} for n in range(50)]
    forward = {row["prompt"]: row["rejected"] for row in read_rows(source(*rows))}
    backward = {row["prompt"]: row["rejected"] for row in read_rows(source(*rows[::-1]))}
    assert forward == backward


def test_a_file_of_pairs_follows_the_problems(source: Source, tmp_path: Path) -> None:
    pair = {"question": "1 + 1?", "chosen": "#### 2", "rejected": "#### 3"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    problem, preference = read_rows(source(ROW, pairs=str(tmp_path / "pairs.jsonl")))
    assert problem["chosen"] is None
    assert (preference["chosen"], preference["rejected"], preference["answer"]) == ("#### 2", "#### 3", "#### 2")
    assert preference["file"].endswith("pairs.jsonl")


def test_every_real_problem_gets_a_near_miss_of_its_own_answer(gsm8k: Path) -> None:
    data = Data(source=JsonLines(kind="jsonl", path=str(gsm8k / "test.jsonl")), pair_noise=0.0)
    rows: list[dict[str, Any]] = list(read_rows(data))
    assert len(rows) == 1000
    assert all(row["chosen"] == row["answer"] != row["rejected"] for row in rows)


# Mixing


def test_parts_come_in_proportion_to_their_weights() -> None:
    rows = frame(*[{"prompt": f"q{n}", "part": int(n >= 60)} for n in range(90)])  # 60 and 30 rows
    counts = dict(weigh(rows, [1.0, 1.0]).group_by("part").len().iter_rows())
    assert counts == {0: 30, 1: 30}
    counts = dict(weigh(rows, [1.0, 2.0]).group_by("part").len().iter_rows())
    assert counts == {0: 15, 1: 30}  # 30 rows of weight 2 allow 15 of weight 1


def test_which_rows_are_taken_does_not_depend_on_their_order() -> None:
    rows = [{"prompt": f"q{n}", "part": n % 3 // 2} for n in range(90)]
    forward, backward = (weigh(frame(*order), [1.0, 1.0])["prompt"].to_list() for order in (rows, rows[::-1]))
    assert sorted(forward) == sorted(backward)


def test_one_part_is_taken_whole() -> None:
    assert weigh(frame({}, {"prompt": "r"}), [0.1]).height == 2


def test_a_file_whose_name_does_not_say_its_kind_is_refused_with_how_to_name_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text('{"question": "1 + 1", "answer": "2"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.txt is a file whose kind .*data\.source=\{kind: jsonl, path: .*rows\.txt\}"):
        source_files(Folder(kind="folder", path=str(path)))
