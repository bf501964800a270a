"""Curves as SVG: where points are, what ticks are, and that names are escaped."""

import re
from xml.etree import ElementTree

import pytest

from ratchet.components.report.bands import FOOT, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Panel, Point, drawn, nice_ticks, picture

LINE = [Point(0, 0.0, 0.0, 0.0), Point(10, 1.0, 0.5, 1.0)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.58, 0.91, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (0, 20480, [0, 5000, 10000, 15000, 20000, 25000]),
        (0.5, 0.5, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (-0.4, 1.2, [-0.5, 0, 0.5, 1, 1.5]),
    ],
)
def test_ticks_are_round_and_reach_around_the_values(low: float, high: float, ticks: list[float]) -> None:
    found = nice_ticks(low, high)
    assert found[0] <= low and found[-1] >= high
    assert low == high or found == pytest.approx(ticks)


def test_a_line_begins_and_ends_in_the_corners_of_its_panel() -> None:
    svg = str(drawn(Panel("Accuracy", "completions", [LINE, []]), ("a", "b")))
    (line,) = re.findall(r'<path d="M([^"Z]*)" fill="none"', svg)
    assert line == f"{LEFT}.0 {HEIGHT - FOOT}.0L{WIDTH - RIGHT}.0 {TOP}.0"
    (band,) = re.findall(r'<path d="M([^"]*)Z"', svg)
    assert len(band.split("L")) == 4


def test_a_picture_is_one_document_that_loads_nothing_and_escapes_names() -> None:
    svg = str(picture([Panel("A", "x", [LINE, LINE])] * 3, ("<b>", "ppo")))
    root = ElementTree.fromstring(svg)  # noqa: S314 - written above
    assert root.get("height") == str(2 * HEIGHT + 24)
    assert "<b>" not in svg and "href" not in svg
    assert svg.count('stroke-dasharray="6 3"') == 4  # of the second side: the key's, and one per panel
