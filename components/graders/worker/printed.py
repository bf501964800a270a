"""What a user's function prints: its first lines are shown on stderr, the others are counted, so that they hide no message."""

import sys
from collections import Counter

from ratchet.components.text import visible

MOST = 20  # lines of a function that are shown, in all lives of its process

_shown: Counter[str] = Counter()  # lines, by function


class Printed:
    """The prints of one worker.

    Args:
        target: the function, which each line names.
    """

    def __init__(self, target: str) -> None:
        self.target, self.more = target, 0

    def show(self, output: bytes) -> None:
        """The lines of a call, redacted, as far as they are among the first."""
        text = output.decode(errors="replace").strip("\n")
        if not text:
            return
        lines = visible(text).split("\n")[: MOST - _shown[self.target]]
        for line in lines:
            print(f"{self.target}: {line}", file=sys.stderr)
        _shown[self.target] += len(lines)
        self.more += text.count("\n") + 1 - len(lines)

    def end(self) -> None:
        """How many more lines there were; once."""
        if self.more:
            print(f"{self.target}: ... and {self.more:,} more line{'s' * (self.more > 1)} that it printed", file=sys.stderr)
        self.more = 0
