"""How much memory a training step needs, from the model's shape and the recipe alone, and which micro-batch therefore fits.

Notation, of a model: h width, f feed-forward width, q and g width of all query heads and of all key heads, V vocabulary, L
layers, N parameters. B is bytes. Figures are of dense decoders with gated feed-forward layers, upper bounds for others.
The formulas for the state are those of Rajbhandari et al. 2020 (ZeRO, arXiv:1910.02054, section 3.1); those for activations
follow Korthikanti et al. 2022 (arXiv:2205.05198, section 4) for the layers of today, and tests/training/test_memory.py holds
them to what autograd saves.

The choice is made by estimate, not by trial. Fewer tokens per forward pass cost little down to some thousands; checkpointing
costs a third of the update, offload more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ratchet.components.policy.blocked_log_probs import BLOCK
from ratchet.components.policy.configuration import ModelShape
from ratchet.components.policy.logits import CPU_TILE, CUDA_TILE
from ratchet.components.recipe import Train
from ratchet.components.recipe.train import Optimizer
from ratchet.components.training.matrices import lora_matrices, matrices, trunk_matrices
from ratchet.components.training.optimizers import moment_bytes, step_bytes

FP32, BF16 = 4, 2
GIB = 2**30
SLOTS = 512  # completions that are drawn at a time, at most
SHARE = {"cuda": 0.85, "cpu": 0.7}  # of the memory: the rest is for libraries' own, fragments, and the estimate's error
Phase = Literal["held", "rollout", "critic", "update", "step", "dev"]


class Part(NamedTuple):
    """Bytes of one tensor or group of tensors, and the phase that needs them."""

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
        return self.of("held") + max(self.of(phase) for phase in ("rollout", "critic", "update", "step", "dev"))


@dataclass(frozen=True)
class Load:
    """What determines a step's memory besides the model."""

    samples: int  # completions of a step
    k: int
    prompt_tokens: int  # of the longest prompt
    new_tokens: int
    micro_tokens: int  # packed tokens of a forward pass
    low: bool  # bf16 autocast over fp32 weights
    cuda: bool = False
    checkpointing: bool = False
    offload: bool = False  # of checkpoints to the host's memory
    trained: Sequence[int] | None = None  # values of each matrix that learns, where it is not the whole model
    optimizer: Optimizer = "adamw"
    reference: Literal["held", "dev"] | None = None  # when a second copy of the starting policy is on the device
    critic: bool = False  # of its own
    reward_parameters: int = 0  # of a reward model
    shards: int = 1  # ranks that hold a part of the state each

    @property
    def sharded(self) -> bool:
        return self.shards > 1

    @property
    def group(self) -> int:
        """Packed tokens of one prompt and its completions."""
        return self.prompt_tokens + self.k * self.new_tokens

    @property
    def packed(self) -> int:
        """Tokens of the largest forward pass: as many groups as are allowed, or there are; at least one."""
        groups = self.samples // self.k
        return self.group * max(1, min(groups, self.micro_tokens // self.group))

    @property
    def targets(self) -> int:
        """Completion tokens among them."""
        return self.packed // self.group * self.k * self.new_tokens

    @property
    def flat(self) -> bool:
        """Whether the update attends to sequences of one flat row in bf16, in compiled layers unless they are sharded."""
        return self.cuda and self.low

    @property
    def slots(self) -> int:
        return min(self.samples, SLOTS)


def layer_bytes(shape: ModelShape, load: Load) -> int:
    """Activations that one decoder layer saves for the backward pass, B per token.

    Each of two RMS norms saves its input, the normalised input and one scale, in fp32: 8h + 4. In fp32 the three projections
    and the two of the feed-forward layer read one copy of what their norm gives, 4h; under autocast each casts its own, 2h.
    Then queries, keys and values repeated for each query head, and the attention's output: 4q, on a CPU in fp32 even under
    autocast, with a bf16 copy of the output; the log-sum-exp of each head; gate, its activation, up, and the product with it:
    4f.
    """
    if load.flat and not load.sharded:
        return compiled_layer_bytes(shape, load)
    compute = BF16 if load.low else FP32
    norms = 2 * (2 * FP32 * shape.width + FP32)
    inputs = (5 if load.low else 2) * compute * shape.width
    heads = 4 * FP32 + BF16 if load.low and not load.cuda else 4 * compute
    attention = heads * shape.query + FP32 * shape.heads
    return norms + inputs + attention + 4 * compute * shape.feed_forward


def compiled_layer_bytes(shape: ModelShape, load: Load) -> int:
    """The same of a compiled layer over a flat row under autocast: the backward pass computes again what takes no product.

    Its input in fp32 and what attention adds to it in bf16, 6h; queries, output, keys and values, 4q + 4g; the scales of two
    norms and the log-sum-exp; gate and up, 4f. Keys and values are gathered for each sequence again, not kept.
    """
    attention = 2 * BF16 * (shape.query + shape.key_value) + FP32 * (shape.heads + 2)
    return (FP32 + BF16) * shape.width + attention + 2 * BF16 * shape.feed_forward


def activation_bytes(shape: ModelShape, load: Load) -> int:
    """Activations of one micro-batch, B.

    With checkpointing a layer keeps its input alone, 4h, and one layer at a time is computed again; with offload that input is
    on the host. The last norm, and in fp32 on CUDA the mask [T, T] of each packed row, are there once. The masks of models with
    windows or caps, which are not known here, are not counted elsewhere.
    """
    layer = layer_bytes(shape, load)
    layers = shape.layers * layer
    if load.checkpointing:
        layers = layer + (0 if load.offload and load.cuda else shape.layers * FP32 * shape.width)
    once = 2 * FP32 * shape.width + (FP32 * load.group if load.cuda and not load.low else 0)
    return load.packed * (layers + once)


def logits_bytes(shape: ModelShape, load: Load) -> int:
    """The head in the backward pass: a tile's logits and their gradient, and the gradient of the head's weight in fp32, 4Vh.

    Compiled, a tile is read and written in bf16; else its softmax and the product with the loss's gradient are fp32 too. A CPU
    makes blocks of those logits that are more than a tile.
    """
    tile = load.targets * shape.vocabulary
    tile = min(tile, CUDA_TILE) if load.cuda else BLOCK if tile > CPU_TILE else tile
    per_logit = 2 * BF16 if load.flat else 3 * FP32 + (2 * BF16 if load.low else 0)
    return tile * per_logit + FP32 * shape.vocabulary * shape.width


def reference_bytes(shape: ModelShape, load: Load) -> int:
    """A model that only scores: its embeddings in fp32, 4Vh, its linear layers in the precision of their products."""
    embeddings = shape.vocabulary * shape.width
    return FP32 * embeddings + (BF16 if load.low else FP32) * (shape.parameters - embeddings)


def rollout_parts(shape: ModelShape, load: Load) -> list[Part]:
    """Keys and values of the completions in slots, 2 L g per token; logits of a step, and what the sampler makes of them.

    On CUDA all of it stays between rollouts, with a bf16 copy of the weights; on a CPU a prompt is held once for its
    completions.
    """
    prompts = load.slots if load.flat else load.slots // load.k
    tokens = prompts * load.prompt_tokens + load.slots * load.new_tokens
    cache = tokens * 2 * shape.layers * shape.key_value * (BF16 if load.flat else FP32)
    logits = load.slots * shape.vocabulary * FP32
    if load.flat:
        return [
            Part("key-value slots", cache, "held"),
            Part("sampler's copy of the weights", BF16 * shape.parameters, "held"),
            Part("sampler's logits", 2 * logits, "held"),
        ]
    return [
        Part("key-value cache", cache, "rollout"),
        Part("bf16 copy of the weights", BF16 * shape.parameters * load.low, "rollout"),
        Part("sampler's logits", 5 * logits, "rollout"),
    ]


DIVIDED = {  # parts of which a rank of a sharded training holds its share alone
    *("weights", "gradients", "optimizer moments", "reference", "reward model"),
    *("critic and its moments", "critic's gradients", "bf16 copy of the critic"),
}


def gathered_parts(shape: ModelShape, load: Load) -> list[Part]:
    """What a rank of a sharded training gathers, in the precision of products.

    While a layer computes: embeddings and head, which stay from the forward to the backward pass, the layer, and the next one;
    and the gradient of the largest of these, also as the sum's fp32 input. While completions are drawn and paid: all weights of
    the policy, and of the reward model, which is not under autocast.
    """
    compute = BF16 if load.low else FP32
    ends = shape.vocabulary * shape.width + shape.head_parameters
    layer = -(-(shape.parameters - ends) // shape.layers)
    gathered = compute * (ends + 2 * layer)
    return [
        Part("gathered weights", compute * shape.parameters, "rollout"),
        Part("gathered reward model", FP32 * load.reward_parameters, "rollout"),
        Part("critic's gathered layers", gathered * load.critic, "critic"),
        Part("gathered layers", gathered, "update"),
        Part("gradients being summed", (compute + FP32) * max(ends, layer) * (load.trained is None), "update"),
    ]


def step_parts(shape: ModelShape, load: Load) -> list[Part]:
    """What an optimiser with moments in 8 bits needs for its step in fp32, one tensor at a time, when activations are gone."""
    learn = matrices(shape) if load.trained is None else load.trained
    largest = max([*learn, *trunk_matrices(shape)] if load.critic else learn)
    held = max(shape.parameters if load.trained is None else sum(load.trained), shape.trunk_parameters * load.critic)
    working = step_bytes(load.optimizer, largest, load.cuda)
    return [Part("gradients while stepping", FP32 * held * bool(working), "step"), Part("optimizer's step", working, "step")]


def estimate(shape: ModelShape, load: Load) -> Estimate:
    """Every part of a step's memory, of a process or of one of the ranks that share its state.

    Weights, gradients and AdamW's two moments are fp32, 4 B per parameter each; in 8 bits a moment takes about 1 B. Under
    autocast a bf16 copy of the weights, 2 B, lives as long as a forward and backward pass. In shards (FSDP2; ZeRO's third
    stage, section 5.3 of the paper above) each of W ranks holds 1/W of what is in ``DIVIDED``.
    """
    trained = shape.parameters if load.trained is None else sum(load.trained)
    moments = moment_bytes(load.optimizer, trained, matrices(shape) if load.trained is None else load.trained)
    critic = shape.trunk_parameters if load.critic else 0
    of_the_critic = moment_bytes(load.optimizer, critic, trunk_matrices(shape) if load.critic else [])
    activations = activation_bytes(shape, load)
    parts = [
        Part("weights", FP32 * shape.parameters, "held"),
        Part("optimizer moments", moments, "held"),
        Part("reference", reference_bytes(shape, load) if load.reference else 0, load.reference or "dev"),
        Part("critic and its moments", FP32 * critic + of_the_critic, "held"),
        Part("bf16 copy of the critic", BF16 * critic * load.low, "held"),
        Part("reward model", FP32 * load.reward_parameters, "held"),
        *rollout_parts(shape, load),
        Part("critic's gradients", FP32 * critic, "critic"),
        Part("critic's activations", activations * load.critic, "critic"),
        Part("gradients", FP32 * trained, "update"),
        Part("bf16 copy of the weights", BF16 * shape.parameters * (load.low and not load.flat and not load.sharded), "update"),
        Part("activations", activations, "update"),
        Part("head", logits_bytes(shape, load), "update"),
        *step_parts(shape, load),
    ]
    if load.sharded:
        parts = [p._replace(bytes=-(-p.bytes // load.shards)) if p.name in DIVIDED else p for p in parts]
        parts += gathered_parts(shape, load)
    return Estimate([part for part in parts if part.bytes])


class Choice(NamedTuple):
    """Values of ``train`` that memory decides; the names are the recipe's."""

    micro_tokens: int
    gradient_checkpointing: bool
    offload: bool


# In order of preference.
LADDER = [
    *(Choice(tokens, False, False) for tokens in (16_384, 12_288, 8_192, 4_096)),
    *(Choice(tokens, True, False) for tokens in (16_384, 8_192, 4_096, 2_048)),
    *(Choice(tokens, True, True) for tokens in (16_384, 8_192, 4_096, 2_048, 1_024, 512)),
]


def choices(train: Train, cuda: bool) -> list[Choice]:
    """What the recipe leaves open, best first; a single one where it says everything. On a CPU nothing can be offloaded."""
    given = {name: value for name in Choice._fields if (value := getattr(train, name)) != "auto"}
    return list(dict.fromkeys(choice._replace(**given) for choice in LADDER if cuda or not choice.offload))


def fitted(options: Sequence[Choice], estimated: Callable[[Choice], Estimate], budget: int) -> Choice:
    """The first that stays within ``budget`` bytes; the last where none does."""
    return next((choice for choice in options if estimated(choice).peak <= budget), options[-1])


def with_choice(train: Train, choice: Choice) -> Train:
    """The recipe's section with these values in place of ``auto``."""
    return train.model_copy(update=choice._asdict())


def load_of(train: Train, shape: ModelShape, choice: Choice, **given: Any) -> Load:
    """The load of the recipe's step; ``given`` are the fields of :class:`Load` that it does not say."""
    trained = None if train.lora is None else lora_matrices(shape, train.lora.rank)
    return Load(
        samples=train.prompts * train.group_size,
        k=train.group_size,
        micro_tokens=choice.micro_tokens,
        checkpointing=choice.gradient_checkpointing,
        offload=choice.offload,
        trained=trained,
        optimizer=train.optimizer,
        critic=train.has_critic and train.critic.trunk == "own",
        **given,
    )


def estimate_of(train: Train, shape: ModelShape, choice: Choice, **given: Any) -> Estimate:
    """The estimate of the recipe's step; ``given`` as for :func:`load_of`."""
    return estimate(shape, load_of(train, shape, choice, **given))
