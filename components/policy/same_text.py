"""A text's log-prob under a policy with another tokenizer than the one that sampled it.

Token ids mean something only to the tokenizer that made them. Where two policies' tokenizers or templates differ, what they
share is the text, which the second policy reads in its own tokens and its own template. A text has several tokenizations, and
this is the log-prob of the one that the tokenizer gives: at most that of the text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.pretrained.context_length import context_tokens


def same_tokens(one: Policy, other: Policy) -> bool:
    """Whether a token id means the same to both, after the same prompt."""
    return one.tokenizer is other.tokenizer or one.encoding == other.encoding


def text_log_probs(
    reference: Reference, rows: Sequence[Mapping[str, Any]], texts: Sequence[str], completions: Sequence[Completion]
) -> list[float | None]:
    """Log-prob of each text after what its row asks, and of the end of its turn if the completion has ended.

    None where the policy cannot write the text: its tokenizer has no token for a part of it, or it is longer than the context.
    """
    policy = reference.policy
    groups = [_group(policy, *one) for one in zip(rows, texts, completions, strict=True)]
    scored = iter(reference.completion_log_probs([group for group in groups if group is not None and group.completions[0]]))
    return [None if group is None else next(scored) if group.completions[0] else 0.0 for group in groups]


def _group(policy: Policy, row: Mapping[str, Any], text: str, completion: Completion) -> Group | None:
    tokens = policy.encode_completion(text)
    tokens = tokens if completion.finished else tokens[:-1]
    group = Group(policy.encode_row(row), [tokens])
    unknown = policy.tokenizer.unk_token_id
    missing = unknown in tokens and unknown not in policy.ends
    limit = context_tokens(policy.model.config.get_text_config())
    return None if missing or (limit is not None and group.tokens > limit) else group
