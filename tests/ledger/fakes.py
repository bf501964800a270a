"""A registry that is a dictionary, a clock that only moves when it is told to, and processes that die at a given step."""

from dataclasses import dataclass
from typing import Any

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.past_uses import Past, Spend
from ratchet.components.records import Outcome, Registered, Verdict


class Registry:
    """Aliases in memory; ``broken`` fails before the alias moves, ``denied`` says so when asked."""

    def __init__(self) -> None:
        self.aliases: dict[tuple[str, str], str] = {}
        self.broken = False
        self.denied = False
        self.damaged: set[str] = set()
        self.deleted: set[str] = set()

    def alias(self, name: str, alias: str) -> str | None:
        return self.aliases.get((name, alias))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        if self.broken:
            raise ConnectionError
        self.aliases[name, alias] = version

    def require_files(self, name: str, version: str) -> None:
        if version in self.deleted:
            raise RegistryError(f"the files of version {version} were deleted.")

    def require_movable(self, name: str) -> None:
        if self.denied:
            raise RegistryError(f"this user may not move the alias of {name}.")

    def registered(self, name: str, version: str) -> Registered:
        return Registered(version, f"w{version}", f"r{version}")

    def check_artifact(self, name: str, version: str) -> None:
        if version in self.damaged:
            raise RegistryError(f"version {version} is damaged.")


def count_use(ledger: Ledger, model: str, fold: str, challenger: str, incumbent: str, rules: str, items: str = "") -> int:
    """Count a use of a fold that nothing limits, at a level of 0.01; returns its number among those of the fold."""

    def admit(past: Past) -> Spend:
        own = past.own(fold, challenger, incumbent, rules)
        return Spend(own.number if own else 1 + len(past.uses_on({fold})), 0.01)

    judged = {item: {"prompt": item} for item in items.split()}
    spend = ledger.count_use(model, fold, challenger, incumbent, rules, judged, admit)
    assert spend is not None
    return spend.number


def promoting(challenger: str, incumbent: str = "i", fold: str = "") -> Verdict:
    """A verdict PROMOTE on a challenger; on a fold of its own, unless one is given."""
    return Verdict(Outcome.PROMOTE, ["r"], challenger, incumbent, fold_digest=fold or f"fold of {challenger}")


def uses(ledger: Ledger, model: str, fold: str) -> int:
    """How many uses of a fold were counted."""
    return len(ledger.past(model).uses_on({fold}))


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


class Died(BaseException):
    """Like SIGKILL, no handler of errors sees it."""


@dataclass
class Steps:
    """Counts steps; from ``last`` on the process is dead, and no clean-up of its does anything."""

    last: int
    taken: int = 0

    def take(self) -> None:
        self.taken += 1
        if self.taken >= self.last:
            raise Died


class Mortal:
    """Anything, each call of whose methods is a step."""

    def __init__(self, what: Any, steps: Steps) -> None:
        self._what, self._steps = what, steps

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._what, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._steps.take()
            return value(*arguments, **named)

        return call
