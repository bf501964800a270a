"""Whether ``ratchet reproduce`` could train a version again that a run makes now. Nothing is imported to know it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.components.code.checkout import UNKNOWN, code_state
from ratchet.components.code.constraints import CONSTRAINTS, elsewhere, installed_versions, lock_digest, off_lock, unlocked
from ratchet.components.code.source_code import release_beside
from ratchet.components.code.user_sources import imported_libraries
from ratchet.components.errors import DataError, RecipeError
from ratchet.components.graders.judging import judging_files, judging_functions
from ratchet.components.recipe import Recipe
from ratchet.components.stages.data import input_files

SHOWN = 5  # names of a reason
COMMIT = "commit"
ONLY_HERE = "A version that needs them is reproduced with --environment current."


@dataclass
class Outlook:
    """Why a version that is made now could not be reproduced, and what to do before the run."""

    reasons: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    only_here: bool = False  # what no index has is needed

    def add(self, reason: str, *steps: str) -> None:
        self.reasons.append(reason)
        self.steps += steps

    @property
    def said(self) -> str:
        return "; ".join(self.reasons)

    @property
    def remedy(self) -> str:
        steps = [step for step in dict.fromkeys(self.steps) if step != COMMIT]
        done = f"Before a run: {', '.join([*steps, COMMIT])}." if self.steps else ""
        return " ".join(filter(None, (done, ONLY_HERE if self.only_here else "")))


def outlook(project: Path, recipe: Recipe | None) -> Outlook:
    """
    Args:
        recipe: whose functions a run calls; None if it is not known.
    """
    found, state = Outlook(), code_state(project)
    lock = "`make constraints`" if release_beside(project) is None else "`ratchet lock`"
    if state.commit == UNKNOWN:
        found.add("git names no commit of this project", "`git init`", COMMIT)
    if state.changed:
        found.add(f"not committed: {', '.join(state.changed[:3])}{', ...' if len(state.changed) > 3 else ''}", COMMIT)
    if tables := unrecorded_tables(project, state.tables, recipe):
        found.add(f"not committed: {_names(tables)}, which no key of the recipe names", COMMIT)
    if lock_digest(project) is None:
        found.add(f"there is no {CONSTRAINTS}", lock, COMMIT)
        return found
    if other := off_lock(project, installed_versions()):
        found.add(f"{CONSTRAINTS} has other versions of {_names(list(other))}", lock, COMMIT)
    lacking = unlocked(project, libraries_of(recipe) if recipe else set())
    others = elsewhere() if lacking else set()
    if absent := sorted(lacking - others):
        found.add(f"{CONSTRAINTS} lacks {_names(absent)}, which the recipe's functions import", lock, COMMIT)
    if local := sorted(lacking & others):
        found.add(f"the recipe's functions import {_names(local)}, which came from no index")
        found.only_here = True
    return found


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


def _names(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
