"""A record of any shape becomes a row with one set of columns; only here does a question become a prompt.

    plain prompt        {prompt} or {question}
    chat messages       {messages: [{role, content}, ...]}; a last turn of the assistant is the demonstration
    with an answer      {question, answer}
    demonstration       {prompt, completion}
    preference pair     {prompt, chosen, rejected}; chosen and rejected are text, or messages that may contain the prompt too

Values that are neither text nor messages are passed on unchanged, for the checks to list.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.components.recipe import Records

PROBLEM, DEMONSTRATION, PAIR = "problem", "demonstration", "pair"
TEXTS = ("prompt", "answer", "demonstration", "chosen", "rejected")
COLUMNS = (*TEXTS, "group", "shape")  # of a raw row, besides its origin and its ``item``
TEXT_OPTIONS = ("question", "answer", "demonstration", "chosen", "rejected", "messages")  # of Records
STORED_PROMPT = "question"  # in ``added.jsonl``, whose bytes are part of published versions


class Finding(NamedTuple):
    """A fault or oddity in one column of one raw row."""

    number: int  # index of the row among all rows read, from 0
    file: str
    row: int  # from 1
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.column}: {self.reason}"


class Chat(NamedTuple):
    """A conversation: the policy's input, and the assistant's last message (None if it is the policy's turn)."""

    prompt: str | None
    reply: str | None


def raw_row(record: Mapping[str, Any], names: Records) -> dict[str, Any]:
    """A record as {prompt, answer, demonstration, chosen, rejected, group, shape}.

    ``shape`` is ``demonstration`` or ``pair`` if there is no separate answer; then the demonstrated or
    chosen, is its answer.
    """
    prompt, reply = prompt_of(record, names)
    pair = [_completion(record.get(name)) for name in (names.chosen, names.rejected)]
    if prompt is None:
        prompt = _implicit_prompt(record.get(names.chosen), record.get(names.rejected))
    chosen, rejected = pair
    given = record.get(names.answer)
    demonstration = _first(_completion(record.get(names.demonstration)), _completion(record.get("completion")), reply)
    shape = (
        PROBLEM if given is not None else DEMONSTRATION if demonstration is not None else PROBLEM if chosen is None else PAIR
    )
    group = None if names.group is None else record.get(names.group)
    return {
        "prompt": prompt,
        "answer": _first(given, demonstration, chosen),
        "demonstration": _first(demonstration, given, chosen),
        "chosen": chosen,
        "rejected": rejected,
        "group": group if group is None or isinstance(group, str) else str(group),
        "shape": shape,
    }


def own_columns(record: Mapping[str, Any], names: Records, keep: Sequence[str] | str) -> dict[str, Any]:
    """The columns of a record that ``data.keep`` may keep: those that it names, or all that no text was read from."""
    if not isinstance(keep, str):
        return {name: record[name] for name in keep if name in record}
    read = {getattr(names, option) for option in (*TEXT_OPTIONS, "group")} | {"prompt", "completion"}
    return {name: value for name, value in record.items() if name not in read}


def conversation(messages: Any) -> Chat | None:
    """Chat messages as a prompt and a reply, or None if they are not messages.

    A single user message is the prompt itself. Several turns become a transcript, one paragraph ``role: text`` per turn:
    the policy receives it as one user turn of its template, in which no text can pose as a turn.
    """
    if not isinstance(messages, list) or not messages:
        return None
    turns = [(turn.get("role"), turn.get("content")) for turn in messages if isinstance(turn, Mapping)]
    if len(turns) < len(messages) or not all(isinstance(role, str) and isinstance(text, str) for role, text in turns):
        return None
    reply = turns.pop()[1] if turns[-1][0] == "assistant" else None
    if not turns:
        return Chat(None, reply)
    transcript = "\n\n".join(f"{role}: {text}" for role, text in turns)
    return Chat(turns[0][1] if [role for role, _ in turns] == ["user"] else transcript, reply)


def prompt_of(record: Mapping[str, Any], names: Records) -> tuple[Any, str | None]:
    """The policy's question, and a reply that follows it in a chat: from the question, ``prompt`` or the messages."""
    value = _first(record.get(names.question), record.get("prompt"), record.get(names.messages))
    chat = conversation(value)
    return (value, None) if chat is None else (chat.prompt, chat.reply)


def _completion(value: Any) -> Any:
    """The text of a completion; for messages, the last one if it is the assistant's."""
    chat = conversation(value)
    return value if chat is None or chat.reply is None else chat.reply


def _implicit_prompt(chosen: Any, rejected: Any) -> str | None:
    """The common prompt of a conversational pair without one, if both sides agree on it."""
    one, other = conversation(chosen), conversation(rejected)
    return one.prompt if one is not None and other is not None and one.prompt == other.prompt else None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """An added row as ``added.jsonl`` keeps it."""
    texts = {STORED_PROMPT if name == "prompt" else name: row[name] for name in COLUMNS}
    return texts | ({"item": row["item"]} if row.get("item") else {})


def content(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What distinguishes an added row from others: its columns, and its item if it has one."""
    item = [json.dumps(row["item"], sort_keys=True, default=str)] if row.get("item") else []
    return (*(row[name] or "" for name in COLUMNS), *item)


def restored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``added.jsonl`` as a raw row."""
    return {"prompt" if name == STORED_PROMPT else name: value for name, value in row.items()}
