"""A record of any shape becomes a row with one set of columns; only here does a question become a prompt.

    plain prompt        {prompt} or {question}
    chat messages       {messages: [{role, content}, ...]}; a last turn of the assistant is the demonstration
    any fields          asked by the recipe's ``task``, which makes the messages
    with an answer      {question, answer}
    demonstration       {prompt, completion}
    preference pair     {prompt, chosen, rejected}; chosen and rejected are text, or messages that may contain the prompt too

Values that are neither text nor messages are passed on unchanged, for the checks to list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ratchet.components.recipe import Data, Records
from ratchet.components.text import transcript

Turns = list[dict[str, str]]
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


@dataclass(frozen=True)
class Lacking:
    """In place of a text that no template could make of a row: why, for the checks to list."""

    reason: str
    absent: bool = False  # whether the row does not have the field at all


class Chat(NamedTuple):
    """A conversation: what is asked as text, the assistant's last message (None if it is the policy's turn), and the turns.

    ``turns`` are None if one user message is asked, which the text contains whole.
    """

    prompt: Any
    reply: str | None = None
    turns: Turns | None = None


def raw_row(record: Mapping[str, Any], names: Records, asked: Turns | Lacking | None = None) -> dict[str, Any]:
    """A record as {prompt, answer, demonstration, chosen, rejected, group, shape}, and its ``messages`` if these are several.

    ``shape`` is ``demonstration`` or ``pair`` if there is no separate answer; then the demonstrated or
    chosen, is its answer.

    Args:
        asked: the messages that the recipe's ``task`` makes of the record, or why it makes none.
    """
    prompt, reply, turns = _chat(record, names, asked)
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
        **({} if turns is None else {"messages": turns}),
    }


def _chat(record: Mapping[str, Any], names: Records, asked: Turns | Lacking | None) -> Chat:
    if isinstance(asked, Lacking):
        return Chat(asked)
    return prompt_of(record, names) if asked is None else conversation(asked) or Chat(None)


def own_columns(record: Mapping[str, Any], names: Records, data: Data) -> dict[str, Any]:
    """The columns of a record that ``data.keep`` may keep: those that it names, or all that no text was read from as it is."""
    if not isinstance(data.keep, str):
        return {name: record[name] for name in data.keep if name in record}
    asks = data.task is not None and bool(data.task.turns)
    asked = ("question", "messages") if asks else ()  # of these the task reads what it needs
    read = {getattr(names, option) for option in (*TEXT_OPTIONS, "group") if option not in asked} | {"completion"}
    read |= set() if asked else {"prompt"}
    return {name: value for name, value in record.items() if name not in read}


def conversation(messages: Any) -> Chat | None:
    """Chat messages as a prompt and a reply, or None if they are not messages.

    A single user message is the prompt itself. Of several turns the prompt is the transcript, by which rows are compared,
    hashed and shown; the policy receives the turns in its own template.
    """
    if not isinstance(messages, list) or not messages:
        return None
    given = [(turn.get("role"), turn.get("content")) for turn in messages if isinstance(turn, Mapping)]
    turns = [{"role": role, "content": text} for role, text in given if isinstance(role, str) and isinstance(text, str)]
    if len(turns) < len(messages):
        return None
    reply = turns.pop()["content"] if turns[-1]["role"] == "assistant" else None
    if not turns:
        return Chat(None, reply)
    return Chat(transcript(turns), reply, None if [turn["role"] for turn in turns] == ["user"] else turns)


def prompt_of(record: Mapping[str, Any], names: Records) -> Chat:
    """What the policy is asked, and a reply that follows it in a chat: from the question, ``prompt`` or the messages."""
    value = _first(record.get(names.question), record.get("prompt"), record.get(names.messages))
    return conversation(value) or Chat(value)


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
    texts = {STORED_PROMPT if name == "prompt" else name: _value(row, name) for name in COLUMNS}
    return texts | {name: row[name] for name in ("item", "messages", "asked") if row.get(name)}


def content(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What distinguishes an added row from others: its columns, and its item and its messages if it has them."""
    further = [json.dumps(row[name], sort_keys=True, default=str) for name in ("item", "messages") if row.get(name)]
    return (*(_value(row, name) or "" for name in COLUMNS), *further)


def _value(row: Mapping[str, Any], name: str) -> Any:
    """A column of an added row; None where a template could not make it, so that the row is known again."""
    return None if isinstance(row[name], Lacking) else row[name]


def restored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``added.jsonl`` as a raw row."""
    return {"prompt" if name == STORED_PROMPT else name: value for name, value in row.items()}
