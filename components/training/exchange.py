"""Rollouts as bytes, for the other ranks: arrays as safetensors, texts and grades as JSON among them."""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ratchet.components.graders.protocol import Grade
from ratchet.components.launch.ranks import Ranks
from ratchet.components.policy.engines.engine import Completion
from ratchet.components.training.rollouts import PromptRollout


def grade_fields(grade: Grade) -> dict[str, Any]:
    """A grade as JSON."""
    return {**vars(grade), "parts": dict(grade.parts)}


def gathered(own: Sequence[PromptRollout], rows: Sequence[Mapping[str, Any]], ranks: Ranks) -> list[PromptRollout]:
    """The groups of all ranks, in the order of their rows.

    Args:
        own: of this rank's part of the rows.
        rows: of all groups.
    """
    found: list[PromptRollout] = []
    for part in map(decoded, ranks.exchange(encoded(own))):
        found += [replace(group, row=row) for group, row in zip(part, rows[len(found) :], strict=False)]
    assert len(found) == len(rows)
    return found


def encoded(groups: Sequence[PromptRollout]) -> bytes:
    """Everything of the groups but their rows."""
    completions = [completion for group in groups for completion in group.completions]
    rest = {
        "finished": [completion.finished for completion in completions],
        "cut": any(completion.nucleus is not None for completion in completions),
        "texts": [list(group.texts) for group in groups],
        "scores": [[grade_fields(grade) for grade in group.scores] for group in groups],
    }
    kept = [ids for completion in completions for ids in completion.nucleus or []]
    payload: bytes = save(
        {
            "rest": torch.frombuffer(bytearray(json.dumps(rest).encode()), dtype=torch.uint8),
            **_ragged("prompts", [group.prompt for group in groups], torch.long),
            **_ragged("tokens", [completion.tokens for completion in completions], torch.long),
            **_ragged("log_probs", [completion.log_probs for completion in completions], torch.double),
            **_ragged("entropies", [completion.entropies for completion in completions], torch.double),
            **_ragged("kept", kept, torch.long),
        }
    )
    return payload


def decoded(payload: bytes) -> list[PromptRollout]:
    """The groups, without their rows."""
    tensors = load(payload)
    rest = json.loads(tensors["rest"].numpy().tobytes())
    tokens, kept = _lists(tensors, "tokens"), _lists(tensors, "kept")
    log_probs, entropies = _arrays(tensors, "log_probs"), _arrays(tensors, "entropies")
    ends = [0, *accumulate(len(own) for own in tokens)]
    completions = [
        Completion(
            tokens[i], log_probs[i], rest["finished"][i], entropies[i], kept[ends[i] : ends[i + 1]] if rest["cut"] else None
        )
        for i in range(len(tokens))
    ]
    each = zip(_lists(tensors, "prompts"), rest["texts"], rest["scores"], strict=True)
    found = iter(completions)
    return [
        PromptRollout({}, prompt, [next(found) for _ in texts], texts, [Grade(**fields) for fields in scores])
        for prompt, texts, scores in each
    ]


def _ragged(name: str, lists: Sequence[Sequence[Any]], dtype: torch.dtype) -> dict[str, Tensor]:
    lengths = torch.tensor([len(values) for values in lists], dtype=torch.long)
    return {name: torch.tensor(list(chain.from_iterable(lists)), dtype=dtype), f"{name}/lengths": lengths}


def _lists(tensors: Mapping[str, Tensor], name: str) -> list[list[Any]]:
    return [part.tolist() for part in torch.split(tensors[name], tensors[f"{name}/lengths"].tolist())]


def _arrays(tensors: Mapping[str, Tensor], name: str) -> "list[array[float]]":
    """Numbers that are made only where one is looked at: a batch has millions, and each rank holds the batch."""
    parts = torch.split(tensors[name], tensors[f"{name}/lengths"].tolist())
    return [array("d", part.numpy().tobytes()) for part in parts]
