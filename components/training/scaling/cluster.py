"""GPUs and what connects them: how many bytes a rank sends in a collective, and how long that takes.

Notation: W ranks on M nodes, n = W / M ranks per node, X bytes of the whole tensor. The formulas are those of rings, which send
the least possible (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002), split between links within nodes and the network.
"""

from dataclasses import dataclass

from ratchet.components.training.memory import GIB

GIGA, TERA = 1e9, 1e12
MICROSECOND = 1e-6


@dataclass(frozen=True)
class Gpu:
    """A GPU, and its share of the network. Figures of NVIDIA's data sheets; products are of dense matrices."""

    name: str
    memory: int  # bytes that torch reports, rounded down to GiB
    bandwidth: float  # bytes per second from and to its memory
    bf16: float  # operations per second
    fp32: float
    link: float  # bytes per second and direction to the other GPUs of its node (NVLink)
    network: float  # bytes per second and direction to other nodes: an adapter per GPU, as in DGX machines

    def speed(self, low: bool) -> float:
        """Operations per second of matrix products, in bf16 if ``low``."""
        return self.bf16 if low else self.fp32


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100", 79 * GIB, 2.0 * TERA, 312 * TERA, 19.5 * TERA, link=300 * GIGA, network=25 * GIGA),
        Gpu("h100", 79 * GIB, 3.35 * TERA, 989 * TERA, 67 * TERA, link=450 * GIGA, network=50 * GIGA),
        Gpu("h200", 139 * GIB, 4.8 * TERA, 989 * TERA, 67 * TERA, link=450 * GIGA, network=50 * GIGA),
    )
}
ASSUMED = GPUS["h100"]  # where this machine has none of them
PER_NODE = 8  # GPUs of a node, unless the recipe says how many nodes there are
LINK_SHARE = 0.8  # of a link's rate that a collective reaches; an assumption
# Of NCCL's own model of a ring (src/graph/tuning.cc, protocol Simple): once, per step in a node, per step between nodes.
BASE_LATENCY, LINK_LATENCY, NETWORK_LATENCY = 8.4 * MICROSECOND, 3.4 * MICROSECOND, 9.6 * MICROSECOND


@dataclass(frozen=True)
class Transfer:
    """What a rank sends, and the time until all ranks are done."""

    bytes: float = 0.0
    seconds: float = 0.0

    def __mul__(self, times: float) -> "Transfer":
        return Transfer(self.bytes * times, self.seconds * times)

    def __add__(self, other: "Transfer") -> "Transfer":
        return Transfer(self.bytes + other.bytes, self.seconds + other.seconds)


NOTHING = Transfer()


@dataclass(frozen=True)
class Cluster:
    """Ranks with a GPU each, spread evenly over nodes."""

    gpu: Gpu
    workers: int
    nodes: int = 1

    @property
    def per_node(self) -> float:
        return self.workers / self.nodes

    def all_gather(self, whole: float, pieces: int = 1) -> Transfer:
        """Every rank gets the shares of all others: X (W - 1) / W bytes per rank.

        Of these X (M - 1) / M / n go between nodes, where each rank fetches the shares of its place in the other nodes, and
        X (n - 1) / n within the node. W - 1 steps of latency, of which M - 1 are between nodes.

        Args:
            whole: X.
            pieces: collectives in which it is done, each with its latency.
        """
        w, m, n = self.workers, self.nodes, self.per_node
        if w == 1:
            return NOTHING
        within, between = whole * (n - 1) / n, whole * (m - 1) / m / n
        moving = within / (self.gpu.link * LINK_SHARE) + between / (self.gpu.network * LINK_SHARE)
        waiting = BASE_LATENCY + (w - m) * LINK_LATENCY + (m - 1) * NETWORK_LATENCY
        return Transfer(within + between, moving + pieces * waiting)

    def reduce_scatter(self, whole: float, pieces: int = 1) -> Transfer:
        """Every rank gets the sum of its share: as many bytes and steps as :meth:`all_gather`."""
        return self.all_gather(whole, pieces)

    def all_reduce(self, whole: float, pieces: int = 1) -> Transfer:
        """Every rank gets the sum of all: one after the other, X 2 (W - 1) / W bytes per rank."""
        return self.reduce_scatter(whole, pieces) + self.all_gather(whole, pieces)


def gpu_named(device: str | None) -> Gpu:
    """The GPU in the name that torch gives a device, such as ``NVIDIA H100 80GB HBM3``; else the assumed one."""
    return next((gpu for name, gpu in GPUS.items() if name in (device or "").lower()), ASSUMED)


def nodes_for(workers: int) -> int:
    """As many nodes as the ranks need."""
    return -(-workers // PER_NODE)
