"""The first picture: lengths by hand, an accessible name, and nothing untrusted that is not escaped."""

import re

from ratchet.components.report.effect import LEFT, RIGHT, Effect, picture
from ratchet.components.statistics.intervals import Interval

BEFORE, AFTER = Interval(0.5, 0.4, 0.6, 100), Interval(0.75, 0.65, 0.85, 100)
EFFECT = Effect("accuracy", "on 100 unseen examples", BEFORE, AFTER, True, Interval(0.25, 0.15, 0.35, 100), 0.1)


def numbers(pattern: str, text: str) -> list[float]:
    return [float(found) for found in re.findall(pattern, text)]


def test_bars_are_as_long_as_their_shares() -> None:
    widths = numbers(r'<rect class="\w+" x="\d+" y="\d+" width="([\d.]+)"', picture(EFFECT))
    assert widths == [0.5 * (RIGHT - LEFT), 0.75 * (RIGHT - LEFT)]


def test_the_line_of_what_was_asked_lies_left_of_the_gain_only_if_less_was_asked() -> None:
    def places(asked: float) -> tuple[float, float]:
        drawn = picture(EFFECT.__class__(**{**EFFECT.__dict__, "asked": asked}))
        return numbers(r'class="asked" x1="([\d.]+)"', drawn)[0], numbers(r'<circle cx="([\d.]+)"', drawn)[0]

    (line, gain), (far, same) = places(0.1), places(0.3)
    assert line < gain
    assert far > same
    assert all(LEFT <= place <= RIGHT for place in (line, gain, far, same))


def test_the_line_is_labelled_by_what_the_gain_must_exceed() -> None:
    assert ">must exceed 0.1</text>" in picture(EFFECT)
    assert ">no gain (0)</text>" in picture(EFFECT.__class__(**{**EFFECT.__dict__, "asked": 0.0}))


def test_measures_that_are_no_shares_fill_the_scale_with_the_largest_bound() -> None:
    effect = Effect("mean score", "on dev", Interval(2.0, 1.0, 3.0, 9), Interval(4.0, 3.0, 8.0, 9), False)
    drawn = picture(effect)
    assert numbers(r'class="new" x="\d+" y="\d+" width="([\d.]+)"', drawn) == [0.5 * (RIGHT - LEFT)]
    assert "gain" not in drawn


def test_it_says_in_words_what_it_shows() -> None:
    assert 'aria-label="accuracy, on 100 unseen examples: 0.500 before, 0.750 after"' in picture(EFFECT)
    assert "<script" not in picture(Effect("<script>", "", BEFORE, AFTER, True))
