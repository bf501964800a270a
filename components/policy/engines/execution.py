"""How steps run on a device: eager or as CUDA graphs, how often finished rows are read, which shapes are fixed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Step = Callable[[], None]


@dataclass(frozen=True)
class Execution:
    """How an engine runs on a device."""

    graphs: Callable[[], Callable[[Step], Step]]  # creates the step capturer, so that a step costs the host almost nothing
    captures: bool  # if so, a step's shapes and arguments must not change
    read_every: int  # steps between reads of finished rows
    ratio: float  # of a bucket of slots to the next smaller one
    least: int  # slots of the smallest bucket
    prefill_tokens: int | None  # tokens of every prefill pass; None: no fixed number
    cache_bytes: float  # share of memory for keys and values

    def width(self, tokens: int) -> int:
        """Tokens to which a prompt is padded; must not depend on other prompts if shapes are fixed."""
        return tokens if self.prefill_tokens is None or tokens == 0 else max(16, 1 << (tokens - 1).bit_length())

    def prompts(self, width: int) -> int:
        """Prompts of this width per prefill pass."""
        return 1 << 30 if self.prefill_tokens is None or width == 0 else max(1, self.prefill_tokens // width)


def no_graphs() -> Callable[[Step], Step]:
    """Runs steps eagerly."""
    return lambda step: step


ON_CPU = Execution(no_graphs, captures=False, read_every=1, ratio=1.1, least=1, prefill_tokens=None, cache_bytes=torch.inf)


def on_cuda(device: torch.device) -> Execution:
    """Graphs and fixed shapes; keys and values take up to three tenths of the device's memory."""
    memory = torch.cuda.get_device_properties(device).total_memory  # not of the free memory, which is not reproducible
    return Execution(Graphs, captures=True, read_every=8, ratio=2, least=64, prefill_tokens=4096, cache_bytes=0.3 * memory)


class Graphs:
    """Captures steps as CUDA graphs that share one memory pool. A pool without graphs cannot be reused."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Step) -> Step:
        """Capture a step. It runs once before, to allocate what is created at first use, and must not change anything then."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        self._pool = graph.pool()
        return graph.replay


class EndFlags:
    """Brings flags [S] to the host, through pinned memory: the only wait for the device, once per ``read_every`` steps."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._flags = torch.zeros(slots, dtype=torch.bool, pin_memory=self._cuda)

    def read(self, done: Tensor) -> list[bool]:
        """Whether each slot is done."""
        flags = self._flags[: len(done)]
        flags.copy_(done, non_blocking=True)
        if self._cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            event.synchronize()  # waits for the copy only, not for the whole device
        found: list[bool] = flags.tolist()
        return found
