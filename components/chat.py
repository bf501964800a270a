"""Put a user's text into a model's own prompt template, without letting the text become part of the template."""

from transformers import PreTrainedTokenizerBase

MARK = "\ue000user\ue001"  # private-use characters, which no template holds


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a raw prompt in the tokenizer's chat template, or alone where there is none.

    The names of special tokens in the user's text are encoded as text: they cannot end a turn or begin another.
    """
    if not tokenizer.chat_template:
        return list(tokenizer(prompt, split_special_tokens=True).input_ids)
    messages = [{"role": "user", "content": MARK}]
    template = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    before, found, after = template.partition(MARK)
    assert found, "the chat template drops the user's text"
    parts = ((before, False), (prompt, True), (after, False))
    encoded = [tokenizer(t, add_special_tokens=False, split_special_tokens=s).input_ids for t, s in parts if t]
    return [token for part in encoded for token in part]
