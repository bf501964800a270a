"""The curves of a reward's validation."""

from ratchet.components.report.reward import reward_plots


def test_curves_are_drawn_where_there_are_any() -> None:
    assert reward_plots({"best_of_n": []}) == []
    points = [{"n": n, "gold": 0.5, "gold_low": 0.4, "gold_high": 0.6, "proxy": 0.7} for n in (1, 2)]
    assert reward_plots({"best_of_n": points, "reliability": [{"confidence": 0.7, "accuracy": 0.6}]})
