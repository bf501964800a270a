"""How long the phases of a step take on a rank, and what it sends.

All completions reach the limit; grading, dev evaluations and checkpoints are not counted. The rates are of the compiled engine
and update on one GPU (docs/engines.md, docs/results.md), as shares of what the data sheets say, so that they carry over to
other GPUs and sizes: that they do is an assumption. The optimiser's own time is within them.
"""

from dataclasses import dataclass

from ratchet.components.launch.ranks import BUCKET
from ratchet.components.policy.configuration import ModelShape
from ratchet.components.recipe import Train
from ratchet.components.training.matrices import lora_parameters
from ratchet.components.training.memory import BF16, FP32, SLOTS
from ratchet.components.training.price import Operations, operations
from ratchet.components.training.scaling.cluster import MICROSECOND, NOTHING, Cluster, Transfer


@dataclass(frozen=True)
class Rates:
    """What is assumed of the code, measured on an H200 with Qwen2.5-0.5B's shape unless it says otherwise.

    The first two are a line through the steps of 32, 128, 512 and 1,024 slots in docs/engines.md (1.93, 2.22, 3.91, 6.21 ms);
    the next four are of 64 x 8 completions of 256 tokens behind prompts of 128, in docs/results.md.
    """

    decode_layer: float = 39 * MICROSECOND  # of a decode step, per layer, whatever its rows
    decode_share: float = 0.24  # of the memory's bandwidth that a decode step reaches beyond that
    utilisation: float = 0.37  # of the products' speed: an update of 442 TFLOP in 1.21 s
    eager: float = 0.17  # the same where layers are not compiled, as sharded ones: 2.68 s, with a dense mask
    queue: float = 0.125 / 24  # seconds to queue a forward and backward pass, per layer
    figures: float = 0.05 / 131_072  # seconds per completion token of the whole batch
    read: float = 0.12 * MICROSECOND  # the same, for what other ranks drew: 0.42 s for 3.6 million; one core of an AMD EPYC
    host_network: float = 1e9  # bytes per second by which rollouts reach a rank (gloo over TCP); an assumption


MEASURED = Rates()
TOKEN_BYTES = 28  # of a completion's token among ranks: its number, log-prob and entropy, 8 each, and 4 of text


