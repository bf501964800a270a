"""Put users' texts into a model's own prompt template, without letting a text become part of the template.

A template is rendered once per sequence of roles, in a process with limits (``render_template``), with marks in place of the
texts; the texts are inserted afterwards, so a template never sees one, nor the clock (``template_date``). The result is
tokenized as a whole: a tokenizer may treat the beginning of a text in its own way (a dummy prefix).
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ratchet.components.errors import ModelError
from ratchet.components.pretrained import render_template
from ratchet.components.pretrained.template_date import FIXED, dated, is_dated
from ratchet.components.text import transcript

PAD = "\x0b"  # white space that no template contains: if it is gone, the template strips a text
MARK = re.compile(f"({PAD}?)\ue000(\\d+)\ue001({PAD}?)")  # private-use characters around a message's number
ANSWER = f"{PAD}\ue000answer\ue001{PAD}"
HARMLESS = ' What is "2 + 3", in one\nword? {é & ü} \n'
PATIENCE = 120  # seconds for the rendering process, including imports on a busy machine
REMEDY = "Correct the model's chat template, or use another model."


class ChatTokenizer(Protocol):
    """What is asked of a tokenizer here, of transformers' or of ``PromptTokenizer``; values as transformers defines them."""

    @property
    def chat_template(self) -> str | dict[str, str] | None: ...
    @property
    def special_tokens_map(self) -> Mapping[str, str]: ...
    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...
    @property
    def unk_token(self) -> str | None: ...
    @property
    def unk_token_id(self) -> int | None: ...
    @property
    def eos_token_id(self) -> int | None: ...
    def __hash__(self) -> int: ...
    def __len__(self) -> int: ...
    def __call__(self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False) -> Any: ...
    def get_chat_template(self) -> str: ...
    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]: ...


@dataclass(frozen=True)
class Frame:
    """A template for one sequence of roles."""

    literals: tuple[str, ...]  # before, between and after the texts
    places: tuple[int, ...]  # number of the message between two literals
    strips: tuple[tuple[bool, bool], ...]  # whether the template strips that text on its left and on its right
    ending: str = ""  # after an assistant's text, where the conversation ends; "" if the template takes no such turn
    opening: str = ""  # white space between the prompt's end and an assistant's text

    def texts(self, contents: Sequence[str]) -> list[str]:
        """The messages' texts in template order, stripped as the template strips them."""
        found = []
        for place, (left, right) in zip(self.places, self.strips, strict=True):
            text = contents[place].lstrip() if left else contents[place]
            found.append(text.rstrip() if right else text)
        return found

    def filled(self, texts: Sequence[str]) -> str:
        """The template with :meth:`texts` in it."""
        return self.literals[0] + "".join(text + after for text, after in zip(texts, self.literals[1:], strict=True))


@dataclass(frozen=True)
class Control:
    """Tokens that only a template may produce: special ones, and added ones that it names."""

    ids: frozenset[int]
    names: Mapping[str, int]  # the unknown token among them
    count: int  # in the template with harmless texts


def encode_prompt(tokenizer: ChatTokenizer, prompt: str) -> list[int]:
    """Token ids of a raw prompt in the tokenizer's chat template, or alone if there is none.

    The names of special tokens in the user's text are encoded as text: they cannot end a turn or begin another.
    """
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}])


def encode_row(tokenizer: ChatTokenizer, row: Mapping[str, Any]) -> list[int]:
    """Token ids of what a dataset's row asks: its ``messages``, if it has such, else its ``prompt``."""
    messages = row.get("messages")
    return encode_prompt(tokenizer, row["prompt"]) if messages is None else encode_messages(tokenizer, messages)


