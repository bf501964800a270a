"""Trained policies that no run promoted. The store keeps them until retention lets them go; a person may promote one.

Every run records the lineage of those that its training kept. One that a person promotes is registered with that record, once,
identified by its digest, in an MLflow run of its own.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.components.code.checkout import code_state
from ratchet.components.errors import RegistryError
from ratchet.components.project.project import Project
from ratchet.components.project.retention import finished_runs
from ratchet.components.provenance.lineage import FILE, TAG, Lineage, read_lineage
from ratchet.components.provenance.record import lineage_at, lineage_of, within, write_lineage
from ratchet.components.recipe import Task
from ratchet.components.report.model_card import markdown_text
from ratchet.components.report.run import GOLD
from ratchet.components.run.record import Made, Run
from ratchet.components.run.serving import served_turns
from ratchet.components.stages.train import Kept, TrainStage
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import MANIFEST, read_json
from ratchet.components.storage.store import Finished, Store

DIGEST = re.compile(r"[0-9a-f]{6,64}")
NEWEST = 1000  # runs that are looked through


@dataclass(frozen=True)
class Checkpoint:
    """A policy that a training kept, and the run of that training."""

    run_id: str
    train: str  # key of the stage
    kept: Kept

    def text(self) -> str:
        """One line for people."""
        return f"{self.kept.policy[:12]} ({described(self.kept)}, run {self.run_id[:8]})"


def described(kept: Kept, start: float | None = None) -> str:
    """Its step and its gold, as training measured it; the comparison with the incumbent draws other samples.

    Args:
        start: gold of the policy that training started from, if it is known and to be compared with.
    """
    gold = f", gold {kept.figures[GOLD]:.3f} on dev, sampled, in training" if GOLD in kept.figures else ""
    return f"step {kept.step}{gold}" + (f", worse than the start's {start:.3f}" if is_worse(kept, start) else "")


def is_worse(kept: Kept, start: float | None) -> bool:
    """Whether dev shows less gold than that of the start; not where either is unknown."""
    return start is not None and kept.figures.get(GOLD, start) < start


def start_gold(made: Made) -> float | None:
    """Gold on dev of the policy that training started from."""
    return made.candidate.figures(0).get(GOLD) if made.candidate is not None else None


def offers_any(made: Made) -> bool:
    """Whether a person may want to promote one of those that are no version: dev shows it no worse than the start."""
    return not all(is_worse(kept, start_gold(made)) for kept in unregistered(made))


def unregistered(made: Made) -> list[Kept]:
    """What a run's training kept and is no registered version."""
    if made.candidate is None:
        return []
    return [kept for kept in made.candidate.kept if made.version is None or kept.folder]


def record_checkpoints(run: Run, run_id: str) -> None:
    """Log the lineage of each policy that the run's training kept below ``checkpoints/<digest>/``; once more is harmless."""
    assert run.made.candidate is not None
    project = run.project
    candidate = lineage_of(run.context, run.made.stages, lambda policy: project.tracker.version_of(project.name, policy))
    for kept in run.made.candidate.kept:
        with project.home.workspace("lineage") as folder:
            write_lineage(lineage_at(candidate, kept), code_state(project.home.project).difference, folder)
            project.tracker.artifact(run_id, folder, place_of(kept.policy))


def place_of(policy: str) -> str:
    """Where a run in MLflow has the lineage of a kept policy."""
    return f"checkpoints/{policy}"


def kept_checkpoints(project: Project) -> list[Checkpoint]:
    """What the store keeps of the model's trainings, newest run first, each policy once; files are not hashed."""
    store, found = Store(project.home.store), dict[str, Checkpoint]()
    for run in finished_runs(project.ledger.latest_runs(NEWEST)):
        for name, key in run.stages if run.model == project.name else ():
            if name == TrainStage.name:
                for kept in _peeked(store, key):
                    found.setdefault(kept.policy, Checkpoint(run.run_id, key, kept))
    return list(found.values())


def _peeked(store: Store, key: str) -> Iterator[Kept]:
    path = store.path(TrainStage.name, key)
    if (path / MANIFEST).is_file():
        yield from TrainStage(Finished(TrainStage.name, key, path, read_json(path / MANIFEST)), True, 0.0).kept


