"""Credentials are hidden wherever they stand, and ordinary text stays, in time linear in the text."""

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components import credentials
from ratchet.components.credentials import is_credential, keep_secret, secrets_of
from ratchet.components.text import redacted, redacted_values, visible


@pytest.fixture(autouse=True)
def given_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests of this process were told to keep secret does not count here."""
    monkeypatch.setattr(credentials, "_given", set())


SECRET = st.text("abcdefghijkmnopqrstuvwxyzABCDEFGHJK23456789_.~!-", min_size=8, max_size=24).map(lambda text: f"7Q{text}q7")
PLACES = [
    "GET https://ada:{}@judge.example/v1 failed",
    "postgresql+psycopg://ada:{}@db:5432/ledger",
    "postgresql://ada:abc@{}/x@db:5432/ledger",  # not percent-encoded
    "https:\\/\\/ada:{}@judge.example",  # JSON with escaped slashes
    "connect to ada:{}@db.example:5432 refused",
    "ada:{}@localhost",
    "https%3A%2F%2Fada%3A{}%40judge.example%2Fv1",
    "https%253A%252F%252Fada%253A{}%2540judge.example",  # encoded twice
    "https://judge.example/v1?model=m&token={}&n=1",
    "https://judge.example/?sig={}",
    "https%3A%2F%2Fjudge.example%3Ftoken%3D{}",
    "token={}",
    "access_token: {}",
    "Authorization: Bearer {}",
    "-H 'Authorization: Token {}'",
    '{{"headers": {{"authorization": "{}"}}}}',
    '{{"api_key": "{}"}}',
    '{{\\"password\\": \\"{}\\"}}',  # JSON within JSON
    "{{'client_secret': '{}'}}",
    "MLFLOW_TRACKING_PASSWORD={}",
    "JUDGE_TOKEN={}",
    "MLFLOW_FLASK_SERVER_SECRET_KEY={}",
    "slack_token={}",
    "bot_token: {}",
    "Server=db;Uid=ann;Pwd={};",
    "Endpoint=x;SharedAccessSignature={}",
    "psql --password {} -h db",
    "yaml\nsmtp:\n  user: ada\n  pass: {}\nend",
    "- pwd: {}\n",
    '{{"user": "ada", "pass": "{}"}}',
    '{{\\"pass\\": \\"{}\\"}}',
    "password: {} is wrong",
    "ada:{}@10.0.0.1/db",
    "https://outlook.office.com/webhook/{}",
    "multi\nline\npassword:\n  {}\nend",
    "https://hooks.slack.com/services/T0/B0/{}",
    "https://discord.com/api/webhooks/123/{}",
    "https://contoso.webhook.office.com/webhookb2/{}",
    "slack://T1/B2/{}",
    "mailto://ada:{}@mail.example",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n{}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("place", PLACES)
@given(secret=SECRET)
def test_a_secret_in_its_place_is_hidden_and_what_stands_around_it_stays(place: str, secret: str) -> None:
    shown = redacted(f"before {place.format(secret)} after")
    assert secret not in shown
    assert "***" in shown
    assert shown.startswith("before ")
    assert shown.endswith("after") or "://" in place


@given(secret=st.from_regex(r"\A[a-z]{7,12}\Z"), name=st.sampled_from(["password", "api_key", "client secret", "passphrase"]))
def test_a_word_is_a_secret_unless_it_is_the_begin_of_a_sentence(secret: str, name: str) -> None:
    assert secret not in redacted(f"{name}: {secret} is wrong")
    assert redacted(f"passphrase: the {secret} is wrong").startswith("passphrase: ***")


@pytest.mark.parametrize(
    "key",
    ["pnu_" + "a1" * 18, "pnb_" + "a1" * 18, "glpat-" + "a1" * 10, "xoxb-" + "1a" * 10,
     "eyJ" + "a1" * 8 + ".eyJ" + "b2" * 8 + ".c3",
     "ASIA" + "A1" * 8, "AIza" + "a1" * 17, "npm_" + "a1" * 18, "123456789:AA" + "a1" * 16],
)  # fmt: skip
def test_a_key_of_a_known_form_is_hidden(key: str) -> None:
    assert redacted(f"refused: {key}, sorry") == "refused: ***, sorry"
    assert is_credential(key)


ORDINARY = [
    "version 3 refused: gain 0.12 [0.03, 0.21]; see docs/gates.md",
    "https://docs.example/a@b?x=1, http://host:80/a@b, file:///tmp/a.html",
    "http://127.0.0.1:4200/flow-runs/flow-run/01a2",
    "a@b.example, mailto:ada@example.com, from:ada@example.com",
    "at 10:30 git@github.com:a/b.git, python:3.11@sha256:abc",
    "3//4@2, per_token: 0.5; loss_per_token=0.25 pass=5 special_token: <|im_start|> id_token: 5",
    "def f(password: str, api_key: str = Field()) sha256:abcdef@host.com line://chart",
    "pass --token TOKEN, or --secret NAME_OF_IT",
    "eos_token=<eos> max_new_tokens=128 tokens: 3; tokenizer: fast",
    "key=3 keys: 4, s3://bucket/key?versionId=1",
    "secrets and passwords; the author wrote it",
    "password: it is required, api_key: must be set, and the secret: the one of that user",
    "first pass: compute, second pass: compare; pass: 3, bypass: nothing",
    "//comment x//y 50% %20 %2F a%40b C:\\data\\x skew-1",
    "the bearer of news; Authorization needs a token",
    "token: JUDGE_TOKEN, password=${PW}, api_key: null",
    '{"token": "JUDGE_TOKEN", "password": null}',
    "sha256:0123456789abcdef, sqlite:////tmp/x.db, localhost:5432",
]


@given(st.lists(st.sampled_from(ORDINARY), max_size=8), st.sampled_from([" ", "; ", "\n", '"', ", "]))
def test_ordinary_text_stays(phrases: list[str], between: str) -> None:
    text = between.join(phrases)
    assert redacted(text) == text


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", "abc/def+ghi12", "abc/def+ghi12"),
        ("MLFLOW_TRACKING_PASSWORD", "hunter2x", "hunter2x"),
        ("RATCHET_LEDGER_URL", "postgresql://ada:hunter%402x@db/ledger", "hunter@2x"),
        ("PREFECT_API_AUTH_STRING", "admin:hunter2x", "hunter2x"),
        ("PGPASSWORD", "hunter2x", "hunter2x"),
        ("MYSQL_PWD", "hunter2x", "hunter2x"),
        ("RATCHET_HOOK_KEY", "hunter2x", "hunter2x"),
        ("SLACK_WEBHOOK_URL", "https://chat.example/hook/abcdef", "https://chat.example/hook/abcdef"),
    ],
)
def test_what_the_environment_holds_is_hidden_in_each_form(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, secret: str
) -> None:
    monkeypatch.setenv(name, value)
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert form not in redacted(f"it says {form} there")
    assert redacted(f"it says {secret}.") == "it says ***."


def test_basic_authentication_of_the_environments_user_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter2x")
    encoded = base64.b64encode(b"admin:hunter2x").decode()
    assert encoded not in redacted(f"sent {encoded}")


def test_short_values_files_and_other_names_are_not_looked_for() -> None:
    harmless = {
        "API_TOKEN": "abc12",
        "DB_PASSWORD": "123456789",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/file",
        "GOOGLE_APPLICATION_CREDENTIALS": "/dev/null",
        "TOKENIZERS_PARALLELISM": "parallel",
        "EOS_TOKEN": "<|im_end|>",
        "AWS_ACCESS_KEY_ID": "ratchet-runs",
        "POSTGRES_PASSWORD": "postgres",
        "OLDPWD": "/srv/there",
        "PWD": "/srv/here",
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    }
    assert secrets_of(harmless) == frozenset()


def test_a_short_value_is_no_part_of_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "refuse7")
    assert redacted("refuse77: refuse7") == "refuse77: ***"


def test_json_stays_json() -> None:
    text = json.dumps({"a": "https://u:hunter2x@h/", "password": "hunter2x", "inner": json.dumps({"secret": "hunter2x"})})
    assert "hunter2x" not in redacted(text)
    assert json.loads(json.loads(redacted(text))["inner"]) == {"secret": "***"}
    assert redacted_values({"password": "hunter2x", "token": "JUDGE_TOKEN", "eos_token": "<eos>", "n": 1}) == {
        "password": "***", "token": "JUDGE_TOKEN", "eos_token": "<eos>", "n": 1,
    }  # fmt: skip
    assert redacted_values({"a": ["//u:hunter2x@h", 1], "b": None}) == {"a": ["//***@h", 1], "b": None}


def test_a_text_is_redacted_before_it_is_cut() -> None:
    assert "hunter2" not in visible("x" * 1_980 + " https://ada:hunter2xxxxxxxxxxxxxxxx@h")


@pytest.mark.parametrize(
    "piece",
    ["//", "a:", "%2F", "\\", '"', "password", 'password="', "token=", 'token\\":\\"', "-----BEGIN PRIVATE KEY-----", "u:ppp@",
     "//a:b", "eyJ", "authorization: ", "A_TOKEN", "password        ", "https://x.y/z?a=b&token=c&",
     "bearer ", "--token ", "--a", "-", "slack:", "a.", "%25"],
)  # fmt: skip
def test_the_time_is_linear_whatever_the_text(piece: str) -> None:
    """A quadratic pattern takes minutes here."""
    text = piece * (100_000 // len(piece))
    before = time.process_time()
    redacted(text)
    assert time.process_time() - before < 3


def test_a_value_that_a_recipe_names_is_hidden_whatever_its_variable_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.components.credentials._given", set())
    keep_secret("https://n8n.example/hook/a1b2c3")
    assert redacted("cannot reach https://n8n.example/hook/a1b2c3 now") == "cannot reach *** now"