def render_messages(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation {role, content} in the chat template, as text; without a template the transcript.

    Raises:
        ModelError: if the template does not accept these roles in this order or rewrites their texts.
    """
    if not tokenizer.chat_template:
        return transcript(messages)
    frame = frame_of(tokenizer, tuple(message["role"] for message in messages))
    return frame.filled(frame.texts([message["content"] for message in messages]))


def encode_messages(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation {role, content} in the chat template; without one of its plain form, the transcript.

    If no text contains the name of a special token, these are the tokens of the rendered template as a whole.

    Raises:
        ModelError: if the template does not accept these roles in this order or rewrites their texts, or if a text names a
            special token that this tokenizer cannot read as text.
    """
    contents = [message["content"] for message in messages]
    if not tokenizer.chat_template:
        ids = list(tokenizer(transcript(messages), split_special_tokens=True).input_ids)
        return ids[: len(ids) - _appended(tokenizer)]
    frame = frame_of(tokenizer, tuple(message["role"] for message in messages))
    texts = frame.texts(contents)
    ids = _encode(tokenizer, frame.filled(texts))
    control = _control(tokenizer, len(tokenizer), frame)
    unknown = tokenizer.unk_token  # a text may contain it without naming it
    if sum(token in control.ids for token in ids) == control.count and not (unknown and any(unknown in text for text in texts)):
        return ids
    ids = _encode_names_as_text(tokenizer, frame, texts, control.names)
    if sum(token in control.ids for token in ids) != control.count:
        raise ModelError(
            "this tokenizer reads the name of a special token in a text as that token. Remove the name from the text."
        )
    return ids


def _appended(tokenizer: ChatTokenizer) -> int:
    """Tokens that the tokenizer puts after every text, such as an end of sequence: nothing may follow it, but an answer does.

    ``registry.served_model`` counts them in the same way.
    """
    whole, bare = (list(tokenizer("a", add_special_tokens=special).input_ids) for special in (True, False))
    starts = [start for start in range(len(whole)) if bare and whole[start : start + len(bare)] == bare]
    return len(whole) - starts[0] - len(bare) if starts else 0


def encode_answer(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Token ids of an assistant's text where a prompt ends, without its end of turn.

    With the prompt's they are the tokens of the rendered template; a tokenizer may read a text by itself otherwise (a dummy
    prefix). The names of special tokens in it are text.
    """
    if not tokenizer.chat_template:
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
    prompt = frame_of(tokenizer, ("user",))
    end, names = prompt.literals[-1], _control(tokenizer, len(tokenizer), prompt).names
    before = _encode(tokenizer, end)
    ids = _encode_names_as_text(tokenizer, Frame((end + prompt.opening, ""), (0,), ((False, False),)), [text], names)
    if ids[: len(before)] != before:  # what the prompt ends with and the text begins with is one token
        return _encode_as_text(tokenizer, text)
    return ids[len(before) :]


def _encode(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Token ids of a text; the names of added tokens in it are those tokens."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _encode_as_text(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Token ids of a text; the names of added tokens in it are text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
    # The library's own switch covers special tokens alone, not other added ones.
    normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
    words = [normal] if backend.pre_tokenizer is None else [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(normal)]
    return [token.id for word in words for token in backend.model.tokenize(word)]


def _encode_names_as_text(tokenizer: ChatTokenizer, frame: Frame, texts: Sequence[str], names: Mapping[str, int]) -> list[int]:
    """Token ids of a filled template in pieces: each name within a text alone, as text."""
    first, *rest = _pieces(frame, texts, names)
    ids = _encode(tokenizer, first)
    for number, piece in enumerate(rest, start=1):
        is_name = number % 2 == 1
        encode = _encode_as_text if is_name else _encode
        added = _encode_inside(tokenizer, piece, encode) if piece else []
        if is_name and names[piece] in added:
            raise ModelError(
                f"a text contains the name of a special token, {piece!r}, which this tokenizer produces from plain text. "
                "Remove the name from the text."
            )
        ids += added
    return ids


def _pieces(frame: Frame, texts: Sequence[str], names: Mapping[str, int]) -> list[str]:
    """The filled template, split at the names that its texts contain: text, name, text, name, ..., text."""
    found = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)"  # which never matches
    pieces = [frame.literals[0]]
    for text, after in zip(texts, frame.literals[1:], strict=True):
        begin, *others = re.split(f"({found})", text)
        pieces[-1] += begin
        pieces += others
        pieces[-1] += after
    return pieces


def _encode_inside(tokenizer: ChatTokenizer, piece: str, encode: Callable[[ChatTokenizer, str], list[int]]) -> list[int]:
    """Token ids of a piece that has text before it: after a line's end, because a tokenizer may prefix what begins a text."""
    before = _encode(tokenizer, "\n")
    ids = encode(tokenizer, f"\n{piece}")
    return ids[len(before) :] if ids[: len(before)] == before else encode(tokenizer, piece)


def end_of_turn(tokenizer: ChatTokenizer, ends: Sequence[int]) -> int:
    """The token with which the template ends an assistant's turn; the first of ``ends`` if it adds none.

    Args:
        ends: tokens at which a completion ends.

    Raises:
        ModelError: if the template ends a turn with a special token that is not among them.
    """
    if not tokenizer.chat_template:
        return ends[0]
    ids = _encode(tokenizer, frame_of(tokenizer, ("user",)).ending)
    added = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if i != tokenizer.unk_token_id}
    other = [added[i] for i in ids if added.get(i, "").strip()]
    found = next((i for i in ids if i in ends), None)
    if found is None and other:
        names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(ends))))
        raise ModelError(
            f"the chat template ends a turn with {other[0]!r}, but the model's ends of sequence are {names}: its answers would "
            f"not stop. Add {other[0]!r} to eos_token_id in generation_config.json, or use a model trained on this template."
        )
    return ends[0] if found is None else found


