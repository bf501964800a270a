"""Logged chat completions as records: the request's messages, and the reply as the assistant's last turn."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.errors import DataError

SHAPE = '{"request": {"messages": [...]}, "response": {"choices": [{"message": {"content": ...}}]}}'


def of_log(path: str, number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A line {timestamp, request, response} as {messages, timestamp, ...}; the line's other fields stay as they are.

    Raises:
        DataError: naming the line, if it has no messages or its reply is not text (a refusal, or a call of a tool).
    """
    request, response = record.get("request"), record.get("response")
    messages = request.get("messages") if isinstance(request, Mapping) else None
    if not isinstance(messages, list):
        raise DataError(f"{path}, line {number}: request has no list of messages. Each line must be {SHAPE}.")
    reply = _reply(response)
    if reply is None:
        raise DataError(
            f"{path}, line {number}: the response has no text (choices[0].message.content). Remove the line: a refused or cut "
            "request, or a call of a tool, is no demonstration."
        )
    others = {name: value for name, value in record.items() if name not in ("request", "response")}
    return {**others, "messages": [*messages, {"role": "assistant", "content": reply}]}


def _reply(response: Any) -> str | None:
    choices = response.get("choices") if isinstance(response, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, str) and content.strip() else None
