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


@pytest.mark.parametrize(
    "text",
    [
        "GET https://judge/v1?model=m&token=hunter2-abc failed",
        "api_key=hunter2-abc, model=m",
        'body {"api_key": "hunter2-abc", "n": 1}',
        "{'password': 'hunter2-abc'}",
        "Authorization: Bearer hunter2-abc",
        "headers={'Authorization': 'Basic hunter2-abc'}",
        "sent Bearer hunter2-abc to it",
        "MLFLOW_TRACKING_PASSWORD=hunter2-abc",
        "JUDGE_TOKEN=hunter2-abc",
        "aws_secret_access_key = hunter2-abc",
        "https://bucket/x?X-Amz-Signature=hunter2-abc&y=1",
    ],
)
def test_faults_a_credential_by_its_name_is_not_told(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize("key", ["sk-" + "a1" * 12, "hf_" + "a1" * 12, "ghp_" + "a1" * 12, "AKIA" + "A1" * 8])
def test_a_key_of_a_well_known_form_is_not_told(key: str) -> None:
    assert redacted(f"refused: {key}.") == "refused: ***."


@pytest.mark.parametrize(
    "text",
    [
        "policy.max_new_tokens=128 is above the limit: write tokens: 64",
        "eos_token='<eos>' and pad_token: <pad>; tokenizer: fast",
        "wrong signature: f(a, b); key: reward.function; keys=3",
    ],
)
def test_what_our_own_messages_say_of_tokens_and_keys_stays(text: str) -> None:
    assert redacted(text) == text