def chosen(checkpoints: Sequence[Checkpoint], digest: str) -> Checkpoint:
    """The checkpoint whose digest begins so.

    Raises:
        RegistryError: if there is not exactly one, with those that are kept.
    """
    fitting = [found for found in checkpoints if DIGEST.fullmatch(digest) and found.kept.policy.startswith(digest)]
    if len(fitting) == 1:
        return fitting[0]
    listed = "".join(f"\n  {found.text()}" for found in fitting or checkpoints) or " none"
    problem = f"{len(fitting)} kept checkpoints begin with {digest}" if fitting else f"no kept checkpoint is {digest!r}"
    raise RegistryError(f"{problem}. Give at least 6 hex digits of one of these:{listed}")


def register_checkpoint(project: Project, digest: str, reason: str, person: str) -> str:
    """Register a kept checkpoint, once; returns its version.

    Args:
        digest: the beginning of the policy's digest.
        reason, person: why it is promoted, and by whom.

    Raises:
        RegistryError: if there is no such checkpoint, or its run or its record is gone.
    """
    found, tracker = chosen(kept_checkpoints(project), digest), project.tracker
    lock = project.locks.working(
        f"checkpoint-{found.kept.policy[:16]}", "another command is registering this checkpoint; waiting"
    )
    with lock, project.home.workspace("checkpoint") as folder:
        version = tracker.version_of(project.name, found.kept.policy) or _registered(project, found, folder)
        if not tracker.version(project.name, version).description:  # new, or left so by a crash
            tracker.describe(project.name, version, card(found, reason, person), {})
            tracker.close_children(found.run_id)
        return version


def _registered(project: Project, found: Checkpoint, folder: Path) -> str:
    tracker, kept = project.tracker, found.kept
    record = tracker.fetch(found.run_id, place_of(kept.policy), folder / "record")
    if record is None:
        raise RegistryError(f"run {found.run_id} in MLflow has no lineage of {found.text()}. Restore the run's artifacts.")
    lineage = read_lineage(record / FILE, file_digest(record / FILE))
    stage = TrainStage.find(Store(project.home.store), found.train)
    if stage is None or lineage.policy_sha256 != kept.policy or kept not in stage.kept:
        raise RegistryError(f"the files of {found.text()} are damaged. Train it again.")
    shutil.copytree(stage.path / kept.folder / "model", folder / "model")
    run_id = tracker.child(found.run_id, f"checkpoint step {kept.step}")
    tracker.artifact(run_id, record)
    asked, root = lineage.recipe["data"].get("task"), project.home.project
    settings = {
        "max_new_tokens": lineage.recipe["policy"]["max_new_tokens"],
        "turns": served_turns(asked and Task.model_validate(asked), lambda name: lineage.files.get(within(root / name, root))),
    }
    tags = {**tags_of(lineage), TAG: file_digest(record / FILE), "training_run": found.run_id, "training_status": stage.status}
    return tracker.register(project.name, run_id, folder / "model", settings, tags)


def tags_of(lineage: Lineage) -> dict[str, str]:
    """A version's tags, from its record: the code that is checked out now may be another."""
    code, parent = lineage.code, lineage.policy.version
    return {
        "weights_sha256": lineage.weights_sha256,
        "policy_sha256": str(lineage.policy_sha256),
        "dataset_md5": lineage.dataset.md5,
        "recipe_digest": lineage.recipe_digest,
        "algorithm": lineage.recipe["train"]["algorithm"],
        "verdict": "none",
        "exact": str(lineage.exact).lower(),
        "commit": code.commit,
        "dirty": str(code.diff_sha256 is not None).lower(),
        **({} if code.diff_sha256 is None else {"diff_sha256": code.diff_sha256}),
        **({} if parent is None else {"parent_version": parent}),
    }


def card(found: Checkpoint, reason: str, person: str) -> str:
    """The description of such a version, as Markdown."""
    figures = "".join(f"\n| {markdown_text(name)} | {value:.4g} |" for name, value in sorted(found.kept.figures.items()))
    return (
        f"# Checkpoint at step {found.kept.step} of run {found.run_id}\n\n"
        f"Promoted by {markdown_text(person)}, without a verdict of the gate: {markdown_text(reason)}\n\n"
        f"Policy (sha256): {found.kept.policy}\n\n| on dev, in training | |\n| --- | --- |{figures}\n"
    )
