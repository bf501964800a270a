"""Figures of a retired fold in words."""

from ratchet.components.report.sealed import sealed_rows


def test_both_arms_stand_in_one_row_and_every_label_is_in_words() -> None:
    figures = {
        "challenger_accuracy": 0.94, "incumbent_accuracy": 0.61, "gain": 0.33, "gain_low": 0.2, "gain_high": 0.4,
        "items": 100.0, "wins": 35.0, "losses": 2.0, "p_value": 0.00123456,
        "challenger_length on sealed": 11.5, "incumbent_length on sealed": 12.0,
        "challenger_accuracy on guard": 0.5, "p_value_with_guards": 1.0,
    }  # fmt: skip
    assert [tuple(row.values()) for row in sealed_rows(figures)] == [
        ("accuracy", "0.61", "0.94"),
        ("unseen examples", "", "100"),
        ("right only after", "", "35"),
        ("right only before", "", "2"),
        ("p-value of the test", "", "0.001235"),
        ("mean length (tokens)", "12", "11.5"),
        ("accuracy, guard", "-", "0.5"),
    ]


def test_of_several_primary_measures_each_has_its_p_value() -> None:
    rows = sealed_rows({"gain_macro_f1": 0.1, "p_value_macro_f1": 0.5, "p_value": 0.5})
    assert [row["label"] for row in rows] == ["p-value of the test, macro-F1", "p-value of the test"]
