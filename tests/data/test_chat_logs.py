"""Logged chat completions as rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.chat_logs import of_log
from ratchet.components.data.sources import read_rows
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"}]


def log(content: Any = "Lima.", **fields: Any) -> dict[str, Any]:
    request = {"model": "m", "messages": MESSAGES, "temperature": 0.2}
    return {
        "timestamp": 5,
        "request": request,
        "response": {"choices": [{"message": {"role": "assistant", "content": content}}]},
    } | fields


def test_the_reply_is_the_demonstration_and_other_fields_are_the_users(tmp_path: Path) -> None:
    (tmp_path / "logs.jsonl").write_text(json.dumps(log(workload_id="geo")))
    data = Data.model_validate(
        {"source": {"kind": "chat_logs", "path": str(tmp_path / "logs.jsonl")}, "checks": {"answers": "text"}}
    )
    (row,) = read_rows(data)
    assert (row["prompt"], row["demonstration"], row["messages"]) == (
        "system: Be brief.\n\nuser: Capital of Peru?",
        "Lima.",
        MESSAGES,
    )
    assert row["item"] == {"timestamp": 5, "workload_id": "geo"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "q"}, "line 7: request has no list of messages"),
        (log(request={"messages": "q"}), "line 7: request has no list of messages"),
        (log(content=None), "line 7: the response has no text"),
        (log(content=" "), "line 7: the response has no text"),
        (log(response={"choices": []}), "line 7: the response has no text"),
        (log(response="Lima."), "line 7: the response has no text"),
    ],
)
def test_faults_a_line_that_is_no_logged_completion_is_named(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        of_log("logs.jsonl", 7, record)
