"""A project at a glance: what runs, who is champion, how the last runs ended, how much of the sealed test is left."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ratchet.components.errors import DataError, RegistryError
from ratchet.components.gate.folds import FoldState, states_of_folds
from ratchet.components.inspection.disagreements import disagreements
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.slots import slots_left
from ratchet.components.project.trained import last_known
from ratchet.components.recipe import Recipe
from ratchet.components.run.all_runs import INDEX, report_of
from ratchet.components.run.failures import Failure, failures
from ratchet.components.run.progress import Progress, progress_of
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.stage import Context, NotFinished
from ratchet.components.storage.disk import free_bytes
from ratchet.components.storage.home import Home
from ratchet.components.upkeep.orphans import Orphan, orphans

UNPREPARED = "the data are not prepared yet; `ratchet data prepare` does that."
PACE_DAYS = 30.0  # the uses of the test in this time give its pace


@dataclass(frozen=True)
class Running:
    """A run that a process acts for; its progress if that process is on this machine."""

    model: str
    run_id: str
    holder: str
    started: str
    progress: Progress | None


@dataclass(frozen=True)
class Sealed:
    """The sealed test of the recipe's dataset."""

    folds: list[FoldState]
    pace: float  # uses per day

    @property
    def left(self) -> int:
        return sum(fold.left for fold in self.folds)

    @property
    def days_left(self) -> float | None:
        """At the present pace; None without a use."""
        return self.left / self.pace if self.pace else None


@dataclass(frozen=True)
class Slot:
    """When a recipe runs by itself next."""

    model: str
    at: str | None  # ISO 8601; None if its rule gives no date any more
    rule: str
    served: bool  # whether a process of this machine schedules it


@dataclass(frozen=True)
class Overview:
    """What `ratchet status` shows. ``sealed`` is None without a recipe, and if its dataset is not or cannot be prepared."""

    running: list[Running]
    champions: dict[str, Promotion]  # by model
    runs: list[dict[str, Any]]  # newest first
    sealed: Sealed | None
    free_bytes: int
    slots: Sequence[Slot] = ()  # the next of each schedule
    all_runs: str | None = None  # path of the page over all runs
    unprepared: str | None = None  # why a recipe's sealed test is unknown
    failures: Sequence[Failure] = ()  # of models whose last run an error ended
    orphans: Sequence[Orphan] = ()
    blocked: Mapping[str, str] | None = field(default_factory=dict)  # by model, why; None: MLflow does not answer
    pending: Collection[str] = ()  # models whose champion MLflow's alias is not known to have followed

    def as_json(self) -> dict[str, Any]:
        """The shape of ``status --json``."""
        sealed = self.sealed and {**asdict(self.sealed), "left": self.sealed.left, "days_left": self.sealed.days_left}
        return {
            "running": [_running_json(one) for one in self.running],
            "champions": {model: promotion.as_json() for model, promotion in self.champions.items()},
            "blocked": self.blocked,
            "pending": sorted(self.pending),
            "runs": self.runs,
            "failures": [failure._asdict() for failure in self.failures],
            "sealed": sealed,
            "orphans": [orphan.as_json() for orphan in self.orphans],
            "slots": [asdict(slot) for slot in self.slots],
            "free_bytes": self.free_bytes,
            "all_runs": self.all_runs,
        }


def overview(
    home: Home, ledger: Ledger, recipe: Recipe | None, slots: Sequence[Slot] = (), names: Collection[str] = ()
) -> Overview:
    """
    Args:
        recipe: whose sealed test is shown.
        slots: the next of each schedule.
        names: models that may have a champion, besides the ledger's.
    """
    runs, holders = ledger.latest_runs(), ledger.unended()
    running = [
        Running(run["model"], run["run_id"], holders[run["identity"]], run["started"], progress_of(home, run["identity"]))
        for run in ledger.running_runs()
        if run["identity"] in holders
    ]
    champions = {model: champion for model in ledger.models() if (champion := ledger.champion(model)) is not None}
    left = slots_left(ledger)
    rows, page = [_row(home, run, left) for run in runs], home.reports / INDEX
    # Importing MLflow takes a second or two. Where the ledger has champions, doctor and each run look.
    blocked = {} if champions else _blocked(home, ledger, names)
    known = recipe if not blocked else None  # a ledger that was lost does not know what was used
    sealed, unprepared = (None, None) if known is None else _sealed_or_why_not(home, ledger, known)
    return Overview(
        running,
        champions,
        rows,
        sealed,
        free_bytes(home.state),
        slots=slots,
        all_runs=str(page) if page.is_file() else None,
        unprepared=unprepared,
        failures=list(failures(home)),
        orphans=list(orphans(home)),
        blocked=blocked,
        pending=set(ledger.pending()),
    )


def _blocked(home: Home, ledger: Ledger, names: Collection[str]) -> dict[str, str] | None:
    """None also where MLflow cannot be used, which doctor and each run say: what runs is to be seen in any case."""
    try:
        return disagreements(home, ledger, names)
    except RegistryError:
        return None


def _row(home: Home, run: Mapping[str, Any], left: Mapping[str, str]) -> dict[str, Any]:
    """A run as people look at it; ``said`` is how it ended, in a sentence.

    Args:
        left: the slot whose work is not done, by the identity of its run.
    """
    result = json.loads(run["result"]) if run["result"] else {}
    kept, report = ("verdict", "version", "previous", "gold", "said"), report_of(home, run["run_id"])
    return {
        **{name: run[name] for name in ("model", "run_id", "status", "started", "finished")},
        **{name: result.get(name) for name in kept},
        "slot": left.get(run["identity"]) if run["finished"] is None else None,
        "report": None if report is None else str(report),  # not the ledger's: the project may have been moved
    }


def _running_json(one: Running) -> dict[str, Any]:
    progress = one.progress
    if progress is None:
        return asdict(one)
    more = {"number": progress.number, "seconds_left": progress.seconds_left}
    return {**asdict(one), "progress": {**asdict(progress), **more}}


def _sealed_or_why_not(home: Home, ledger: Ledger, recipe: Recipe) -> tuple[Sealed | None, str | None]:
    """What runs, and how runs ended, is to be seen also where the dataset is not."""
    try:
        return _sealed(home, ledger, recipe), None
    except NotFinished:
        return None, UNPREPARED
    except DataError as error:
        return None, str(error)


def _sealed(home: Home, ledger: Ledger, recipe: Recipe) -> Sealed:
    context = replace(Context(recipe, home), compute=False)
    data = prepare_data(context)
    return Sealed(
        states_of_folds(context, ledger, data, last_known(context, ledger, data)),
        pace(ledger.times_of_uses(recipe.name), datetime.now(UTC)),
    )


def pace(times: Sequence[str], now: datetime) -> float:
    """Uses per day in the last 30 days, or since the first use if that is later.

    Args:
        times: of the uses, in ISO 8601, oldest first.
    """
    ages = [(now - datetime.fromisoformat(at)).total_seconds() / 86_400 for at in times]
    recent = [age for age in ages if age <= PACE_DAYS]
    return len(recent) / max(1.0, min(PACE_DAYS, ages[0])) if recent else 0.0
