"""What every row says makes no two rows alike, and rows that are alike are still found."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.boilerplate import divided
from ratchet.components.data.contamination import overlaps
from ratchet.components.data.near_duplicates import near_duplicates
from ratchet.components.data.prepare import prepare
from ratchet.components.data.words import corpus_of
from ratchet.components.errors import DataError
from ratchet.components.randomness import stream
from ratchet.components.recipe import Data, Decontaminate, NearDuplicates
from ratchet.components.storage.files import read_json_lines
from tests.data import frames

NOUNS = "pens cups hats keys maps nets oars pots rugs saws tins urns vans wigs yaks zips bags cars dogs eggs".split()  # noqa: SIM905
VERBS = ["buys", "sells", "finds", "loses", "borrows", "lends", "paints", "counts", "packs", "ships", "drops", "keeps"]
SYSTEM = " ".join(f"rule{n} says that nothing is skipped" for n in range(10))  # 60 words

INSTRUCTIONS: dict[str, Callable[[str, int], str]] = {
    "7 words at the end": lambda question, n: f'{question}\nEnd your answer with "#### " and the number.',
    "12 words at the end": lambda question, n: f"{question} Think about each step and then write the answer as one number.",
    "boxed": lambda question, n: f"{question}\nReason step by step, and put your final answer within \\boxed{{}}.",
    "system prompt": lambda question, n: f"system: {SYSTEM}\n\nuser: {question}",
    "around": lambda question, n: f"{SYSTEM}\nQuestion: {question}\nNow answer. {SYSTEM}",
    "2 words": lambda question, n: f"{question} Answer now.",
}


def question(n: int, steps: int = 5) -> str:
    """A question with ``steps`` times three words of its own."""
    draws = stream(n, "question").integers(0, 60, (steps, 3)).tolist()
    done = [f"{VERBS[verb % len(VERBS)]} {number + 2} {NOUNS[noun % len(NOUNS)]}" for verb, number, noun in draws]
    return f"Person {n} {', '.join(done)}. How many are left in total?"


def edited(text: str, place: int, word: str = "other") -> str:
    """The text with another word at a place."""
    words = text.split()
    return " ".join([*words[:place], word, *words[place + 1 :]])


QUESTIONS = [question(n) for n in range(400)]
SHORT = [f"What is {n:03}{sign}?" for n in range(200) for sign in ("", "²")]  # none looks like another


def kept(tmp_path: Path, questions: list[str]) -> list[tuple[str, str]]:
    """(table, answer) of what is left; a row's group keeps it in its table, whatever stands around its question."""
    rows = [{"q": text, "a": f"#### {n}", "g": f"g{n}"} for n, text in enumerate(questions)]
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    names = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl"), "question": "q", "answer": "a", "group": "g"}
    (tmp_path / "data").mkdir()
    prepare(Data.model_validate({"source": names}), tmp_path / "data")
    tables = {path.stem: read_json_lines(path) for path in sorted((tmp_path / "data").glob("*.jsonl"))}
    return sorted((name, row["answer"]) for name, rows in tables.items() for row in rows)


@pytest.mark.parametrize("around", INSTRUCTIONS.values(), ids=INSTRUCTIONS.keys())
@pytest.mark.parametrize("questions", [QUESTIONS, SHORT, QUESTIONS[:90]], ids=["long", "short", "few"])
def test_an_instruction_leaves_the_same_rows(tmp_path: Path, questions: list[str], around: Callable[[str, int], str]) -> None:
    without = kept(tmp_path / "without", questions)
    assert len(without) > 0.9 * len(questions)
    assert kept(tmp_path / "with", [around(text, n) for n, text in enumerate(questions)]) == without


def test_an_instruction_in_the_middle_makes_no_two_rows_alike() -> None:
    prompts = {f"{n:04d}": f"Task {n}. {SYSTEM}\n\n{text}\nTask {n} ends." for n, text in enumerate(QUESTIONS)}
    assert near_duplicates(frames.prompts(prompts), NearDuplicates()) == []
    rows = frames.prompts(prompts)
    assert overlaps({"train": rows[:300], "dev": rows[300:]}, {}, Decontaminate()) == []


