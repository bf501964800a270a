"""The engine for CPUs: the keys and values of a prompt are held, and read, once for all its completions.

A decoding step on a CPU is bound by memory, and most of what it reads are the keys and values of the prompts. The attention of
a prompt's completions over it is one product; that over their own tokens is another, and the two are merged by their
normalisers (as in Juravsky et al. 2024, arXiv:2402.05099).

Notation: G prompts of at most L tokens, A rows still drawn, H heads of keys and values, each of R query heads, D numbers per
head, N new tokens at most.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ratchet.components.policy.engines.decoder import next_logits
from ratchet.components.policy.engines.engine import Completion, SamplingRequest
from ratchet.components.policy.engines.plain import sample
from ratchet.components.policy.engines.shared_weights import SharedWeights
from ratchet.components.policy.engines.slot_attention import refuse_extras, unread_mask
from ratchet.components.policy.loading import Policy, is_half

GROUPED = "ratchet_grouped"


class GroupedEngine:
    """Rollouts of one model on a CPU."""

    def __init__(self, policy: Policy) -> None:
        """
        Raises:
            ModelError: if the model's attention cannot be replaced, or needs features that this one lacks.
        """
        self.half = is_half(policy.model.device, policy.precision)
        self.shared_weights = SharedWeights(policy.model, self.half)
        self.model = self.shared_weights.clone(policy.model, GROUPED)

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        """See :class:`ratchet.components.policy.engines.engine.RolloutEngine`."""
        with self._autocast(), torch.inference_mode():
            self.shared_weights.refresh()
            return sample(policy.model, request, begin=partial(_Batch, self.model))

    def release(self) -> None:
        """Nothing is kept between calls."""

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        # No cache of casts: the weights of products are bf16 already.
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half, cache_enabled=False):
            yield


class _Layer(NamedTuple):
    """Keys or values: of the prompts, and of the rows' own tokens."""

    prompt: Tensor  # [G, H, L, D]
    own: Tensor  # [rows at the start, H, N, D], the first A rows are in use


