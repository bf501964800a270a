"""Where ranks meet: PyTorch's store, on one address alone. What PyTorch starts by itself listens on all of a machine's."""

import socket
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

LOOPBACK = "127.0.0.1"


def store_at(address: str) -> "TCPStore":
    """A store that this process keeps, at a free port. It holds bytes, and nobody unpickles them."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        return TCPStore(address, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


def on_loopback() -> dict[str, str]:
    """The variables by which the ranks of one machine send to each other by its loopback interface alone."""
    found = psutil.net_if_addrs().items()
    name = next(name for name, addresses in found if any(one.address == LOOPBACK for one in addresses))
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
