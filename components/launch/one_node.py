"""The rendezvous of torchrun for a node that has no other to meet: a store on the loopback address, for the ranks as well.

PyTorch's dynamic rendezvous unpickles what it reads from its store, and each of PyTorch's own stores listens on all addresses.
"""

from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

from ratchet.components.launch.meeting import LOOPBACK, store_at
from ratchet.components.launch.torchrun import ONE_NODE


class OneNode(StaticTCPRendezvous):
    """Static rendezvous whose store is at a free port of the loopback address."""

    def __init__(self, run_id: str) -> None:
        self._kept = store_at(LOOPBACK)
        super().__init__(LOOPBACK, self._kept.port, rank=0, world_size=1, run_id=run_id, timeout=0)

    def get_backend(self) -> str:
        return ONE_NODE

    def next_rendezvous(self) -> RendezvousInfo:
        place = RendezvousStoreInfo(self.master_addr, self.master_port)
        return RendezvousInfo(PrefixStore(self.run_id, self._kept), self.rank, self.world_size, place)


def register() -> None:
    """Make it known to torchrun by its name."""
    rendezvous_handler_registry.register(ONE_NODE, _create)


def _create(parameters: RendezvousParameters) -> RendezvousHandler:
    return OneNode(parameters.run_id)