@lru_cache(maxsize=64)
def _control(tokenizer: ChatTokenizer, size: int, frame: Frame) -> Control:
    """What only the template may produce.

    Args:
        size: of the vocabulary; tokens may be added to a tokenizer.
    """
    named, unknown = "\0".join(frame.literals), tokenizer.unk_token_id
    added = tokenizer.added_tokens_decoder.items()
    names = {t.content: i for i, t in added if t.special or (t.content in named and not t.content.isspace())}
    # Any text with unusual characters is tokenized like the unknown token.
    ids = set(names.values()) - ({unknown} if unknown != tokenizer.eos_token_id else set())
    alone = _encode(tokenizer, frame.filled(["a"] * len(frame.places)))
    return Control(frozenset(ids), names, sum(token in ids for token in alone))


def frame_of(tokenizer: ChatTokenizer, roles: tuple[str, ...]) -> Frame:
    """The tokenizer's template for a sequence of roles.

    Raises:
        ModelError: if it does not take these roles, drops, repeats or rewrites a message, or cannot be rendered.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, and none is the default
        raise ModelError(f"the model's chat template cannot be selected: {error}. {REMEDY}") from error
    template = template if is_dated(template) else dated(template, FIXED)
    return _frame(template, json.dumps(tokenizer.special_tokens_map, default=str), roles)


@lru_cache(maxsize=64)
def _frame(template: str, special_tokens: str, roles: tuple[str, ...]) -> Frame:
    marks = [f"{PAD}\ue000{number}\ue001{PAD}" for number in range(len(roles))]
    harmless = [HARMLESS] * len(roles)
    conversations = [
        [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)] for texts in (marks, harmless)
    ]
    answered = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": ANSWER}]
    done = _render(template, conversations, answered, json.loads(special_tokens))
    marked, rendered = done["texts"]
    pieces = MARK.split(marked)  # literal, pad, number, pad, literal, ...
    places = tuple(map(int, pieces[2::4]))
    if sorted(places) != list(range(len(roles))):
        raise ModelError("the model's chat template drops or repeats a message. Send a single user message.")
    strips = tuple((not left, not right) for left, right in zip(pieces[1::4], pieces[3::4], strict=True))
    before, found, after = (done["answered"] or "").rpartition(ANSWER.strip(PAD))
    ending = after.removeprefix(PAD) if found else ""
    frame = Frame(tuple(pieces[::4]), places, strips, ending, _opening(before.removesuffix(PAD), pieces[-1]))
    if frame.filled(frame.texts(harmless)) != rendered:
        raise ModelError(f"the model's chat template rewrites the text of a message. {REMEDY}")
    return frame


def _opening(before: str, prompt_end: str) -> str:
    """The white space, if it is such, between the end of a prompt and an assistant's text, before which is ``before``."""
    gap = before.rpartition(prompt_end)[2] if prompt_end else ""
    return gap if gap.isspace() else ""


def _render(
    template: str, conversations: Sequence[Any], answered: Sequence[Any], special_tokens: Mapping[str, Any]
) -> dict[str, Any]:
    """The conversations in the template, in a separate process: a template is a program, and may not terminate."""
    values = {"conversations": conversations, "answered": answered, "special_tokens": special_tokens}
    task = json.dumps({"template": template, **values})
    command = [sys.executable, "-P", str(Path(render_template.__file__))]
    try:
        done = subprocess.run(command, input=task, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the model's chat template was not rendered within {PATIENCE} s. {REMEDY}") from error
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        limit = f"{render_template.SECONDS} s of processor time"
        raise ModelError(f"the model's chat template takes more than {limit}. {REMEDY}")
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ModelError(f"the model's chat template cannot be rendered: {last}. {REMEDY}")
    found = json.loads(done.stdout)
    if "refused" in found:
        raise ModelError(f"the model's chat template rejects these turns: {found['refused']}. Send a single user message.")
    if "failed" in found:
        raise ModelError(f"the model's chat template cannot be rendered: {found['failed']}. {REMEDY}")
    return dict(found)
