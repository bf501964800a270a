"""The benchmark of preparation prepares rows that repeat, with the shares that it states."""

from benchmarks.data import measure, problems


def test_the_rows_are_the_same_each_time_and_more_of_them_begin_alike() -> None:
    few, many = list(problems(100, 2)), list(problems(300, 2))
    assert few == list(problems(100, 2)) == many[:100]


def test_the_command_finds_the_copies() -> None:
    found = measure(3_000, 6)["counts"]
    assert found["raw_rows"] == 3_000
    # 3% each: 90 of 3,000, with a standard deviation of 9.
    assert 50 < found["duplicates"] < 130 and 50 < found["near_duplicates"] < 130
    assert found["overlapping"] > 0
