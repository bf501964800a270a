"""Recorded hashes against what is still there: ok, differs, or not reachable."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from ratchet.components.digests import digest_of
from ratchet.components.provenance.lineage import Lineage


class State(StrEnum):
    """What a check found. Only ``differs`` is a fault; what was pruned or lies elsewhere is not reachable."""

    OK = "ok"
    DIFFERS = "differs"
    UNREACHABLE = "not reachable"


class Check(NamedTuple):
    """One recorded hash, and what became of it."""

    item: str
    state: State
    detail: str

    def as_json(self) -> dict[str, str]:
        return {"item": self.item, "state": self.state.value, "detail": self.detail}


def compared(item: str, recorded: object, actual: object, what: str) -> Check:
    """Whether two hashes, or two sets of files, are equal; ``what`` says against what it was held."""
    if actual is None:
        return Check(item, State.UNREACHABLE, f"{what} is not there")
    if recorded == actual:
        return Check(item, State.OK, f"equals {what}")
    if isinstance(recorded, Mapping) and isinstance(actual, Mapping):
        names = ", ".join(different(recorded, actual)[:5])
        return Check(item, State.DIFFERS, f"{names} differ from {what}")
    return Check(item, State.DIFFERS, f"{str(recorded)[:12]} is recorded, {what} has {str(actual)[:12]}")


def different(recorded: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    """Paths that only one side has, or whose digests differ."""
    return sorted({name for name, _ in set(recorded.items()) ^ set(actual.items())})


def check_tags(lineage: Lineage, tags: Mapping[str, str]) -> Check:
    """The tags that a person reads in MLflow, against the record."""
    recorded = {
        "weights_sha256": lineage.weights_sha256,
        "dataset_md5": lineage.dataset.md5,
        "recipe_digest": lineage.recipe_digest,
        "commit": lineage.code.commit,
    }
    return compared("tags", recorded, {name: tags.get(name, "none") for name in recorded}, "the version's tags")


def check_verdicts(found: Sequence[Mapping[str, Any]]) -> Check:
    """Verdicts of the ledger, each record against its digest."""
    if not found:
        return Check("verdict", State.UNREACHABLE, "the ledger has no verdict on these weights")
    wrong = [row["digest"][:12] for row in found if digest_of(row["record"]) != row["digest"]]
    if wrong:
        return Check("verdict", State.DIFFERS, f"the ledger's record of verdict {wrong[0]} is not what was decided")
    return Check("verdict", State.OK, f"{len(found)} in the ledger, each equals its digest")


def differs(checks: Sequence[Check]) -> bool:
    """Whether any recorded hash is not what is there."""
    return any(check.state is State.DIFFERS for check in checks)
