"""Rebuild a version from its record: its commit, its data by hash, its parent, its lock, with separate state."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from ratchet.components.code import checkout
from ratchet.components.code.constraints import CONSTRAINTS, lock_digest
from ratchet.components.code.source_code import sources_digest
from ratchet.components.data import versioning
from ratchet.components.data.dvc_config import default_remote
from ratchet.components.data.pointers import POINTER, Place, read_pointer_text, relocated
from ratchet.components.errors import DataError, RegistryError
from ratchet.components.provenance.lineage import Lineage, StageManifest
from ratchet.components.provenance.match import CURRENT, LOCK, UNTIL_TRAINED, Here, Rebuilt, judged, refusals, remedy
from ratchet.components.provenance.outlook import committed
from ratchet.components.provenance.reasons import Committed
from ratchet.components.provenance.virtualenv import Installed, isolated, locked_environment, locked_release, require_uv
from ratchet.components.storage.digests import file_digest, weights_digest
from ratchet.components.storage.files import (
    files_below,
    model_weights,
    policy_digest,
    read_json_lines,
    verify_directory,
    write_text,
)
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker

LACKING = re.compile(r"No module named '[\w.]+'|which only the extra `[\w-]+` installs")
STOPPED = 6  # exit code of a training that the sentinel ended: it is finished, and what it kept can be compared


@dataclass(frozen=True)
class Rebuild:
    """One version to be rebuilt below ``folder``, which is empty. Of its commit only verbs of ``ratchet`` are called."""

    home: Home
    tracker: "Tracker"
    number: str
    lineage: Lineage
    folder: Path
    environment: str  # lock or current
    computing: AbstractContextManager[None]  # held while the machine computes
    say: Callable[[str], None]

    @property
    def code(self) -> Path:
        return self.folder / "code"

    @property
    def project(self) -> Path:
        """The project's folder in the checkout."""
        return self.code / inner_path(self.lineage.code.folder)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, tolerance: float) -> dict[str, Any]:
        """Rebuild and compare.

        Args:
            tolerance: largest difference of dev accuracy or format rate if the bits need not be equal.

        Raises:
            RegistryError: if the version cannot be rebuilt, with every reason, or its training fails.
        """
        started = time.monotonic()
        self._check()
        for stage in self.lineage.stages:
            if stage.made_in is not None:
                self.say(f"{stage.name} was made elsewhere ({stage.made_in.machine.text()}); it is made here too")
        self.say(f"checking out {self.lineage.code.commit[:12]}")
        checkout.add_worktree(self.home.project, self.lineage.code.commit, self.code)
        try:
            self._bring_files()
            self._bring_dataset()
            recipe = self._write_recipe()
            rebuilt = self._train(self._interpreter(), recipe)
        finally:
            checkout.remove_worktree(self.home.project, self.code)
        return {**judged(self.lineage, rebuilt, tolerance), "seconds": round(time.monotonic() - started, 1)}

    def _check(self) -> None:
        """What the record and its commit decide first, and what could be installed last."""
        lineage, project, commit = self.lineage, self.home.project, self.lineage.code.commit
        here = Here(self.environment, lock_digest(project), sources_digest(), self._committed())
        if reasons := refusals(lineage, here):
            said = "; ".join(reasons)
            raise RegistryError(f"version {self.number} of {lineage.model} cannot be rebuilt: {said}. {remedy(lineage, here)}")
        checkout.require_commit(project, commit)
        if lineage.launch is not None and lineage.machine.gpu is not None:
            import torch

            check_ranks(lineage.launch.ranks, torch.cuda.device_count(), f"version {self.number} of {lineage.model}")
        if self.environment == LOCK:
            require_uv()  # before anything is restored or checked out

    def _committed(self) -> Committed | None:
        """What the version's commit has; None if it is not in this repository."""
        project, code = self.home.project, self.lineage.code
        inner_path(code.folder)
        return committed(project, code.commit, code.folder, code.release is None)

    def _bring_files(self) -> None:
        """Files outside the code that the recipe names: from the commit, else from the project, by hash."""
        for name, digest in self.lineage.files.items():
            path = Path(name)
            if path.is_absolute():
                require(path, digest)
                continue
            target = self.project / inner_path(name)
            if not is_file(target, digest):
                require(self.home.project / name, digest)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.home.project / name, target)

    def _bring_dataset(self) -> None:
        """The data stage, by hash from DVC's cache or remote; if neither has it, the commit rebuilds it from its source.

        Raises:
            RegistryError: if neither has it, and rows were added to it, which exist nowhere else.
        """
        stage, dataset, home = self.lineage.stage("data"), self.lineage.dataset, self.home
        pointer = read_pointer_text(dataset.pointer)
        self._pin(pointer)
        workspace = self.folder / "dataset"
        workspace.mkdir()
        try:
            data = versioning.restore(dataset.md5, workspace, home.dvc, home.project)
        except DataError as error:
            remote = default_remote(home.project, home.dvc)
            lacking = f"neither DVC's cache nor its remote {remote} has dataset {dataset.md5}"
            if (pointer.get("meta") or {}).get("added"):
                raise RegistryError(f"{lacking}, and its added rows exist nowhere else ({error}) Bring it there.") from error
            self.say(f"{lacking}: it will be rebuilt from its source")
            return
        if stage is not None:
            self.say(f"restored dataset {dataset.md5}")
            commit_dataset(Store(self.state / "store"), stage, data, dataset.pointer)

    def _pin(self, pointer: Mapping[str, Any]) -> None:
        """Pin the checkout to the version: by the recipe's own pointer, and by ``data.dvc``, which older code reads."""
        own = Place(self.project, f"data.{self.lineage.model}")
        write_text(own.pointer, relocated(pointer, own.name, self.lineage.model))
        write_text(self.project / POINTER, relocated(pointer))

    def _write_recipe(self) -> Path:
        recipe = {name: value for name, value in self.lineage.recipe.items() if name != "limits"}  # a rebuild has none
        recipe |= {"train": {**self.lineage.recipe["train"], **self.lineage.memory}}
        if "launch" in recipe:
            recipe["launch"] = launch_of(self.lineage)
        if self.lineage.policy.kind == "version":
            # The new ledger has no champion: the parent is passed as an existing model, and its weights are checked.
            given = {name: value for name, value in recipe["policy"].items() if name != "warmup"}  # it is not fine-tuned
            recipe["policy"] = {**given, "start": "base", "model": str(self._parent()), "revision": None}
        path = self.folder / "recipe.yaml"
        write_text(path, yaml.safe_dump(recipe, sort_keys=False))
        return path

    def _parent(self) -> Path:
        policy = self.lineage.policy
        assert policy.version is not None
        self.say(f"fetching version {policy.version}, which training started from")
        model = self.tracker.download(self.lineage.model, policy.version, self.folder / "parent")
        made = {"weights": model_weights(model), "policy": policy_digest(model)}
        for kind, recorded in policy.digests.items():
            if recorded not in (None, made[kind]):
                raise RegistryError(
                    f"version {policy.version} has {kind} {made[kind][:12]}, but version {self.number} started from "
                    f"{str(recorded)[:12]}. Restore the parent's artifact."
                )
        return model

    def _interpreter(self) -> Path:
        if self.environment == CURRENT:
            return Path(sys.executable)
        self.say(f"installing {CONSTRAINTS} of the commit into a clean environment")
        recipe = self.lineage.recipe
        adapts = recipe["train"].get("lora") or (recipe["policy"].get("warmup") or {}).get("lora")
        launched = ["ray"] if self.lineage.launch is not None and self.lineage.launch.kind == "ray" else []
        extras, code = ["lora" if adapts else "train", *launched], self.lineage.code
        target, python = self.folder / "venv", self.lineage.libraries["python"]
        if code.release is None:
            return locked_environment(self.project, target, python, extras, self.say)
        made_by = Installed(code.release, code.sources_sha256)
        return locked_release(self.project, target, python, extras, made_by, self.say)

    def _train(self, interpreter: Path, recipe: Path) -> Rebuilt:
        threads = int(self.lineage.recipe["threads"])
        with self.computing:
            self.say("training again, which takes as long as the run did")
            trained = self._ratchet(interpreter, "train", "--recipe", str(recipe), ends=(0, STOPPED))
        found = self._ratchet(interpreter, "doctor")
        machine = {**found["machine"], **({"threads": threads} if threads else {})}
        return rebuilt_in(self.state / "store", trained["stages"], machine, found["libraries"], self.lineage.checkpoint)

    def _ratchet(self, interpreter: Path, *arguments: str, ends: Collection[int] = (0,)) -> dict[str, Any]:
        """What a verb of the commit prints as JSON.

        Args:
            ends: exit codes that are no failure.

        Raises:
            RegistryError: if it fails.
        """
        threads = 0 if int(self.lineage.recipe["threads"]) else self.lineage.machine.threads
        environment = isolated(self.state, threads, os.environ)
        if self.lineage.code.release is None:
            environment |= {"PYTHONPATH": str(self.project)}  # ranks look nowhere else
        command = [str(interpreter), "-m", "ratchet", *arguments, "--json"]
        done = subprocess.run(command, cwd=self.project, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in ends:
            reason = str(result_of(done.stdout).get("error", f"exit code {done.returncode}"))
            raise RegistryError(
                f"`ratchet {arguments[0]}` of commit {self.lineage.code.commit[:12]} failed: {self._why(reason)}"
            )
        return result_of(done.stdout)

    def _why(self, reason: str) -> str:
        """What ended a verb, with a remedy: what a clean environment lacks cannot be installed into it."""
        lacks = LACKING.search(reason) if self.environment == LOCK else None
        if lacks is None:
            return f"{reason.rstrip('.')}. Its output is above."
        lock = "make constraints" if self.lineage.code.release is None else "ratchet lock"
        return (
            f"{reason[: lacks.end()]}. {CONSTRAINTS} of the commit does not have it. Rebuild this version with --environment "
            f"current, where it is installed; for later ones, run `{lock}` and commit before the run."
        )


def check_ranks(ranks: int, devices: int, version: str) -> None:
    """
    Args:
        ranks: that trained the version, each on a GPU.
        devices: CUDA devices of this machine.

    Raises:
        RegistryError: if these are fewer.
    """
    if devices < ranks:
        raise RegistryError(
            f"{version} was trained by {ranks} ranks, each on a GPU of its own, and this machine has {devices}. "
            f"Reproduce it on one with {ranks}."
        )


def launch_of(lineage: Lineage) -> dict[str, Any]:
    """The recipe's section for as many ranks as trained the version, all on this machine: the nodes do not change results."""
    launch = lineage.launch
    if launch is None:
        return {}
    return {"kind": launch.kind, "workers": launch.ranks, "weights": "sharded" if launch.sharded else "replicated"}


def inner_path(name: str) -> PurePosixPath:
    """A path checked to stay in its folder.

    Raises:
        RegistryError: if it leaves the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RegistryError(f"{name!r} leads out of the project. Check the version's record.")
    return path


def is_file(path: Path, digest: str) -> bool:
    """Whether there is a file with this sha256."""
    return path.is_file() and file_digest(path) == digest


def require(path: Path, digest: str) -> None:
    """
    Raises:
        RegistryError: if a file is missing or differs.
    """
    if not is_file(path, digest):
        raise RegistryError(f"{path} is not the file that the recipe named (sha256 {digest[:12]}). Restore it and try again.")


def commit_dataset(store: Store, recorded: StageManifest, data: Path, pointer: str) -> None:
    """Put a restored dataset into a store as the finished stage that it was."""

    def write(path: Path) -> None:
        shutil.copytree(data, path / "data")
        (path / POINTER).write_text(pointer, encoding="utf-8")

    store.commit("data", recorded.key, write, {})


def result_of(output: str) -> dict[str, Any]:
    """What a verb printed with ``--json``; empty where it printed nothing."""
    return dict(json.loads(output)) if output.strip() else {}


def rebuilt_in(
    root: Path, stages: list[dict[str, Any]], machine: dict[str, Any], libraries: dict[str, str], checkpoint: str = ""
) -> Rebuilt:
    """The stages that a run made in a store, with every file hashed again.

    Args:
        checkpoint: where the version's model is in the train stage, if it is not the candidate.

    Raises:
        RegistryError: if the training made again did not keep that checkpoint.
    """
    made = {}
    for stage in stages:
        known = StageManifest(name=stage["name"], key=stage["key"], files={})  # names that stay in the store
        if known.name in UNTIL_TRAINED:
            made[known.name] = (root / known.name / known.key, verify_directory(root / known.name / known.key)["files"])
    path, files = made["train"]
    kept = files_below(checkpoint, files)
    if not kept:
        raise RegistryError(
            f"the training made again kept no {checkpoint}: another step was best or last there, so this version cannot be "
            "compared. Reproduce it on the class of machine that made it."
        )
    best = json.loads((path / "facts.json").read_text(encoding="utf-8"))["best_step"]
    step = int(checkpoint.rpartition("_")[2]) if checkpoint else best
    points = [row["values"] for row in read_json_lines(path / "metrics.jsonl") if row["step"] == step]
    metrics = {name: value for values in points for name, value in values.items()}
    policy = policy_digest(path / checkpoint / "model", files_below("model", kept))
    return Rebuilt(
        weights_digest(kept), policy, {name: found for name, (_, found) in made.items()}, metrics, machine, libraries
    )
