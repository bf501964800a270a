"""Words, and runs of them as numbers."""

from ratchet.components.data.words import corpus_of, run_hashes, word_hashes, words_of


def test_words_are_those_of_the_normalised_text() -> None:
    assert words_of("well-known: 5 - 3 = -2²") == ["well", "known", "5", "-", "3", "=", "-", "2²"]
    assert words_of("日本語") == ["日", "本", "語"]
    assert words_of(" ?! ") == ["?!"]


def test_runs_are_equal_where_their_words_are_and_do_not_reach_into_the_next_text() -> None:
    texts = corpus_of([["one", "two", "three", "four"], ["two", "three"], ["one"], ["three", "four", "two", "three"]])
    runs, sizes = texts.runs(range(4), 2)
    assert sizes.tolist() == [3, 1, 0, 3]
    first, two_three, three_four, again, four_last, other, last = runs.tolist()
    assert (again, last, four_last) == (two_three, two_three, three_four)
    assert len({first, two_three, three_four, other}) == 4
    assert texts.runs(range(1, 3), 2)[0].tolist() == [two_three]


def test_the_order_of_a_runs_words_counts() -> None:
    assert len(set(run_hashes(word_hashes(["a", "b", "a"]), 2).tolist())) == 2


def test_a_run_has_one_hash_in_every_corpus() -> None:
    one, other = corpus_of([["a", "b", "c"]]), corpus_of([["b", "c"]])
    assert one.runs(range(1), 2)[0].tolist()[1:] == other.runs(range(1), 2)[0].tolist()
