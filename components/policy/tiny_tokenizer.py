"""The tokenizer of the embedded default: a byte-level BPE trained on the data. Imports neither torch nor transformers."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>"}


def train_byte_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE: any text round-trips; ``<pad>`` is 0 and ``<eos>`` is 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL_TOKENS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
