"""The page over all runs of a project: the champion's line, and a table of the runs with their reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ratchet.components.report.champions import Entry, Reign, champions_line
from ratchet.components.report.theme import FILTER, page

LISTED = 1_000  # runs; the page says if there are more


@dataclass(frozen=True)
class Model:
    """The runs of one model, oldest first, and its champions."""

    name: str
    entries: Sequence[Entry]
    reigns: Sequence[Reign]
    champion: str  # in a sentence

    @property
    def line(self) -> Markup | None:
        return champions_line(self.entries, self.reigns)

    @property
    def newest_first(self) -> list[Entry]:
        return list(reversed(self.entries))

    @property
    def statuses(self) -> dict[str, int]:
        """How many runs ended in each way, the commonest first."""
        found = [entry.status for entry in self.entries]
        return {status: found.count(status) for status in sorted(set(found), key=lambda one: (-found.count(one), one))}


def render(models: Sequence[Model], when: str, cut: bool) -> str:
    """The page's HTML.

    Args:
        cut: whether there are more runs than the page lists.
    """
    return page("index.html.j2", FILTER, models=models, when=when, cut=LISTED if cut else None)