class _Batch:
    """Some prompts and the rows that are still drawn; see :class:`ratchet.components.policy.engines.plain.Batch`."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], samples: int, new_tokens: int) -> None:
        self.model, self.samples, self.new_tokens = model, samples, new_tokens
        self.lengths = torch.tensor([len(prompt) for prompt in prompts])  # [G]
        self.members = torch.arange(len(prompts)).repeat_interleave(samples)  # [A]: each row's prompt, ascending
        self.held = 0  # own tokens of each row
        self.layers: dict[int, tuple[_Layer, _Layer]] = {}
        self._arrange()
        width = int(self.lengths.max())
        tokens = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts])
        hidden = self._forward(tokens, torch.arange(width).expand(len(prompts), width))
        self.logits = next_logits(model, hidden[torch.arange(len(prompts)), self.lengths - 1]).repeat_interleave(samples, 0)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only, [A'] ascending."""
        self.members = self.members[rows]
        for own in (layer.own for pair in self.layers.values() for layer in pair):
            own[: len(rows), :, : self.held] = own[rows, :, : self.held]
        groups, self.members = torch.unique_consecutive(self.members, return_inverse=True)
        if len(groups) < len(self.lengths):
            self.lengths = self.lengths[groups]
            for number, (keys, values) in self.layers.items():
                self.layers[number] = keys._replace(prompt=keys.prompt[groups]), values._replace(prompt=values.prompt[groups])
        self._arrange()

    def step(self, tokens: Tensor) -> None:
        """Advance each row by the token that it drew, [A]."""
        positions = self.lengths[self.members] + self.held
        self.held += 1
        self.logits = next_logits(self.model, self._forward(tokens[:, None], positions[:, None])[:, -1])

    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        mark = _ACTIVE.set(self)
        try:
            mask = unread_mask(tokens.device)
            hidden: Tensor = self.model.base_model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False
            ).last_hidden_state
            return hidden
        finally:
            _ACTIVE.reset(mark)

    def _arrange(self) -> None:
        """Lay the rows out as a grid of prompts and their places, [G x W]; places beyond a prompt's rows are empty."""
        counts = self.members.bincount(minlength=len(self.lengths))
        self.width = int(counts.max())
        places = torch.arange(len(self.members)) - (counts.cumsum(0) - counts)[self.members]
        full = len(self.members) == len(counts) * self.width
        self.place = None if full else self.members * self.width + places  # [A]: of each row in the grid
        self._masks: dict[tuple[int | None, int], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention of prompts, [G, H x R, L, D], or of each row's newest token, [A, H x R, 1, D]; as [., ., H x R, D]."""
        query, key, value = query.float(), key.float(), value.float()  # products of vectors gain nothing from bf16
        if self.held == 0:
            self.layers[layer] = self._layer(key), self._layer(value)
            return _over_prompts(query, key, value, scale, window).transpose(1, 2)
        keys, values = self.layers[layer]
        rows, at = len(self.members), self.held - 1
        keys.own[:rows, :, at], values.own[:rows, :, at] = key[:, :, 0], value[:, :, 0]
        query = (query * scale).view(rows, key.shape[1], -1, key.shape[3])  # [A, H, R, D]
        since = 0 if window is None else max(0, self.held - window)
        own, own_norm = _attended(query, *(x.own[:rows, :, since : self.held] for x in (keys, values)))
        prompt, prompt_norm = self._over_prompts(query, keys.prompt, values.prompt, window)
        share = torch.sigmoid(prompt_norm - own_norm)[..., None]
        return torch.lerp(own, prompt, share).reshape(rows, 1, -1, key.shape[3])

    def _layer(self, new: Tensor) -> _Layer:
        rows, heads, size = len(self.members), new.shape[1], new.shape[3]
        return _Layer(new.contiguous(), new.new_empty(rows, heads, self.new_tokens, size))

    def _over_prompts(self, query: Tensor, keys: Tensor, values: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        """Attention of [A, H, R, D] over the prompts: as many, and their normalisers' logarithms [A, H, R]."""
        _, heads, repeats, size = query.shape
        groups, width = len(self.lengths), self.width
        grid = query
        if self.place is not None:
            grid = query.new_zeros(groups * width, heads, repeats, size).index_copy_(0, self.place, query)
        grid = grid.view(groups, width, heads, repeats, size).transpose(1, 2).reshape(groups, heads, width * repeats, size)
        out, norm = _attended(grid, keys, values, self._mask(keys.shape[2], window))
        out = out.view(groups, heads, width, repeats, size).transpose(1, 2).reshape(groups * width, heads, repeats, size)
        norm = norm.view(groups, heads, width, repeats).transpose(1, 2).reshape(groups * width, heads, repeats)
        return (out, norm) if self.place is None else (out[self.place], norm[self.place])

    def _mask(self, width: int, window: int | None) -> Tensor:
        """Zero at the prompts' tokens that a row sees, far below it elsewhere, [G, 1, 1, L]."""
        key = (window, self.held if window is not None else 0)
        if key not in self._masks:
            columns, lengths = torch.arange(width), self.lengths[:, None]
            seen = columns < lengths
            if window is not None:
                seen = seen & (columns >= lengths + self.held - window)
            # Finite: a row whose window has left the prompt must not become NaN; its normaliser gives the prompt no share.
            self._masks[key] = torch.zeros(seen.shape).masked_fill_(~seen, -1e30)[:, None, None]
        return self._masks[key]


def _attended(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention and the logarithm of its normaliser."""
    scores = query @ keys.transpose(-1, -2)
    if mask is not None:
        scores += mask
    highest = scores.amax(-1, keepdim=True)
    weights = scores.sub_(highest).exp_()
    total = weights.sum(-1, keepdim=True)
    return (weights @ values).div_(total), (highest + total.log())[..., 0]


def _over_prompts(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """Causal attention over prompts padded on the right; what comes after a prompt's end is never read."""
    mask, width = None, query.shape[2]
    if window is not None and width > window:
        columns = torch.arange(width)
        distance = columns[:, None] - columns
        mask = (distance >= 0) & (distance < window)
    return nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )


_ACTIVE: ContextVar[_Batch] = ContextVar("grouped")


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: object, **arguments: Any) -> tuple[Tensor, None]:
    """The attention function of the engine's model."""
    refuse_extras(arguments)
    scale = arguments.get("scaling") or query.shape[-1] ** -0.5
    with torch.autocast("cpu", enabled=False):
        out = _ACTIVE.get().attend(int(module.layer_idx), query, key, value, scale, arguments.get("sliding_window"))  # type: ignore[arg-type]
    return out, None


ALL_ATTENTION_FUNCTIONS.register(GROUPED, attend)
