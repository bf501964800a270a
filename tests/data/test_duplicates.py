"""Of rows that are the same one stays, whatever the order of the rows."""

from ratchet.components.data.duplicates import unique_rows
from tests.data.frames import frame


def test_preferences_of_one_prompt_stay_and_equal_ones_do_not() -> None:
    pair = {"shape": "pair", "chosen": "right", "rejected": "wrong"}
    rows = unique_rows(frame(pair, {**pair, "rejected": "worse"}, {**pair, "chosen": " right"}, {"prompt": "q "}))
    assert sorted(rows.select("shape", "rejected").rows()) == [("pair", "worse"), ("pair", "wrong"), ("problem", None)]
