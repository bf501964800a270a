"""What nobody would see in untrusted text is made visible."""

import pytest

from ratchet.components.text import MAX_TEXT, redacted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m", "a\\u0000b\\u001b[31m"),
        ("\u202eright to left", "\\u202eright to left"),  # the override that turns text around
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("carriage\rreturn", "carriage\\u000dreturn"),
        ("kept:\n\tעברית 👍 é", "kept:\n\tעברית 👍 é"),
        ("\ud800", "\\ud800"),  # a lone surrogate cannot be written as UTF-8
    ],
)
def test_control_and_direction_characters_are_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert visible("x" * (MAX_TEXT + 1)) == "x" * MAX_TEXT + " ... (cut)"


def test_a_uris_user_is_not_told() -> None:
    text = "API request to https://ada:token@host:5000/api failed; see https://docs.example/a@b"
    assert redacted(text) == "API request to https://***@host:5000/api failed; see https://docs.example/a@b"
