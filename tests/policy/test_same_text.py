"""A text's log-prob under a policy with another tokenizer than the one that sampled it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.policy.loading import Policy, load_policy, save_policy
from ratchet.components.policy.packing import Group
from ratchet.components.policy.same_text import same_tokens, text_log_probs
from ratchet.components.policy.tiny_tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS
from tests.tiny_models import tiny_policy

TEXTS = ["#### 17", "Ann buys apples.", "ä #### 3"]
ROWS = [{"prompt": f"{n} apples"} for n in range(3)]


def renumbered(policy: Policy) -> Policy:
    """The same policy with other token ids: those of two neighbours are exchanged, and their embeddings with them."""
    state = json.loads(policy.tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    other = {i: i if i < 2 else i ^ 1 for i in vocabulary.values()}  # <pad> and <eos> stay
    state["model"]["vocab"] = {token: other[i] for token, i in vocabulary.items()}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), **SPECIAL_TOKENS, chat_template=CHAT_TEMPLATE
    )
    weight = policy.model.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(weight[[other[i] for i in range(len(other))]])
    return Policy(policy.model, tokenizer)


def completions(policy: Policy, finished: bool) -> list[Completion]:
    tokens = [policy.encode_completion(text) for text in TEXTS]
    return [Completion(ids if finished else ids[:-1], [], finished) for ids in tokens]


@pytest.mark.parametrize("finished", [True, False])
def test_other_numbers_of_the_same_tokens_make_no_difference(finished: bool) -> None:
    policy, other = tiny_policy(), renumbered(tiny_policy())
    sampled = completions(policy, finished)
    groups = [Group(policy.encode_row(row), [one.tokens]) for row, one in zip(ROWS, sampled, strict=True)]
    expected = Reference(policy).completion_log_probs(groups)
    assert not same_tokens(policy, other)
    assert text_log_probs(Reference(other), ROWS, TEXTS, sampled) == pytest.approx(expected, rel=1e-5)


def test_a_text_without_tokens_is_certain() -> None:
    policy, sampled = tiny_policy(), [Completion([0], [], False), *completions(tiny_policy(), True)[1:]]
    found = text_log_probs(Reference(policy), ROWS, ["", *TEXTS[1:]], sampled)
    assert found[0] == 0.0
    assert found[1:] == text_log_probs(Reference(policy), ROWS[1:], TEXTS[1:], sampled[1:])


def test_a_text_that_a_policy_cannot_write_has_no_log_prob() -> None:
    policy = tiny_policy()  # its context is 128 tokens
    long = "0 1 " * 70
    found = text_log_probs(Reference(policy), ROWS[:2], [long, TEXTS[1]], completions(policy, True)[:2])
    assert found[0] is None
    assert found[1] is not None
    unknown = replace(policy, tokenizer=renumbered(tiny_policy()).tokenizer)
    first = unknown.encode_completion(TEXTS[0])[0]
    unknown.tokenizer.unk_token = unknown.tokenizer.convert_ids_to_tokens(first)
    assert text_log_probs(Reference(unknown), ROWS[:2], TEXTS[:2], completions(policy, True)[:2])[0] is None


def test_what_encodes_decides_whether_tokens_are_the_same(tmp_path: Path) -> None:
    policy = tiny_policy()
    save_policy(policy, tmp_path)
    saved = load_policy(tmp_path, torch.device("cpu"))
    saved.tokenizer(TEXTS, padding=True, truncation=True, max_length=4)  # which its file would have
    assert same_tokens(policy, saved)
    assert not same_tokens(policy, tiny_policy(vocabulary=280))
    saved.tokenizer.chat_template = "Q: {{ messages[0]['content'] }}"
    assert not same_tokens(policy, replace(saved))
