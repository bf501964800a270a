"""The section ``launch``: the processes that train. Their number changes results in the last bits of sums alone."""

import re
from typing import Literal

from pydantic import model_validator

from ratchet.components.recipe.base import Count, Section

AUTO = "auto"  # of Ray: the cluster that this machine is a node of
HOST_AND_PORT = re.compile(r"^[A-Za-z0-9.\[\]:-]+:\d{1,5}$")


class Launch(Section):
    """What starts training: the run itself, torchrun, or Ray Train. Each rank is a process."""

    kind: Literal["process", "torchrun", "ray"] = "process"  # process: the run's own; ray needs the extra ray
    workers: Count = 1  # ranks of all nodes together; on GPUs one per GPU
    nodes: Count = 1  # machines of torchrun that share the project's folder; Ray places its workers itself
    # host:port at which torchrun's nodes meet; or, or auto, of the Ray cluster that this machine is in; null: this machine
    address: str | None = None
    # replicated: each rank has a copy of everything; sharded: a part of it (FSDP2); auto: sharded if a copy does not fit
    weights: Literal["auto", "replicated", "sharded"] = "auto"

    @model_validator(mode="after")
    def _is_possible(self) -> "Launch":
        if self.kind == "process":
            self._refuse_more_than_one_process()
            return self
        if self.workers < 2:
            raise ValueError(
                f"{self.kind} starts at least 2 workers, and workers is {self.workers}; raise it, or use kind: process"
            )
        if self.address is not None and not HOST_AND_PORT.match(self.address) and (self.kind, self.address) != ("ray", AUTO):
            raise ValueError(f"address is {self.address!r}; write host:port, such as trainer-0:29500")
        if self.kind == "ray" and self.nodes > 1:
            raise ValueError("Ray places its workers on nodes itself; remove launch.nodes")
        if self.kind == "torchrun":
            self._check_nodes()
        return self

    def _refuse_more_than_one_process(self) -> None:
        if (self.workers, self.nodes, self.address, self.weights) != (1, 1, None, "auto"):
            raise ValueError(
                "kind: process trains in one process, and launch asks for more; use kind: torchrun, or remove workers, nodes, "
                "address and weights"
            )

    def _check_nodes(self) -> None:
        if self.workers % self.nodes:
            raise ValueError(
                f"{self.workers} workers cannot be divided among {self.nodes} nodes; make workers a multiple of nodes"
            )
        if (self.nodes > 1) != (self.address is not None):
            raise ValueError(
                "nodes meet at an address: with more than one write address (host:port of one of them), with one remove it"
            )

    @property
    def local_workers(self) -> int:
        """Ranks of each node."""
        return self.workers // self.nodes
