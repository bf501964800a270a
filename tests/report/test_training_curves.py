"""Curves of training: places by hand, and which are drawn."""

import re

from ratchet.components.report.training_curves import FOOT, LEFT, RIGHT, TOP, curves

POINTS = [(0, {"gold": 0.0, "proxy": 5.0}), (2, {"gold": 1.0, "proxy": 7.0, "once": 1.0}), (4, {"gold": 0.5})]
TITLES = {"gold": "gold", "once": "once", "absent": "absent"}


def test_a_line_goes_through_its_points_on_a_scale_from_least_to_greatest() -> None:
    (curve,) = curves(POINTS, TITLES, ("none", "gold"), None)
    middle = (LEFT + RIGHT) / 2
    assert re.findall(r'points="([^"]*)"', curve.drawn) == [
        f"{LEFT}.0,{FOOT}.0 {middle},{TOP}.0 {RIGHT}.0,{(TOP + FOOT) / 2}",
    ]
    assert 'aria-label="gold: 0 at step 0, 0.5 at step 4"' in curve.drawn


def test_the_second_line_has_its_own_scale_and_the_chosen_step_its_place() -> None:
    (curve,) = curves(POINTS, TITLES, ("proxy", "gold"), 2)
    assert f'class="curve second" points="{LEFT}.0,{FOOT}.0 {(LEFT + RIGHT) / 2},{TOP}.0"' in curve.drawn
    assert f'class="chosen" x1="{(LEFT + RIGHT) / 2}"' in curve.drawn


def test_a_flat_line_is_in_the_middle() -> None:
    (curve,) = curves([(1, {"gold": 3.0}), (2, {"gold": 3.0})], TITLES, ("none", "gold"), None)
    assert f"{LEFT}.0,{(TOP + FOOT) / 2} " in curve.drawn
