"""How far a run is, on stderr: one living line on a terminal, a line now and then in a log."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from ratchet.components.run.progress import Pace, Progress
from ratchet.components.stages.stage import Silent
from ratchet.components.text import redacted, visible
from ratchet.flows.cli.views.words import duration, title_of

PER_SECOND = 4  # how often the line is drawn, so that its time left counts down between two steps
SOONEST, LATEST = 30.0, 600.0  # seconds between two lines of a stage in a log: a tenth of its time so far, within these


class Display(Silent):
    """Draws the stage in progress, and prints how each ended."""

    def __init__(self, console: Console) -> None:
        self.console, self.pace = console, Pace()
        self.now: Progress | None = None
        self._live: Live | None = None
        self._printed = 0.0  # when the last line of this stage was printed in a log

    @property
    def living(self) -> bool:
        """Whether a line can be drawn over."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw within the block; whatever else is written meanwhile appears above the line."""
        if not self.living:
            yield
            return
        live = Live(
            console=self.console,
            get_renderable=self._line,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else it is somebody's file, or another program's input
        )
        before = {sys.stdout, sys.stderr} - {None}
        with live, logs_above_the_line(before):
            self._live = live
            yield
        self.now = self._live = None

    def _line(self) -> Text:
        found = "" if self.now is None else line_of(self.now, self.pace.clock())
        return Text(found, no_wrap=True, overflow="ellipsis", end="")

    def _draw(self) -> None:
        """At once; else what is printed next would be followed by the line as it was."""
        if self._live is not None:
            self._live.refresh()

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""
        before, self.now = self.now, self.pace.note(stage, done, total, redacted(note))
        fresh = before is None or before.stage != stage
        if self.living:
            if fresh:
                self._draw()
            return
        if fresh or (done < total and self.now.at - self._printed >= due_after(self.now)):
            self._printed = self.now.at
            self.console.print(line_of(self.now, self.now.at), highlight=False, markup=False, soft_wrap=True)

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        """Print how a stage ended."""
        self.now = None
        self._draw()
        how = "already finished" if cached else duration(seconds)
        self.console.print(f"[green]✓[/] {title_of(stage):<18} {how}", highlight=False)


def line_of(progress: Progress, now: float) -> str:
    """What matters most first, because a narrow terminal cuts the end off.

    Args:
        now: seconds since the epoch.
    """
    number = f"stage {progress.number} of {progress.stages}: " if progress.number else ""
    said = [f"{number}{title_of(progress.stage)}"]
    if progress.total > 1 and progress.done:
        said.append(f"{progress.done / progress.total:.0%}")
    left = progress.seconds_left
    if left is not None and progress.done < progress.total:
        said.append(f"about {duration(max(1.0, left - (now - progress.at)))} left")
    elif now - progress.since >= 1.0:
        said.append(f"since {duration(now - progress.since)}")
    if progress.total > 1:
        said.append(f"{progress.done:,} of {progress.total:,}")
    return ", ".join(said) + (f"  ({visible(progress.note)})" if progress.note else "")


def due_after(progress: Progress) -> float:
    """Seconds until a log gets the stage's next line."""
    return min(LATEST, max(SOONEST, (progress.at - progress.since) / 10))


@contextmanager
def logs_above_the_line(streams: set[object]) -> Iterator[None]:
    """Handlers of logs that were made before hold the terminal itself, and would write into the line.

    Args:
        streams: the terminal's streams before the line was drawn.
    """
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.Logger.manager.loggerDict))]
    handlers = {handler for logger in loggers for handler in logger.handlers if isinstance(handler, logging.StreamHandler)}
    moved = [(handler, handler.stream) for handler in handlers if handler.stream in streams]
    for handler, stream in moved:
        handler.setStream(sys.stderr if isinstance(sys.stderr, FileProxy) else stream)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
