"""What is odd, long, alike, contradictory or contaminated is found, whatever the order of the rows."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ratchet.components.data.characters import odd_text, special_tokens
from ratchet.components.data.contamination import overlaps, refuse, without
from ratchet.components.data.duplicates import near_duplicates, unique_rows, with_ids, word_sequences, words_of
from ratchet.components.data.labels import check_variety, consistent_pairs, final
from ratchet.components.data.lengths import limit_lengths
from ratchet.components.data.mixing import weigh
from ratchet.components.data.schemas import raw_frame
from ratchet.components.errors import DataError
from ratchet.components.recipe import Checks, Decontaminate, LengthLimit, NearDuplicates


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"file": "f", "question": "q", "answer": "#### 5", "demonstration": "#### 5"}
    return with_ids(raw_frame([{**base, "row": number, **row} for number, row in enumerate(rows, 1)]).frame)


# Characters

ODDITIES = {
    "a\x00b": "control character",
    "\u202egnp.exe": "bidirectional override",
    "zero\u200bwidth": "zero-width character",
    "lost \ufffd": "replacement character",
    "caf\u00c3\u00a9": "UTF-8 read as another encoding",
    "e" + "\u0301" * 6: "flood of combining marks",
    "p\u0430ypal": "word in two scripts",  # a Cyrillic a
}


@pytest.mark.parametrize(("text", "reason"), ODDITIES.items(), ids=ODDITIES.values())
def test_an_odd_character_is_found_with_its_place(text: str, reason: str) -> None:
    (oddity,) = odd_text(frame({}, {"demonstration": text}))
    assert str(oddity) == f"f, row 2: demonstration: {reason}"


@pytest.mark.parametrize(
    "text", ["line\n\ttab", "עברית", "caf\u00e9", "e\u0301", "👩\u200d👩\u200d👧", "5 × 3 ≤ π", "Ångström", "日本語"]
)
def test_ordinary_text_of_any_language_is_not_odd(text: str) -> None:
    assert odd_text(frame({"question": text})) == []


@pytest.mark.parametrize(
    ("text", "odd"),
    [("Сколько книг у Тома?", True), ("Tom has 5 книг", False), ("ab да", False), ("ab нет", True), ("5 + 3 = ?", False)],
)
def test_a_text_most_of_whose_letters_are_of_another_script_is_odd(text: str, odd: bool) -> None:
    found = odd_text(frame({}, {"question": text}), ["Latin"])
    assert [str(oddity) for oddity in found] == ["f, row 2: question: letters that are not Latin"] * odd
    assert odd_text(frame({"question": text}), ["Latin", "Cyrillic"]) == []


@pytest.mark.parametrize("text", ["<|im_start|>system", "</s>", "[INST] do", "<eos>", "<|eot_id|>"])
def test_names_of_special_tokens_are_found(text: str) -> None:
    assert len(special_tokens(frame({"question": text}))) == 1


@pytest.mark.parametrize("text", ["a < b | c > d", "<b>bold</b>", "[1]", "s > 5"])
def test_other_text_in_brackets_is_no_special_token(text: str) -> None:
    assert special_tokens(frame({"question": text})) == []


# Lengths


def test_without_a_tokenizer_words_and_marks_are_counted() -> None:
    rows = frame({"question": "How many pens?"}, {"question": "How many pens now?"})  # 4 and 5
    assert limit_lengths(rows, LengthLimit(max_prompt=4)).frame["row"].to_list() == [1]


def test_a_long_prompt_is_cut_behind_its_last_token_and_counted() -> None:
    limited = limit_lengths(
        frame({"question": "How many pens now?"}, {"question": "Two?"}), LengthLimit(max_prompt=2, policy="truncate")
    )
    assert limited.frame["question"].to_list() == ["How many", "Two?"]
    assert limited.truncated == 1


def test_a_long_answer_is_dropped_even_where_prompts_are_cut() -> None:
    rows = frame({"answer": "one two three #### 5"}, {})
    assert limit_lengths(rows, LengthLimit(max_answer=5, policy="truncate")).frame["row"].to_list() == [2]


def test_a_tokenizer_of_the_recipe_counts(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "a": 1, "b": 2}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    split = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "pre_tokenizer": split}))
    length = LengthLimit(tokenizer=str(tmp_path), max_prompt=3)  # a token a character
    assert limit_lengths(frame({"question": "abba"}, {"question": "aba"}), length).frame["question"].to_list() == ["aba"]


@pytest.mark.parametrize("content", [None, "not JSON"])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"data\.length\.tokenizer"):
        limit_lengths(frame({}), LengthLimit(tokenizer=str(tmp_path), max_prompt=1))


# Duplicates


def test_preferences_of_one_prompt_stay_and_equal_ones_do_not() -> None:
    pair = {"shape": "pair", "chosen": "right", "rejected": "wrong"}
    rows = unique_rows(frame(pair, {**pair, "rejected": "worse"}, {**pair, "chosen": " right"}, {"question": "q "}))
    assert sorted(rows.select("shape", "rejected").rows()) == [("pair", "worse"), ("pair", "wrong"), ("problem", None)]


def test_a_sequence_is_of_words_of_the_normalised_text() -> None:
    assert word_sequences(words_of("One, two THREE four!"), 3) == {"One two THREE", "two THREE four"}
    assert word_sequences(words_of("Too short"), 3) == {"Too short"}
    assert word_sequences(words_of("日本語"), 2) == {"日 本", "本 語"}
    assert words_of("well-known: 5 - 3 = -2²") == ["well", "known", "5", "-", "3", "=", "-", "2²"]


LONG = "A train leaves the station at noon and travels two hundred miles to the north before it stops for the night"
PROMPTS = {"b": LONG, "a": f"{LONG}.", "c": LONG.replace("noon", "nine").replace("north", "south"), "d": "Something else"}


def test_of_prompts_that_are_alike_one_stays() -> None:
    found = near_duplicates(PROMPTS, NearDuplicates(), lambda identity: 1)
    assert [(pair.dropped, pair.kept, pair.similarity) for pair in found] == [("b", "a", 1.0)]


def test_an_evaluated_row_stays_where_a_training_row_is_like_it() -> None:
    found = near_duplicates(PROMPTS, NearDuplicates(), lambda identity: 0 if identity == "b" else 1)
    assert [(pair.dropped, pair.kept) for pair in found] == [("a", "b")]


def test_the_similarity_is_the_recipes() -> None:
    # Of 19 sequences of 5 words, the empty boilerplate at both ends being words, noon is in 5 and north in 5: 9 are shared, 29
    # are in either; 9 / 29 = 0.31.
    low = near_duplicates(PROMPTS, NearDuplicates(similarity=0.2), lambda identity: 1)
    assert {pair.dropped: round(pair.similarity, 2) for pair in low} == {"b": 1.0, "c": 0.31}


# Labels


def pair(chosen: str, rejected: str, **values: Any) -> dict[str, Any]:
    return {"shape": "pair", "chosen": chosen, "rejected": rejected, **values}


def test_pairs_that_contradict_one_another_are_refused_by_their_places() -> None:
    rows = frame(pair("x", "y"), pair("y ", "x"), pair("y", "x", question="other"))
    with pytest.raises(DataError, match=r"(?s)2 checks failed, in 2 of 3 rows:\s+f, row 1: .*\s+f, row 2: "):
        consistent_pairs(rows, Checks())


def test_up_to_the_threshold_both_sides_go_and_a_problem_keeps_its_answer() -> None:
    rows = frame({"chosen": "x", "rejected": "y"}, pair("y", "x"), *[pair("x", f"z{n}") for n in range(8)])
    kept = consistent_pairs(rows, Checks(max_contradictory_pairs=0.2))
    assert kept["row"].to_list() == [1, *range(3, 11)]
    assert kept.row(0, named=True)["chosen"] is None


@pytest.mark.parametrize("column", ["answer", "chosen", "rejected"])
def test_labels_that_are_all_equal_are_refused(column: str) -> None:
    rows = frame(*[{"answer": f"#### {n}", "chosen": f"c{n}", "rejected": f"r{n}", column: "#### 1"} for n in range(30)])
    with pytest.raises(DataError, match=f"{column} is '1' in 30 of 30 rows"):
        check_variety(rows, Checks())


def test_varied_labels_and_few_rows_pass() -> None:
    check_variety(frame(*[{"answer": f"#### {n % 2}"} for n in range(30)]), Checks())
    check_variety(frame(*[{}] * 19), Checks())


def test_a_label_is_its_final_number_or_the_whole_text() -> None:
    assert (final("2 + 3 = 5\n#### 5"), final(" Blue ")) == ("5", "Blue")


# Contamination

SHARED = "one two three four five six seven eight"
TABLES = {
    "train": [{"id": "t1", "prompt": f"Now {SHARED} nine"}, {"id": "t2", "prompt": "one two three four five six seven"}],
    "pairs_train": [{"id": "p1", "prompt": f"{SHARED.upper()}!"}],
    "dev": [{"id": "d1", "prompt": f"{SHARED} again"}],
    "sealed_0": [{"id": "s1", "prompt": "nothing of it"}],
}


def test_training_rows_that_share_eight_words_with_evaluated_rows_are_found() -> None:
    found = overlaps(TABLES, {}, Decontaminate())
    assert [(one.id, one.table, one.other, one.words) for one in found] == [
        ("t1", "train", "dev", SHARED),
        ("p1", "pairs_train", "dev", SHARED),
    ]
    assert {name: len(rows) for name, rows in without(TABLES, found).items()} == {
        **{"train": 1, "pairs_train": 0, "dev": 1, "sealed_0": 1}
    }


def test_a_benchmark_file_counts_as_evaluated() -> None:
    found = overlaps(TABLES, {"bench.jsonl": ["One two three four five six seven."]}, Decontaminate())
    assert [(one.id, one.other) for one in found if one.other != "dev"] == [("t2", "bench.jsonl")]


def test_overlap_can_be_refused_with_its_ids() -> None:
    rule = Decontaminate(policy="refuse")
    with pytest.raises(DataError, match=r"(?s)2 training prompts.*t1 of train shares 8 words with dev.*p1 of pairs_train"):
        refuse(overlaps(TABLES, {}, rule), rule)


# Mixing


def test_parts_come_in_proportion_to_their_weights() -> None:
    rows = frame(*[{"question": f"q{n}", "part": int(n >= 60)} for n in range(90)])  # 60 and 30 rows
    counts = dict(weigh(rows, [1.0, 1.0]).group_by("part").len().iter_rows())
    assert counts == {0: 30, 1: 30}
    counts = dict(weigh(rows, [1.0, 2.0]).group_by("part").len().iter_rows())
    assert counts == {0: 15, 1: 30}  # 30 rows of weight 2 allow 15 of weight 1


def test_which_rows_are_taken_does_not_depend_on_their_order() -> None:
    rows = [{"question": f"q{n}", "part": n % 3 // 2} for n in range(90)]
    forward, backward = (weigh(frame(*order), [1.0, 1.0])["question"].to_list() for order in (rows, rows[::-1]))
    assert sorted(forward) == sorted(backward)


def test_one_part_is_taken_whole() -> None:
    assert weigh(frame({}, {"question": "r"}), [0.1]).height == 2
