"""A key-value cache that is written in place: transformers' own copies all it holds at every token.

Notation: B rows, H heads, L tokens so far, D numbers per head.
"""

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values [B, H, L, D], as views of tensors with room for more tokens."""

    def __init__(self, layer: DynamicLayer, samples: int, new_tokens: int) -> None:
        """Each row of ``layer`` ``samples`` times, with room for ``new_tokens`` more."""
        super().__init__()
        held = layer.keys, layer.values
        self.lazy_initialization(*held)
        self._stored = [_with_room(x, samples, new_tokens) for x in held]
        self._show(held[0].shape[0] * samples, held[0].shape[2])

    def _show(self, rows: int, tokens: int) -> None:
        self.keys, self.values = (x[:rows, :, :tokens] for x in self._stored)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append [B, H, n, D]."""
        rows, held = self.keys.shape[0], self.keys.shape[2]
        tokens = held + key_states.shape[2]
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:rows, :, held:tokens] = new
        self._show(rows, tokens)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        for view in (self.keys, self.values):
            view[: len(indices)] = view[indices]
        self._show(len(indices), self.keys.shape[2])


def _with_room(x: Tensor, samples: int, new_tokens: int) -> Tensor:
    rows, heads, tokens, size = x.shape
    stored = x.new_empty(rows, samples, heads, tokens + new_tokens, size)
    stored[:, :, :, :tokens] = x[:, None]
    return stored.view(rows * samples, heads, tokens + new_tokens, size)


def repeat_rows(cache: Cache, samples: int, new_tokens: int) -> None:
    """Repeat each row ``samples`` times; layers that would grow by copying get room for ``new_tokens`` more."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:  # not a subclass, which holds something else too
            cache.layers[number] = RoomyLayer(layer, samples, new_tokens)
        else:
            layer.batch_repeat_interleave(samples)
