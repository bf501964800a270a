"""One decoding step for all slots: its state on the device, and the step itself, which a graph can replay.

Notation: S slots, N new tokens at most. Nothing here waits for the device: a finished slot repeats its last step, which
only changes scratch, until the scheduler fills it again.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ratchet.components.policy.engines.slot_attention import Decode, SlotCache, active, unread_mask
from ratchet.components.policy.sampler import Choice, choose

FEW_ROWS, LARGE = 16, 2**24  # rows of hidden states; elements of a head's weight, 64 MiB in fp32


@dataclass(frozen=True)
class SlotState:
    """The state of each slot; the last column of what was drawn is scratch."""

    token: Tensor  # [S] long: drawn last, or the prompt's last
    length: Tensor  # [S] long: tokens whose keys and values it holds
    count: Tensor  # [S] long: tokens drawn
    done: Tensor  # [S] bool
    draws: Tensor  # [S, N] fp64
    tokens: Tensor  # [S, N + 1] long
    log_probs: Tensor  # [S, N + 1]
    entropies: Tensor  # [S, N + 1], nats

    @classmethod
    def empty(cls, slots: int, new_tokens: int, device: torch.device) -> "SlotState":
        """A state in which all slots are done."""

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(slots, *shape, dtype=dtype, device=device)

        return cls(
            token=zeros(),
            length=zeros(),
            count=zeros(),
            done=~zeros(dtype=torch.bool),
            draws=zeros(new_tokens, dtype=torch.float64),
            tokens=zeros(new_tokens + 1),
            log_probs=zeros(new_tokens + 1, dtype=torch.float32),
            entropies=zeros(new_tokens + 1, dtype=torch.float32),
        )

    def first(self, slots: int) -> "SlotState":
        """A view of the first slots."""
        return SlotState(**{f.name: getattr(self, f.name)[:slots] for f in fields(self)})

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copy slots; the sources become done."""
        for f in fields(self):
            tensor = getattr(self, f.name)
            tensor[targets] = tensor[sources]
        self.done[sources] = True

    def admit(self, slots: Tensor, token: Tensor, length: Tensor, draws: Tensor) -> None:
        """Start rows in these slots [n], at their prompts' last tokens [n], with prompts of so many tokens before them [n]."""
        self.token[slots] = token
        self.length[slots] = length
        self.count[slots] = 0
        self.done[slots] = False
        self.draws[slots] = draws

    def note(self, choice: Choice, ends: Tensor) -> None:
        """Write what was drawn and advance by a position; a finished slot writes to scratch and does not change.

        Args:
            ends: tokens that end a completion, [E] long.
        """
        limit, live = self.draws.shape[1], ~self.done
        column = torch.where(live, self.count, limit)[:, None]
        for stored, new in zip((self.tokens, self.log_probs, self.entropies), choice[:3], strict=True):
            stored.scatter_(1, column, new[:, None])
        self.length.add_(live)
        self.count.add_(live)
        self.token.copy_(torch.where(live, choice.tokens, self.token))
        self.done.logical_or_((choice.tokens[:, None] == ends).any(-1) | (self.count == limit))


@dataclass(frozen=True)
class Drawing:
    """How a decoder draws; part of a captured graph."""

    slots: int  # S
    stride: int  # T
    temperature: float
    ends: tuple[int, ...]


class Decoder:
    """Decoding steps of the first S slots."""

    def __init__(
        self, model: PreTrainedModel, cache: SlotCache, state: SlotState, drawing: Drawing, *, flash: bool, compiled: bool
    ) -> None:
        device = state.token.device
        rows = torch.arange(drawing.slots + 1, dtype=torch.int32, device=device)
        place, used = (torch.zeros(drawing.slots, dtype=kind, device=device) for kind in (torch.long, torch.int32))
        self.model, self.drawing, self.state = model, drawing, state.first(drawing.slots)
        self.decode = Decode(cache, drawing.stride, rows * drawing.stride, rows, place, used, drawing.stride, flash)
        self.choose: Callable[..., Choice] = torch.compile(choose, dynamic=False) if compiled else choose
        self.mask = unread_mask(device)
        self.ends = torch.tensor(drawing.ends, dtype=torch.long, device=device)
        self.reach = drawing.stride  # no slot is longer

    def step(self) -> None:
        """Draw one token in every slot that is not done."""
        state = self.state
        self.decode.begin(state.length, self.reach)
        with active(self.decode):
            out = self.model.base_model(
                input_ids=state.token[:, None], attention_mask=self.mask, position_ids=state.length[:, None], use_cache=False
            )
        logits = next_logits(self.model, out.last_hidden_state[:, -1])
        draws = state.draws.gather(1, state.count.clamp(max=state.draws.shape[1] - 1)[:, None])[:, 0]
        state.note(self.choose(logits, draws, self.drawing.temperature), self.ends)


def _waits_for_weight(head: nn.Module, hidden: Tensor) -> bool:
    """Whether a CPU spends an fp32 product with these hidden states [B, width] on reading the head's weight."""
    if type(head) is not nn.Linear or getattr(head, "bias", None) is not None or hidden.device.type != "cpu":
        return False
    exact = head.weight.dtype == hidden.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and len(hidden) <= FEW_ROWS and head.weight.numel() >= LARGE


def next_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """fp32 logits [B, V] of hidden states [B, width]; a half-precision product is not rounded to half precision again."""
    head = model.get_output_embeddings()
    if hidden.is_cuda and head.weight.dtype != torch.float32 and type(head) is nn.Linear:
        logits = torch.mm(hidden.to(head.weight.dtype), head.weight.t(), out_dtype=torch.float32)
        logits = logits if head.bias is None else logits + head.bias
    elif _waits_for_weight(head, hidden):
        # The other way round: with few rows, the CPU libraries read a large fp32 matrix several times as fast (not a bf16 one).
        logits = torch.mm(head.weight, hidden.t()).t().contiguous()
    else:
        logits = head(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return cast(Tensor, logits if cap is None else torch.tanh(logits / cap) * cap)
