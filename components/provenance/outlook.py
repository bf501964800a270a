"""Whether ``ratchet reproduce`` could train a version again that a run makes now. Nothing is imported to know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ratchet.components.code import checkout
from ratchet.components.code.checkout import code_state
from ratchet.components.code.constraints import (
    CONSTRAINTS,
    bytes_digest,
    elsewhere,
    installed_versions,
    lock_digest,
    off_lock,
    unlocked,
)
from ratchet.components.code.source_code import release_beside, sources_digest
from ratchet.components.code.user_sources import imported_libraries
from ratchet.components.errors import DataError, RecipeError
from ratchet.components.graders.judging import judging_files, judging_functions
from ratchet.components.provenance.reasons import COMMIT, Committed, Origin, Reason, reasons
from ratchet.components.recipe import Recipe
from ratchet.components.stages.data import input_files

ONLY_HERE = "A version that needs them is reproduced with --environment current."


@dataclass(frozen=True)
class Outlook:
    """Why a version that is made now could not be reproduced, and what to do before the run."""

    reasons: Sequence[Reason]
    only_here: bool  # what no index has is needed

    @property
    def said(self) -> str:
        return "; ".join(one.now for one in self.reasons)

    @property
    def remedy(self) -> str:
        steps = list(dict.fromkeys(step for one in self.reasons for step in one.steps))
        ordered = [*(step for step in steps if step != COMMIT), *(step for step in steps if step == COMMIT)]
        done = f"Before a run: {', '.join(ordered)}." if steps else ""
        return " ".join(filter(None, (done, ONLY_HERE if self.only_here else "")))


def outlook(project: Path, recipe: Recipe | None) -> Outlook:
    """
    Args:
        recipe: whose functions a run calls; None if it is not known.
    """
    origin = origin_here(project, recipe)
    return Outlook(list(reasons(origin)), only_here=bool(origin.local))


def origin_here(project: Path, recipe: Recipe | None) -> Origin:
    """Of a version that is made now."""
    state, release, lock = code_state(project), release_beside(project), lock_digest(project)
    lacking = unlocked(project, libraries_of(recipe)) if recipe is not None and lock is not None else set()
    others, installed = elsewhere() if lacking else set(), installed_versions()
    return Origin(
        commit=state.commit,
        changed=state.changed,
        tables=unrecorded_tables(project, state.tables, recipe),
        sources=sources_digest(),
        release=release,
        lock=lock,
        installed=installed,
        off_lock=off_lock(project, installed),
        committed=committed(project, state.commit, state.folder, release is None),
        lacking=sorted(lacking - others),
        local=sorted(lacking & others),
    )


def committed(project: Path, commit: str, folder: str, own_code: bool) -> Committed | None:
    """What a commit has; None if it is not in this repository.

    Args:
        folder: of the project within the repository.
        own_code: whether Ratchet's code is the commit's own, as in a clone.
    """
    if not checkout.has_commit(project, commit):
        return None
    lock = checkout.committed_file(project, commit, str(PurePosixPath(folder) / CONSTRAINTS))
    return Committed(checkout.committed_code_digest(project, commit, folder) if own_code else None, bytes_digest(lock))


def unrecorded_tables(project: Path, changed: Sequence[str], recipe: Recipe | None) -> list[str]:
    """Changed files of rows that a version does not record: neither sources of data nor what graders are said to read."""
    if recipe is None or not changed:
        return []
    try:
        recorded = {(project / file).resolve() for file in (*input_files(recipe.data), *judging_files(recipe))}
    except (DataError, RecipeError):  # there is no such file, which `check` says
        return []
    return [name for name in changed if (project / name).resolve() not in recorded]


def libraries_of(recipe: Recipe) -> set[str]:
    """Modules of installed libraries that the recipe's own functions import, graders' and rewards'."""
    found: set[str] = set()
    for function in judging_functions(recipe):
        try:
            found |= imported_libraries(function)
        except RecipeError:  # there is no such file, which `check` says
            continue
    return found
