"""What a user's function prints: its first lines are shown on stderr, the others are counted, so that they hide no message."""

import sys
from collections import Counter

from ratchet.components.text import redacted, visible

MOST = 20  # lines of a function that are shown, in all lives of its process

_shown: Counter[str] = Counter()  # lines, by function
_failed: set[str] = set()  # functions of which a call failed


class Printed:
    """The prints of one worker.

    Args:
        target: the function, which each line names.
    """

    def __init__(self, target: str) -> None:
        self.target, self.more = target, 0

    def show(self, output: bytes, failed: bool) -> None:
        """The lines of a call, redacted, as far as they are among the first; of the first call that fails, the last ones.

        A process that crashes prints why at its end.
        """
        text = output.decode(errors="replace").strip("\n")
        if not text:
            return
        first_failure = failed and self.target not in _failed
        if first_failure:
            _failed.add(self.target)
            lines = visible("\n".join(redacted(text).split("\n")[-MOST:])).split("\n")
        else:
            lines = visible(text).split("\n")[: max(0, MOST - _shown[self.target])]
        for line in lines:
            print(f"{self.target}: {line}", file=sys.stderr)
        _shown[self.target] += 0 if first_failure else len(lines)
        self.more += text.count("\n") + 1 - len(lines)

    def end(self) -> None:
        """How many more lines there were; once."""
        if self.more:
            print(f"{self.target}: ... and {self.more:,} more line{'s' * (self.more > 1)} that it printed", file=sys.stderr)
        self.more = 0
