"""What may be deleted: nothing that was used recently or is needed. Pure functions."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.recipe import Retention

DAY_SECONDS = 86_400.0
LOOKED_UP_BEFORE = 3600.0  # a run finds its first stages before it is recorded as begun
ABANDONED_DAYS = 30  # a killed run that was not resumed for this long counts as abandoned
REFUSED = ("REJECT", "UNDERPOWERED", "INVALID", "ERROR")
LEFT = ("PROMOTE", "pending", "none")  # verdicts of versions that nobody promoted, or that a killed run or a person registered
StageName = tuple[str, str]  # stage, key


@dataclass(frozen=True)
class Item:
    """One thing that could be deleted."""

    kind: str  # stage, checkpoints, leftover, workspace, version, dataset, comparison, stacks
    name: str
    used: float  # seconds since 1970
    size: int = 0  # bytes

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "bytes": self.size, "used": self.used}


@dataclass(frozen=True)
class RunRecord:
    """The ledger's record of a run that ended."""

    model: str
    run_id: str
    started: float
    stages: frozenset[StageName]
    dataset: str | None


def finished_runs(rows: Iterable[Mapping[str, Any]]) -> list[RunRecord]:
    """Runs with a result, newest first, from the ledger's rows."""
    return [_record(row, json.loads(row["result"])) for row in rows if row["result"]]


def _record(row: Mapping[str, Any], result: Mapping[str, Any]) -> RunRecord:
    stages = frozenset((stage["name"], stage["key"]) for stage in result.get("stages", []))
    return RunRecord(row["model"], row["run_id"], seconds(row["started"]), stages, result.get("dataset"))


def newest_runs(runs: Sequence[RunRecord], keep: Callable[[str], int]) -> list[RunRecord]:
    """The newest runs of each model: as many as ``keep`` says of it."""
    models = {run.model for run in runs}
    return [run for model in models for run in [r for r in runs if r.model == model][: keep(model)]]


def kept_champions(history: Sequence[Promotion], keep: int | None) -> set[str]:
    """Versions whose files and lineage stay. A rollback makes an older version champion again, and thus the newest."""
    if keep is None:
        return {promotion.version for promotion in history}
    newest = list(dict.fromkeys(promotion.version for promotion in reversed(history)))
    return set(newest[:keep])


def open_since(rows: Iterable[Mapping[str, Any]], now: float, abandoned_days: float = ABANDONED_DAYS) -> float:
    """First start of the oldest open run that may resume, less a margin: what was used since is needed. ``now`` without any.

    Args:
        abandoned_days: after its newest start, a run that is open still does not count.
    """
    oldest = now - abandoned_days * DAY_SECONDS
    rows = [row for row in rows if row["result"] is None and seconds(row["started"]) > oldest]
    return min((seconds(row.get("begun") or row["started"]) - LOOKED_UP_BEFORE for row in rows), default=now)


def deletable(items: Iterable[Item], needed: Iterable[str], since: float, keep_days: int, now: float) -> list[Item]:
    """Items that are not needed: not in ``needed``, not used within ``keep_days`` days or since an open run began.

    Args:
        needed: names of items.
        since: start of the oldest open run.
    """
    names, limit = set(needed), min(now - keep_days * DAY_SECONDS, since)
    return [item for item in items if item.name not in names and item.used < limit]


def refused_versions(tags: Mapping[str, Mapping[str, str]], keep: int) -> list[str]:
    """Refused versions, and others that were left, but the newest ``keep``, oldest first.

    Args:
        tags: of each version that was never promoted and can no longer be approved, by its number.
    """
    refused = sorted((number for number, values in tags.items() if values.get("verdict") in REFUSED + LEFT), key=int)
    return refused[: max(0, len(refused) - keep)]


def policy_of(retention: Retention) -> str:
    """The policy as text."""
    champions = "all champions" if retention.keep_champions is None else f"{retention.keep_champions} champions"
    return (
        f"kept: {retention.keep_days} days, {retention.keep_runs} runs, {champions}, "
        f"{retention.keep_refused_versions} refused versions"
    )


def seconds(moment: str) -> float:
    """A time of the ledger's in seconds since 1970.

    Raises:
        RegistryError: if it is not one.
    """
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError as error:
        raise RegistryError(f"the ledger has a time {moment!r}. Restore it from a backup.") from error
