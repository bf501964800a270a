"""Of rows that are the same, or nearly, one stays, whatever the order of the rows."""

from ratchet.components.data.duplicates import near_duplicates, unique_rows, word_sequences, words_of
from ratchet.components.recipe import NearDuplicates
from tests.data.frames import frame


def test_preferences_of_one_prompt_stay_and_equal_ones_do_not() -> None:
    pair = {"shape": "pair", "chosen": "right", "rejected": "wrong"}
    rows = unique_rows(frame(pair, {**pair, "rejected": "worse"}, {**pair, "chosen": " right"}, {"prompt": "q "}))
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
