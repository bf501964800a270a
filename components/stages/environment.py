"""Where a stage was made: the machine, the libraries, the lock and the code of the process that computed it.

The file lies beside what the stage made and takes no part in its digest, so that no key depends on the machine.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ratchet.components.code.checkout import CodeState, code_state
from ratchet.components.code.constraints import lock_digest, off_lock
from ratchet.components.code.machine import installed_libraries, machine_class
from ratchet.components.code.source_code import release_beside, sources_digest
from ratchet.components.recipe.base import Section
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.store import ENVIRONMENT

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
COMPUTE_NOTHING = ("dvc", "mlflow", "prefect")  # libraries by which no weights differ


class Code(Section):
    """The commit and the uncommitted changes."""

    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64}|unknown)$")]
    folder: str  # of the project within the repository
    changed: list[str]
    diff_sha256: Sha256 | None
    tables: list[str] = Field(default_factory=list)  # committed files of rows that differed, from the project's folder
    sources_sha256: Sha256  # of the sources of ``components`` that ran
    release: str | None = None  # of the installed Ratchet that ran; None if it was the commit's own code, as in a clone


class Machine(Section):
    """The class of machine: equal classes give equal bits."""

    system: str
    architecture: str
    processor: str
    kernels: str  # instruction set of torch's CPU kernels
    threads: int  # of all processes that trained
    gpu: str | None
    driver: str | None = None  # the GPU's

    def text(self) -> str:
        """One line for people."""
        return f"{self.gpu or self.processor}, {self.architecture}, {self.kernels}, {self.threads} threads"


class Environment(Section):
    """What a stage was computed with."""

    machine: Machine
    libraries: dict[str, str]
    lock_sha256: Sha256 | None  # of constraints.txt
    off_lock: dict[str, str]  # library -> the lock's version, if a different one was installed
    code: Code

    def computes_like(self, other: "Environment") -> bool:
        """Whether both are the same class of machine with the same libraries, and so give the same bits."""
        mine, others = ({k: v for k, v in one.libraries.items() if k not in COMPUTE_NOTHING} for one in (self, other))
        return self.machine == other.machine and mine == others


def computing(threads: int) -> dict[str, Any]:
    """Machine and libraries of this process.

    Args:
        threads: the recipe's CPU threads; 0 stands for torch's choice.
    """
    return {"machine": machine_class(threads), "libraries": installed_libraries()}  # in this order: that imports torch


def environment_here(project: Path, threads: int) -> Environment:
    """That of this process, which works for the project."""
    found = computing(threads)
    return Environment(
        **found, lock_sha256=lock_digest(project), off_lock=off_lock(project, found["libraries"]), code=code_here(project)
    )


def write_environment(path: Path, here: Environment, project: Path) -> None:
    """Record where the stage in a directory was made: here, or by ranks, whose first has left its machine and libraries."""
    left = read_json(path / ENVIRONMENT) if (path / ENVIRONMENT).exists() else {}
    differing = {"off_lock": off_lock(project, left["libraries"])} if left else {}
    write_json(path / ENVIRONMENT, here.model_dump(mode="json") | left | differing)


def code_here(project: Path) -> Code:
    """The code that this process runs."""
    return code_of(code_state(project), sources_digest(), release_beside(project))


def code_of(state: CodeState, sources: str, release: str | None) -> Code:
    """The record of a checkout's state.

    Args:
        sources: digest of the sources of ``components`` that this process runs.
        release: of the installed Ratchet, if these are not the project's own.
    """
    return Code(
        commit=state.commit,
        folder=state.folder,
        changed=list(state.changed),
        diff_sha256=state.difference_digest,
        tables=list(state.tables),
        sources_sha256=sources,
        release=release,
    )
