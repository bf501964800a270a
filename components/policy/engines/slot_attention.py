"""Keys and values in fixed slots, and the two attention functions that read and write them.

Notation: S slots of T tokens each, H heads of keys and values, D numbers per head. The tensors of a layer are [S x T, H, D]:
a graph reads fixed addresses, and variable-length flash attention takes a slot's start and length from the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ratchet.components.errors import ModelError

PREFILL, DECODE = "ratchet_slots_prefill", "ratchet_slots_decode"
# One split: the order of a row's sum does not depend on the longest row. torch 2.11 does not have this argument.
_FLASH_ARGUMENTS = {argument.name for argument in torch.ops.aten._flash_attention_forward.default._schema.arguments}
_ONE_SPLIT = {"num_splits": 1} if "num_splits" in _FLASH_ARGUMENTS else {}


class SlotCache:
    """Keys and values by layer; allocated when a layer first writes."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def bytes_per_token(self) -> int:
        """Of all layers together."""
        return sum(t[0].numel() * t.element_size() for pair in self.layers.values() for t in pair)

    def of(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's [tokens, H, D] tensors; ``key`` and ``value`` [B, H, L, D] show their shape."""
        if layer not in self.layers:
            # Zeros: a slot that was never filled must not contain NaN.
            self.layers[layer] = tuple(x.new_zeros(self.tokens, x.shape[1], x.shape[3]) for x in (key, value))  # type: ignore[assignment]
        return self.layers[layer]

    def resized(self, tokens: int) -> "SlotCache":
        """An empty cache for the same layers."""
        other = SlotCache(tokens)
        for layer, pair in self.layers.items():
            other.layers[layer] = (pair[0].new_zeros(tokens, *pair[0].shape[1:]), pair[1].new_zeros(tokens, *pair[1].shape[1:]))
        return other

    def move(self, stride: int, sources: Tensor, targets: Tensor) -> None:
        """Copy whole slots."""
        for pair in self.layers.values():
            for tensor in pair:
                slots = _by_slot(tensor, stride)
                slots[targets] = slots[sources]


@dataclass
class Prefill:
    """A prefill pass: the keys and values of each prompt go to ``samples`` slots."""

    cache: SlotCache
    stride: int  # T
    slots: Tensor  # [prompts x samples] long
    samples: int

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Store [B, H, L, D]; rows after the prompts are padding."""
        prompts, width = len(self.slots) // self.samples, key.shape[2]
        for stored, new in zip(self.cache.of(layer, key, value), (key, value), strict=True):
            rows = new[:prompts].transpose(1, 2).repeat_interleave(self.samples, 0)
            _by_slot(stored, self.stride)[:, :width].index_copy_(0, self.slots, rows)


@dataclass
class Decode:
    """A decoding step: one new token per slot."""

    cache: SlotCache
    stride: int  # T
    starts: Tensor  # [S + 1] int32: of each slot
    rows: Tensor  # [S + 1] int32: 0, 1, ... S
    place: Tensor  # [S] long: where the new token goes
    used: Tensor  # [S] int32: tokens of each slot, the new one included
    reach: int  # no slot is longer
    flash: bool
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def begin(self, lengths: Tensor, reach: int) -> None:
        """Set the places of a step from the tokens [S] that each slot holds."""
        self.place.copy_(self.starts[:-1] + lengths)
        self.used.copy_(lengths + 1)
        self.reach = reach
        self._masks.clear()

    def mask(self, window: int | None) -> Tensor:
        """True where a slot's token is seen, [S, 1, 1, reach]; the same for all layers of one kind."""
        if window not in self._masks:
            columns, used = torch.arange(self.reach, device=self.used.device), self.used[:, None]
            seen = columns < used
            if window is not None:
                seen = seen & (columns >= used - window)
            self._masks[window] = seen[:, None, None]
        return self._masks[window]


def unread_mask(device: torch.device) -> Tensor:
    """The mask passed to a model, which passes it on unchanged instead of building its own."""
    return torch.zeros(1, 1, 1, 1, device=device)


_ACTIVE: ContextVar[Prefill | Decode] = ContextVar("slots")


@contextmanager
def active(state: Prefill | Decode) -> Iterator[None]:
    """The attention functions read and write these slots within."""
    token = _ACTIVE.set(state)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def refuse_extras(arguments: dict[str, Any]) -> None:
    extras = [name for name in ("softcap", "s_aux", "position_bias") if arguments.get(name) is not None]
    if extras:
        raise ModelError(f"its attention takes {', '.join(extras)}. The plain engine serves it.")


def prefill(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: object, **arguments: Any) -> tuple[Tensor, None]:
    """Causal attention over prompts padded on the right [B, H, L, D]; positions after a prompt's end are never read."""
    refuse_extras(arguments)
    state, window, width = _ACTIVE.get(), arguments.get("sliding_window"), query.shape[2]
    assert isinstance(state, Prefill)
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary positions make them fp32 under autocast
    state.write(int(module.layer_idx), key, value)  # type: ignore[arg-type]
    mask = None
    if window is not None and width > window:
        columns = torch.arange(width, device=query.device)
        distance = columns[:, None] - columns
        mask = (distance >= 0) & (distance < window)
    out = nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=arguments.get("scaling"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2), None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # what it reads and writes is not the graph's business
def decode(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: object, **arguments: Any) -> tuple[Tensor, None]:
    """Attention of one new token for each slot, [S, H, 1, D], over its slot."""
    refuse_extras(arguments)
    state = _ACTIVE.get()
    assert isinstance(state, Decode)
    query, key = query.to(value.dtype), key.to(value.dtype)
    keys, values = state.cache.of(int(module.layer_idx), key, value)  # type: ignore[arg-type]
    keys.index_copy_(0, state.place, key[:, :, 0])
    values.index_copy_(0, state.place, value[:, :, 0])
    attend = _flash if state.flash else _plain
    return attend(state, query, keys, values, arguments.get("scaling"), arguments.get("sliding_window")), None


def _flash(state: Decode, query: Tensor, keys: Tensor, values: Tensor, scale: float | None, window: int | None) -> Tensor:
    """Variable-length flash attention, [S, 1, H, D]."""
    out = torch.ops.aten._flash_attention_forward(
        query[:, :, 0].contiguous(),
        keys,
        values,
        state.rows,
        state.starts,
        1,
        state.stride,
        0.0,
        False,
        False,
        scale=scale,
        seqused_k=state.used,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
        **_ONE_SPLIT,
    )[0]
    return cast(Tensor, out[:, None])


def _plain(state: Decode, query: Tensor, keys: Tensor, values: Tensor, scale: float | None, window: int | None) -> Tensor:
    """Masked attention over the slots, [S, 1, H, D]."""
    key, value = (_by_slot(x, state.stride)[: len(query), : state.reach].transpose(1, 2) for x in (keys, values))
    gqa = query.shape[1] != keys.shape[1]
    mask = state.mask(window)
    out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=gqa)
    return out.transpose(1, 2)


def _by_slot(tensor: Tensor, stride: int) -> Tensor:
    """[S x T and perhaps more, H, D] as [S, T, H, D]."""
    slots = len(tensor) // stride
    return tensor[: slots * stride].view(slots, stride, *tensor.shape[1:])


ALL_ATTENTION_FUNCTIONS.register(PREFILL, prefill)
ALL_ATTENTION_FUNCTIONS.register(DECODE, decode)
