"""Of rows that are nearly the same one stays, whatever the order of the rows."""

import pytest

from ratchet.components.data.near_duplicates import bands_for, compared_texts, near_duplicates
from ratchet.components.randomness import stream
from ratchet.components.recipe import NearDuplicates
from tests.data.frames import prompts

LONG = "A train leaves the station at noon and travels two hundred miles to the north before it stops for the night"
PROMPTS = {"b": LONG, "a": f"{LONG}.", "c": LONG.replace("noon", "nine").replace("north", "south"), "d": "Something else"}


def test_of_prompts_that_are_alike_one_stays() -> None:
    found = near_duplicates(prompts(PROMPTS), NearDuplicates())
    assert [(pair.dropped, pair.kept, pair.similarity) for pair in found] == [("b", "a", 1.0)]


def test_an_evaluated_row_stays_where_a_training_row_is_like_it() -> None:
    found = near_duplicates(prompts(PROMPTS, evaluated="b"), NearDuplicates())
    assert [(pair.dropped, pair.kept) for pair in found] == [("a", "b")]


def test_the_similarity_is_the_recipes() -> None:
    # Of 19 sequences of 5 words, the empty boilerplate at both ends being words, noon is in 5 and north in 5: 9 are shared, 29
    # are in either; 9 / 29 = 0.31.
    low = near_duplicates(prompts(PROMPTS), NearDuplicates(similarity=0.2))
    assert {pair.dropped: round(pair.similarity, 2) for pair in low} == {"b": 1.0, "c": 0.31}


@pytest.mark.parametrize(("similarity", "number", "values"), [(1.0, 1, 128), (0.8, 21, 6), (0.31, 64, 2), (0.01, 128, 1)])
def test_bands_find_what_is_just_similar_enough(similarity: float, number: int, values: int) -> None:
    # 1 - (1 - 0.8**6)**21 = 0.998 and with 7 values in 18 bands 0.985; 1 - (1 - 0.31**2)**64 = 0.998.
    assert bands_for(similarity) == (number, values)


def test_a_pair_is_found_whatever_else_there_is() -> None:
    words = [f"w{n}" for n in stream(1, "words").integers(0, 500, 40_000).tolist()]
    texts = {f"{n:04d}": " ".join(words[40 * n : 40 * n + 40]) for n in range(1_000)}
    copies = {f"copy{n}": f"{texts[f'{n:04d}']} more" for n in range(10)}
    found = near_duplicates(prompts(texts | copies), NearDuplicates())
    # 42 words with the ends, 38 runs; one more word changes one run and adds one: 37 / 40.
    assert [(pair.dropped, pair.kept, pair.similarity) for pair in found] == [
        (f"copy{n}", f"{n:04d}", pytest.approx(37 / 40)) for n in range(10)
    ]


def test_boilerplate_is_one_word_and_a_short_text_is_filled_up() -> None:
    texts = compared_texts([f"Read this and answer: own{n}" for n in range(30)], 5)
    assert [texts.words(n) for n in (0, 29)] == [["Read this and answer", f"own{n}", "", " ", " "] for n in (0, 29)]
