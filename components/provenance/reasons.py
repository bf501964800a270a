"""Why a version cannot be made again: one list, of a version by its lineage, of one made now by the project."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ratchet.components.code.checkout import UNKNOWN
from ratchet.components.code.constraints import CONSTRAINTS
from ratchet.components.code.source_code import NOT_INSTALLED

COMMIT = "commit"
SHOWN = 5  # names of a reason


class Committed(NamedTuple):
    """What a commit has: the digests of Ratchet's code, in a clone, and of the lock; None where it has none."""

    sources: str | None
    lock: str | None


@dataclass(frozen=True)
class Origin:
    """What decides whether a version can be made again."""

    commit: str  # or ``unknown``
    changed: Sequence[str]  # uncommitted paths
    tables: Sequence[str]  # committed files of rows that differ and whose content is not recorded
    sources: str  # digest of Ratchet's code
    release: str | None  # as in the record of code
    lock: str | None  # digest of constraints.txt
    installed: Mapping[str, str]  # versions of libraries
    off_lock: Mapping[str, str]  # library -> the lock's version, if another one is installed
    committed: Committed | None = None  # None if the commit is not at hand
    lacking: Sequence[str] = ()  # libraries that functions import and the lock lacks
    local: Sequence[str] = ()  # such libraries that no index has
    parent_is_registered: bool = True


class Reason(NamedTuple):
    """One reason, of a version that exists and of one that would be made now, and what to do before a run."""

    was: str
    now: str
    steps: tuple[str, ...] = ()
    clean: bool = False  # it holds of a clean environment alone


def reasons(origin: Origin) -> Iterator[Reason]:
    """Every reason, those that hold in any environment first; none if the version can be made again."""
    if origin.commit == UNKNOWN:
        was = "it was made outside a git checkout, so there is no commit to check out"
        yield Reason(was, "git names no commit of this project", ("`git init`", COMMIT))
    if origin.changed:
        yield Reason(
            f"it was made from uncommitted {_kinds(origin.changed)}", f"not committed: {few(origin.changed)}", (COMMIT,)
        )
    if origin.tables:
        names = few(origin.tables)
        was = f"it was made with uncommitted changes of {names}, whose content is not recorded"
        yield Reason(was, f"not committed: {names}, which no key of the recipe names", (COMMIT,))
    if origin.commit != UNKNOWN and origin.committed is not None and not origin.changed:
        yield from _unlike(origin, origin.committed, origin.commit[:12])
    yield from _of_libraries(origin)


def _unlike(origin: Origin, committed: Committed, commit: str) -> Iterator[Reason]:
    """What a checkout of the commit does not have as it was, though git knows of no change."""
    if origin.release is None and committed.sources != origin.sources:
        was, now = (f"the code that {verb} of commit {commit}" for verb in ("ran was not that", "runs is not that"))
        yield Reason(was, now, (COMMIT,))
    if origin.lock is not None and committed.lock is None:
        ignored = f"take {CONSTRAINTS} out of .gitignore"
        yield Reason(f"{CONSTRAINTS} was not committed in {commit}", f"{CONSTRAINTS} is not in git", (ignored, COMMIT))
    elif origin.lock is not None and committed.lock != origin.lock:
        yield Reason(f"{CONSTRAINTS} was not that of commit {commit}", f"{CONSTRAINTS} is not as committed", (COMMIT,))


def _of_libraries(origin: Origin) -> Iterator[Reason]:
    lock = "`make constraints`" if origin.release is None else "`ratchet lock`"
    if origin.lock is None:
        was = f"it was made without {CONSTRAINTS}, so its libraries are unknown"
        yield Reason(was, f"there is no {CONSTRAINTS}", (lock, COMMIT))
    if not origin.parent_is_registered:
        yield Reason("the version that it started from is not registered", "the champion is not registered")
    if origin.release == NOT_INSTALLED:
        was = "the Ratchet that made it was not installed, so there is no release to install"
        yield Reason(was, "the Ratchet that runs is not installed", ("`pip install ratchet-rl`",), clean=True)
    if origin.off_lock:
        names = ", ".join(f"{name} {origin.installed[name]} instead of {other}" for name, other in origin.off_lock.items())
        now = f"{CONSTRAINTS} has other versions of {few(list(origin.off_lock))}"
        yield Reason(f"it was made with libraries that differ from the lock ({names})", now, (lock, COMMIT), clean=True)
    if origin.lacking:
        said = f"{CONSTRAINTS} lacks {few(origin.lacking)}, which the recipe's functions import"
        yield Reason(said, said, (lock, COMMIT), clean=True)
    if origin.local:
        said = f"the recipe's functions import {few(origin.local)}, which came from no index"
        yield Reason(said, said, clean=True)


def few(names: Sequence[str]) -> str:
    """Names as a reason has them."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _kinds(paths: Sequence[str]) -> str:
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault(_kind(path), []).append(path)
    return ", ".join(f"{kind} ({few(names)})" for kind, names in sorted(kinds.items()))


def _kind(path: str) -> str:
    if path.endswith(CONSTRAINTS):
        return "constraints"
    return "recipe" if path.endswith((".yaml", ".yml")) else "code"
