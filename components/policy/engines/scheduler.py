"""The scheduler of continuous batching: which prompt goes into which slots, and when.

Plain numbers on the host, so that every run of a seed decides in the same way.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Admission(NamedTuple):
    """Prompts of one prefill pass, each into as many slots as it has samples."""

    prompts: list[int]
    slots: list[int]  # prompt-major
    rows: list[int]  # of the results, prompt-major
    width: int  # tokens of the pass per prompt, padding included


class Scheduler:
    """The queue of prompts and the slots."""

    def __init__(self, widths: Sequence[int], samples: int, slots: int, mixed: bool) -> None:
        """
        Args:
            widths: to which each prompt is padded.
            mixed: whether one pass takes prompts of different widths; then the widest sets the width.
        """
        self._widths, self._samples, self._mixed = widths, samples, mixed
        self._queue = deque(sorted(range(len(widths)), key=lambda prompt: (widths[prompt], prompt)))
        self.slots: list[int | None] = [None] * slots  # the row in each slot; None means free
        self.ended: list[tuple[int, int]] = []  # (slot, row) that ended and have not been collected

    @property
    def live(self) -> int:
        """Slots in which a row is being drawn."""
        return sum(row is not None for row in self.slots)

    @property
    def waiting(self) -> bool:
        """Whether prompts are left in the queue."""
        return bool(self._queue)

    @property
    def wants_prompts(self) -> bool:
        """Whether enough slots are free to be worth a pass over prompts: an eighth, or all."""
        free = len(self.slots) - self.live
        return self.waiting and free >= max(self._samples, min(len(self.slots) // 8, len(self._queue) * self._samples))

    def admit(self, most: Callable[[int], int]) -> Admission:
        """Take prompts from the queue, as many as have free slots and at most ``most(width)``."""
        free = [slot for slot, row in enumerate(self.slots) if row is None]
        width = self._widths[self._queue[0]]
        count = min(most(width), len(free) // self._samples)
        prompts: list[int] = []
        while self._queue and len(prompts) < count and (self._mixed or self._widths[self._queue[0]] == width):
            prompts.append(self._queue.popleft())
        width = max(self._widths[prompt] for prompt in prompts)
        rows = [prompt * self._samples + number for prompt in prompts for number in range(self._samples)]
        slots = free[: len(rows)]
        for slot, row in zip(slots, rows, strict=True):
            self.slots[slot] = row
        return Admission(prompts, slots, rows, width)

    def end(self, done: Sequence[bool]) -> None:
        """Free the slots that are done."""
        for slot, row in enumerate(self.slots):
            if row is not None and done[slot]:
                self.ended.append((slot, row))
                self.slots[slot] = None

    def shrink(self, slots: int) -> list[tuple[int, int]]:
        """Keep only the first ``slots``; returns the (source, target) slots to copy."""
        targets = (slot for slot in range(slots) if self.slots[slot] is None)
        sources = [slot for slot in range(slots, len(self.slots)) if self.slots[slot] is not None]
        moves = [(source, next(targets)) for source in sources]
        for source, target in moves:
            self.slots[target] = self.slots[source]
        del self.slots[slots:]
        return moves


def buckets(slots: int, ratio: float, least: int) -> list[int]:
    """Slot counts to shrink through, largest first."""
    sizes = [slots]
    while int(sizes[-1] / ratio) >= least:
        sizes.append(int(sizes[-1] / ratio))
    return sizes
