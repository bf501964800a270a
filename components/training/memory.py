"""How much memory a training step needs, by part, from the model's shape and the recipe alone.

Notation, of a model: h width, f feed-forward width, q and g width of all query heads and of all key heads, V vocabulary, L
layers, N parameters. B is bytes. Figures are of dense decoders with gated feed-forward layers, upper bounds for others.
The formulas for the state are those of Rajbhandari et al. 2020 (ZeRO, arXiv:1910.02054, section 3.1); those for activations
follow Korthikanti et al. 2022 (arXiv:2205.05198, section 4) for the layers of today, and tests/training/test_memory.py holds
them to what autograd saves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from components.policy.log_probs import LOGITS_AT_ONCE
from components.policy.shape import ModelShape

FP32, BF16 = 4, 2
GIB = 2**30
SAMPLER = 5 * FP32 + 8  # bytes per logit: five vectors in fp32, and the cumulative distribution in fp64
Phase = Literal["held", "rollout", "critic", "update"]


class Part(NamedTuple):
    """Bytes of one thing, and when they are needed."""

    name: str
    bytes: int
    phase: Phase


@dataclass(frozen=True)
class Estimate:
    """A step's memory. Phases follow one another; what is held is there in all of them."""

    parts: Sequence[Part]

    def of(self, phase: Phase) -> int:
        """Bytes of a phase's own parts."""
        return sum(part.bytes for part in self.parts if part.phase == phase)

    @property
    def peak(self) -> int:
        """Bytes at the most demanding moment."""
        return self.of("held") + max(self.of(phase) for phase in ("rollout", "critic", "update"))


@dataclass(frozen=True)
class Load:
    """What decides a step's memory beside the model."""

    samples: int  # completions of a step
    k: int
    prompt_tokens: int  # of the longest prompt
    new_tokens: int
    micro_tokens: int  # packed tokens of a forward pass
    low: bool  # bf16 autocast over fp32 weights
    checkpointing: bool = False
    offload: bool = False  # of checkpoints to the host's memory
    trained: int | None = None  # parameters that learn, where it is not all of them
    reference: bool = False  # a second copy of the starting policy is held
    critic: bool = False  # of its own
    reward_parameters: int = 0  # of a reward model

    @property
    def packed(self) -> int:
        """Tokens of the largest forward pass: as many as are allowed, or there are; at least one group."""
        group = self.prompt_tokens + self.k * self.new_tokens
        return max(group, min(self.micro_tokens, self.samples // self.k * group))

    @property
    def targets(self) -> int:
        """Completion tokens among them."""
        group = self.prompt_tokens + self.k * self.new_tokens
        return self.packed * self.k * self.new_tokens // group

    @property
    def row(self) -> int:
        """Tokens of a packed row."""
        return self.prompt_tokens + self.k * self.new_tokens


def layer_bytes(shape: ModelShape, row_tokens: int, low: bool) -> int:
    """Activations that one decoder layer saves for the backward pass, B per token.

    Each of two RMS norms saves its input, the normalised input and one scale, in fp32: 8h + 4. In fp32 the three projections
    and the two of the feed-forward layer read one copy of what their norm gives, 4h; under autocast each casts its own, 2h.
    Then queries, keys and values repeated for each query head, and the attention's output: 4q; the log-sum-exp of each head;
    gate, its activation, up, and the product with it: 4f. Under autocast each layer casts the attention mask: 2 B per column.
    """
    compute = BF16 if low else FP32
    norms = 2 * (2 * FP32 * shape.width + FP32)
    inputs = (5 if low else 2) * compute * shape.width
    attention = 4 * compute * shape.query + FP32 * shape.heads + (BF16 * row_tokens if low else 0)
    return norms + inputs + attention + 4 * compute * shape.feed_forward


def activation_bytes(shape: ModelShape, load: Load) -> int:
    """Activations of one micro-batch, B.

    With checkpointing a layer keeps its input alone, 4h, and one layer at a time is computed again; with offload that input is
    on the host. The last norm, and the mask [T, T] of each packed row, are there once.
    """
    layer = layer_bytes(shape, load.row, load.low)
    layers = shape.layers * layer
    if load.checkpointing:
        layers = layer + (0 if load.offload else shape.layers * FP32 * shape.width)
    once = 2 * FP32 * shape.width + FP32 * load.row
    return load.packed * (layers + once)


def logits_bytes(shape: ModelShape, load: Load) -> int:
    """The head over one tile of completion tokens in the backward pass: logits, scaled, log-softmax and two gradients."""
    tile = min(load.targets * shape.vocabulary, LOGITS_AT_ONCE)
    return tile * (5 * FP32 if not load.low else 4 * FP32 + 2 * BF16)


def cache_bytes(shape: ModelShape, load: Load) -> int:
    """Keys and values of all samples at their longest, B: 2 L g per token."""
    tokens = load.samples * (load.prompt_tokens + load.new_tokens)
    return tokens * 2 * shape.layers * shape.key_value * (BF16 if load.low else FP32)


def estimate(shape: ModelShape, load: Load) -> Estimate:
    """Every part of a step's memory.

    Weights, gradients and AdamW's two moments are fp32, 4 B per parameter each. Under autocast a bf16 copy of the weights, 2 B,
    lives as long as a forward and backward pass.
    """
    trained = shape.parameters if load.trained is None else load.trained
    critic = shape.trunk_parameters if load.critic else 0
    copy = BF16 * shape.parameters if load.low else 0
    activations = activation_bytes(shape, load)
    parts = [
        Part("weights", FP32 * shape.parameters, "held"),
        Part("optimizer moments", 2 * FP32 * trained, "held"),
        Part("reference", FP32 * shape.parameters * load.reference, "held"),
        Part("critic and its moments", 3 * FP32 * critic, "held"),
        Part("reward model", FP32 * load.reward_parameters, "held"),
        Part("key-value cache", cache_bytes(shape, load), "rollout"),
        Part("bf16 copy of the weights", copy, "rollout"),
        Part("logits of a decoding step", load.samples * shape.vocabulary * SAMPLER, "rollout"),
        Part("critic's gradients", FP32 * critic, "critic"),
        Part("critic's activations", activations * load.critic, "critic"),
        Part("gradients", FP32 * trained, "update"),
        Part("bf16 copy of the weights", copy, "update"),
        Part("activations", activations, "update"),
        Part("logits of a tile", logits_bytes(shape, load), "update"),
    ]
    return Estimate([part for part in parts if part.bytes])