@dataclass(frozen=True)
class Work:
    """A step of the rank with the most prompts."""

    train: Train  # of this rank: with its prompts, and without auto
    prompts: int  # of all ranks
    shape: ModelShape
    prompt_tokens: int
    new_tokens: int
    low: bool  # bf16
    cluster: Cluster
    rates: Rates = MEASURED
    sharded: bool = False

    @property
    def rows(self) -> int:
        """Completions."""
        return self.train.prompts * self.train.group_size

    @property
    def batch_tokens(self) -> int:
        """Completion tokens of all ranks."""
        return self.prompts * self.train.group_size * self.new_tokens

    @property
    def others_tokens(self) -> float:
        """Those that the other ranks draw."""
        return self.batch_tokens * (1 - 1 / self.cluster.workers)

    @property
    def width(self) -> int:
        """Bytes of a weight in products, and of a key or value."""
        return BF16 if self.low else FP32

    @property
    def trained(self) -> int:
        """Parameters of the policy that learn."""
        lora = self.train.lora
        return lora_parameters(self.shape, lora.rank) if lora else self.shape.parameters

    @property
    def critic(self) -> int:
        """Parameters of a critic of its own."""
        train = self.train
        return self.shape.trunk_parameters if train.has_critic and train.critic.trunk == "own" else 0

    @property
    def operations(self) -> Operations:
        return operations(self.train, self.shape, self.prompt_tokens, self.new_tokens)

    def passes(self, minibatches: int) -> int:
        """Forward passes over the rank's prompts once, in so many minibatches; a prompt's group is not cut."""
        group = self.prompt_tokens + self.train.group_size * self.new_tokens
        prompts = -(-self.train.prompts // minibatches)
        return minibatches * -(-prompts // max(1, self.train.tokens_at_once // group))

    @property
    def learning_passes(self) -> tuple[int, int]:
        """Forward and backward passes of a step: the policy's, and those of a critic of its own."""
        train = self.train
        critic = self.passes(train.critic.minibatches or train.minibatches) if self.critic else 0
        return train.epochs * self.passes(train.minibatches), train.epochs * critic


def decode_seconds(work: Work, rows: float) -> float:
    """A token of each row: what every layer costs, and the bytes read and written, at the share of the bandwidth.

    Weights once, without the embeddings that are only looked up; keys and values of the context, on average the prompt and half
    of the completion, 2 L g per token; the fp32 logits three times, written once and read in the sampler's two passes.
    """
    shape = work.shape
    weights = shape.parameters - (shape.vocabulary * shape.width if shape.head_parameters else 0)
    context = work.prompt_tokens + work.new_tokens / 2
    row = context * 2 * shape.layers * shape.key_value * work.width + 3 * FP32 * shape.vocabulary
    moved = weights * work.width + rows * row
    return shape.layers * work.rates.decode_layer + moved / (work.cluster.gpu.bandwidth * work.rates.decode_share)


def rollout_seconds(work: Work) -> float:
    """Every prompt once through the model; then as many rounds of decode steps as it takes for the rows to have had slots."""
    shape, rounds = work.shape, -(-work.rows // SLOTS)
    trunk = shape.trunk_parameters - shape.vocabulary * shape.width
    products = 2.0 * trunk * work.train.prompts * work.prompt_tokens
    prefill = products / (work.cluster.gpu.speed(work.low) * work.rates.utilisation)
    return prefill + rounds * work.new_tokens * decode_seconds(work, work.rows / rounds)


def scoring_seconds(work: Work) -> float:
    """The reference's and the critic's forward passes."""
    return _computing(work, work.operations.scoring)


def update_seconds(work: Work) -> float:
    """The products, or queueing the passes if that takes longer."""
    queued = sum(work.learning_passes) * work.shape.layers * work.rates.queue
    return max(_computing(work, work.operations.update), queued)


def batch_seconds(work: Work) -> float:
    """What every rank does for the whole batch, which it knows: reading what the other ranks drew, and figures."""
    reading = work.rates.read + TOKEN_BYTES / work.rates.host_network
    return work.batch_tokens * work.rates.figures + work.others_tokens * reading


def _computing(work: Work, count: float) -> float:
    """Seconds of so many operations."""
    return count / (work.cluster.gpu.speed(work.low) * (work.rates.eager if work.sharded else work.rates.utilisation))


@dataclass(frozen=True)
class Traffic:
    """What a rank sends in a step."""

    rollouts: float  # bytes; their time is :func:`batch_seconds`
    gradients: Transfer
    weights: Transfer = NOTHING  # gathered for passes
    sampler: Transfer = NOTHING  # its copy of the weights, gathered
    hidden: bool = False  # whether gradients and weights move while passes compute

    def as_json(self) -> dict[str, float]:
        """Bytes."""
        moved = {"gradients": self.gradients, "weights": self.weights, "sampler": self.sampler}
        return {"rollouts": self.rollouts, **{name: transfer.bytes for name, transfer in moved.items()}}

    def exposed(self, computing: float) -> float:
        """Seconds that this adds to a step whose passes compute for so many seconds."""
        moving = (self.gradients + self.weights).seconds
        return (max(0.0, moving - computing) if self.hidden else moving) + self.sampler.seconds


def traffic(work: Work) -> Traffic:
    """Gradients in fp32, weights in the precision of products, completions as tokens."""
    return _sharded(work) if work.sharded else _replicated(work)


def _replicated(work: Work) -> Traffic:
    """One sum of all gradients per optimiser step, after its passes, in buckets: 2 (W - 1) / W x 4 N bytes."""
    train = work.train
    critic = train.epochs * (train.critic.minibatches or train.minibatches) * bool(work.critic)
    sums = work.cluster.all_reduce(FP32 * work.trained, -(-work.trained // BUCKET)) * train.updates
    sums += work.cluster.all_reduce(FP32 * work.critic, -(-work.critic // BUCKET)) * critic
    return Traffic(work.others_tokens * TOKEN_BYTES, sums)


def _sharded(work: Work) -> Traffic:
    """A layer at a time, the next one's while one computes; and the sampler's copy once.

    Weights are gathered for each forward and again for each backward pass, (W - 1) / W x 2 N bytes in bf16; gradients are
    summed into shares in each backward pass, (W - 1) / W x 4 N.
    """
    cluster, train, pieces = work.cluster, work.train, work.shape.layers + 1
    policy, critic = work.learning_passes
    scoring = work.passes(1)
    whole = cluster.all_gather(work.width * work.shape.parameters, pieces)
    trunk = cluster.all_gather(work.width * work.critic, pieces)
    weights = whole * (2 * policy + scoring * train.needs_reference) + trunk * (2 * critic + scoring * bool(work.critic))
    sums = cluster.reduce_scatter(FP32 * work.trained, pieces) * policy
    sums += cluster.reduce_scatter(FP32 * work.critic, pieces) * critic
    return Traffic(work.others_tokens * TOKEN_BYTES, sums, weights, whole, hidden=True)
