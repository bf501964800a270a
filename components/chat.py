"""Put a user's text into a model's own prompt template, without letting the text become part of the template."""

from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from components.errors import ModelError

MARK = "\ue000user\ue001"  # private-use characters, which no template holds


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a raw prompt in the tokenizer's chat template, or alone where there is none.

    The names of special tokens in the user's text are encoded as text: they cannot end a turn or begin another.
    """
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}])


def encode_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation {role, content} in the chat template; without one its texts, with blank lines in between.

    Raises:
        ModelError: if the template does not take these roles in this order.
    """
    if not tokenizer.chat_template:
        text = "\n\n".join(message["content"] for message in messages)
        return list(tokenizer(text, split_special_tokens=True).input_ids)
    marked = [{"role": message["role"], "content": MARK} for message in messages]
    try:
        template = str(tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise ModelError(f"the model's chat template refuses these turns: {error}. Send a single user message.") from error
    pieces = template.split(MARK)
    if len(pieces) != len(messages) + 1:
        raise ModelError("the model's chat template drops or repeats a message. Send a single user message.")
    parts = [(pieces[0], False)]
    for message, after in zip(messages, pieces[1:], strict=True):
        parts += [(message["content"], True), (after, False)]
    encoded = [tokenizer(t, add_special_tokens=False, split_special_tokens=s).input_ids for t, s in parts if t]
    return [token for part in encoded for token in part]
