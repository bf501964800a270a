"""The same completions scored in different ways, in one order: by completion, then by token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ratchet.components.policy.engines.engine import Completion
from ratchet.components.policy.log_probs import Nucleus, score_tokens
from ratchet.components.policy.packing import Group, PackedRows, pack


def order_of(rows: PackedRows) -> Tensor:
    """The numbers that put packed scores into the order of the completions."""
    return torch.from_numpy(np.lexsort((rows.index.numpy(), rows.sequence.numpy())))


def alone(model: Any, groups: Sequence[Group]) -> Tensor:
    """Each sequence by itself, without packing or padding."""
    scores = []
    for prompt, completions in groups:
        for completion in completions:
            tokens = torch.tensor([[*prompt, *completion]])
            log_probs = model(input_ids=tokens).logits[0].float().log_softmax(-1)
            scores.append(log_probs[len(prompt) - 1 : -1].gather(-1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(scores)


def padded(model: Any, groups: Sequence[Group]) -> Tensor:
    """All sequences in one batch, padded on the right."""
    pairs = [(prompt, completion) for prompt, completions in groups for completion in completions]
    width = max(len(p) + len(c) for p, c in pairs)
    tokens = torch.tensor([[*p, *c, *[0] * (width - len(p) - len(c))] for p, c in pairs])
    real = torch.tensor([[1] * (len(p) + len(c)) + [0] * (width - len(p) - len(c)) for p, c in pairs])
    log_probs = model(input_ids=tokens, attention_mask=real).logits.float().log_softmax(-1)
    parts = [log_probs[i, len(p) - 1 : len(p) + len(c) - 1] for i, (p, c) in enumerate(pairs)]
    return torch.cat([part.gather(-1, torch.tensor(c)[:, None])[:, 0] for part, (_, c) in zip(parts, pairs, strict=True)])


def packed(model: Any, groups: Sequence[Group], row_tokens: int = 128, pad: int = 0) -> Tensor:
    """Through packed rows, as in training."""
    rows = pack(groups, row_tokens, pad)
    return score_tokens(model, rows)[order_of(rows)]


def gradient(model: torch.nn.Module, scores: Tensor) -> list[Tensor]:
    """Of every parameter; the tokens' weights are unequal, so that errors cannot cancel."""
    weighted = (scores * torch.linspace(-1, 1, len(scores))).sum()
    return list(torch.autograd.grad(weighted, list(model.parameters())))


def groups_of(prompts: Sequence[Sequence[int]], drawn: Sequence[Sequence[Completion]]) -> list[Group]:
    """What the sampler drew, as the scorer takes it."""
    return [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(prompts, drawn, strict=True)]


def sampled(drawn: Sequence[Sequence[Completion]]) -> Tensor:
    """The sampler's own log-probs."""
    return torch.tensor([p for group in drawn for c in group for p in c.log_probs])


def nucleus_in(rows: PackedRows, drawn: Sequence[Sequence[Completion]]) -> Nucleus:
    """The recorded nuclei, in the order of the rows' tokens."""
    flat = [c.nucleus or [] for group in drawn for c in group]
    kept = [flat[c][i] for c, i in zip(rows.sequence.tolist(), rows.index.tolist(), strict=True)]
    numbers = [number for number, ids in enumerate(kept) for _ in ids]
    return Nucleus(torch.tensor(numbers), torch.tensor([i for ids in kept for i in ids]))