@pytest.mark.parametrize("around", INSTRUCTIONS.values(), ids=INSTRUCTIONS.keys())
def test_near_duplicates_and_overlap_are_found_within_an_instruction(around: Callable[[str, int], str]) -> None:
    texts = [question(n, 20) for n in range(400)]
    copies = [edited(text, 30) for text in texts[:5]]
    prompts = {f"{n:04d}": around(text, n) for n, text in enumerate([*texts, *copies])}
    found = near_duplicates(frames.prompts(prompts), NearDuplicates())
    assert [(pair.dropped, pair.kept) for pair in found] == [(f"{400 + n:04d}", f"{n:04d}") for n in range(5)]
    rows = frames.prompts(prompts)
    shared = overlaps({"train": rows[:400], "dev": rows[400:]}, {}, Decontaminate())
    assert [one.id for one in shared] == [f"{n:04d}" for n in range(5)]


@pytest.mark.parametrize("rows", [30, 300])
def test_a_data_set_of_near_duplicates_is_still_one(rows: int) -> None:
    text = question(1, 60)  # two rows with one word edited in each share about 170 of 190 runs of 5 words
    places = stream(1, "edits").integers(0, 180, rows).tolist()
    prompts = {f"{n:04d}": edited(text, place, f"other{n}") for n, place in enumerate(places)}
    assert len(prompts) - len(near_duplicates(frames.prompts(prompts), NearDuplicates())) == 1


def boilerplate(texts: list[list[str]]) -> list[list[tuple[bool, list[str]]]]:
    """The parts of each text, as words."""
    division = divided(corpus_of(texts))
    return [
        [(part.boilerplate, [text[place] for place in part.words]) for part in division.parts(number)]
        for number, text in enumerate(texts)
    ]


def test_a_few_rows_share_no_boilerplate() -> None:
    # 20 rows are not more than 20, so what they share counts; of 21 it does not.
    texts = [["begin", "the", "same", "words", "in", "each", f"own{n}"] for n in range(21)]
    assert boilerplate(texts[:20])[0] == [(True, []), (False, texts[0]), (True, [])]
    assert boilerplate(texts)[0] == [(True, texts[0][:-1]), (False, ["own0"]), (True, [])]


def test_words_are_own_where_few_go_on_differently() -> None:
    # 98 of 100 rows go on with "third": after two words fewer than a fifth leave, after three all do.
    texts = [["first", "second", "third" if n > 1 else "else", str(n)] for n in range(100)]
    assert [len(text[0][1]) for text in boilerplate(texts)][:3] == [0, 0, 3]


def test_words_between_own_words_are_boilerplate_in_the_texts_that_have_them() -> None:
    shared = ["now", "think", "about", "each", "step", "first"]
    texts = [[f"a{n}", f"b{n}", *(shared if n % 2 else []), f"c{n}"] for n in range(60)]
    between = [(False, ["a1", "b1"]), (True, shared), (False, ["c1"])]
    assert boilerplate(texts)[:2] == [[(True, []), (False, texts[0]), (True, [])], [(True, []), *between, (True, [])]]
    division = divided(corpus_of(texts))
    assert division.own_parts(range(2)).tolist() == [1, 1, 1, 2, 2, *[0] * 6, 3]


ROWS = [{"question": text, "answer": f"#### {n}"} for n, text in enumerate(QUESTIONS)]


def prepared(tmp_path: Path, rows: list[dict[str, str]], **data: Any) -> dict[str, Any]:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "data").mkdir()
    return prepare(Data.model_validate({"source": str(tmp_path / "rows.jsonl"), **data}), tmp_path / "data").summary


def test_a_step_that_drops_over_a_tenth_of_train_warns(tmp_path: Path) -> None:
    summary = prepared(tmp_path, [*ROWS, *ROWS[:100]])  # 100 of 500
    (warning,) = summary["warnings"]
    found = re.match(r"exact duplicates: (\d+) of (\d+) rows to train on were dropped\.", warning)
    assert found is not None
    dropped, of = map(int, found.groups())
    assert 0.1 < dropped / of < 0.3
    assert dropped < 100 and of < 500  # the rest is not trained on


def test_a_step_that_drops_less_does_not_warn(tmp_path: Path) -> None:
    assert "warnings" not in prepared(tmp_path, [*ROWS, *ROWS[:20]])


def test_a_refusal_names_the_step_that_took_the_rows(tmp_path: Path) -> None:
    text = f"{QUESTIONS[0]} {QUESTIONS[1]} {QUESTIONS[2]} with"
    rows = [{"question": f"{text} other{n} words {QUESTIONS[3]}", "answer": f"#### {n}"} for n in range(15)]
    with pytest.raises(
        DataError, match=r"no rows fall into .*\. near duplicates .*: 14 of 15 rows .*data\.near_duplicates"
    ) as told:
        prepared(tmp_path, rows)
    assert "Add data" not in str(told.value)
