"""Finished stages by content key. A stage is finished when its manifest says so, and nothing else decides it."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.components.errors import StoreError
from ratchet.components.storage.digests import digest_of, digest_of_digests
from ratchet.components.storage.files import MANIFEST, commit_directory, read_json, verify_directory

ENVIRONMENT = "environment.json"  # in a stage: where it was made
FACTS = "facts.json"  # in a stage: what its function returned
KEY_LENGTH = 32  # hexadecimal digits


@dataclass(frozen=True)
class Finished:
    """A finished stage whose files were verified on this read."""

    stage: str
    key: str
    path: Path
    facts: dict[str, Any]

    @property
    def files(self) -> dict[str, str]:
        """Relative path -> sha256."""
        return dict(self.facts["files"])

    @property
    def digest(self) -> str:
        """One sha256 over what the stage made; where it was made does not count, or keys would depend on the machine."""
        return digest_of_digests({name: digest for name, digest in self.files.items() if name != ENVIRONMENT})


def stage_key(stage: str, configuration: object, inputs: Mapping[str, str], code: str) -> str:
    """The content key of a stage: what it is, its part of the recipe, its inputs' digests, its code."""
    return digest_of([stage, configuration, dict(inputs), code])[:KEY_LENGTH]


class Store:
    """Directories ``<root>/<stage>/<key>``, each committed by one rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        """The directory of a stage."""
        return self.root / stage / key

    def work(self, stage: str, key: str) -> Path:
        """A directory for a stage's resumable work in progress (checkpoints); dropped by :meth:`commit`."""
        return self.root / stage / f".work.{key}"

    def find(self, stage: str, key: str) -> Finished | None:
        """The finished stage, every file's hash verified; a damaged one is set aside and counts as not finished.

        Raises:
            OSError: if it cannot be read now. It stays where it is: another try may read it.
        """
        path = self.path(stage, key)
        if not path.exists():
            return None
        try:
            finished = Finished(stage, key, path, verify_directory(path))
            if (finished.facts.get("stage"), finished.facts.get("key")) != (stage, key):
                raise StoreError(f"{path} contains another stage. Delete that directory.")
            shutil.rmtree(self.work(stage, key), ignore_errors=True)  # left by a process killed just after its commit
            with contextlib.suppress(OSError):
                os.utime(path / MANIFEST)  # when it was last used, for retention
            return finished
        except StoreError:
            if not path.exists():  # deleted meanwhile
                return None
            path.rename(path.with_name(f"corrupt.{key}.{uuid.uuid4().hex[:8]}"))
            return None

    def having(self, stage: str, fact: str, value: str) -> Finished | None:
        """A finished stage with this value in its ``facts.json``, every file's hash verified; of several, any.

        Raises:
            OSError: if it cannot be read now.
        """
        for facts in sorted((self.root / stage).glob(f"{'[0-9a-f]' * KEY_LENGTH}/{FACTS}")):
            with contextlib.suppress(StoreError):  # damaged: the stage is not finished
                if read_json(facts).get(fact) == value and (found := self.find(stage, facts.parent.name)):
                    return found
        return None

    def commit(self, stage: str, key: str, write: Callable[[Path], None], facts: Mapping[str, Any]) -> Finished:
        """Run ``write`` on a fresh directory and commit it.

        Raises:
            StoreError: if the disk is full or read-only; nothing is half-written.
        """
        try:
            commit_directory(self.path(stage, key), write, {"stage": stage, "key": key, **facts})
        except OSError as error:
            remedy = "Free space, or set RATCHET_HOME to a writable disk."
            raise StoreError(f"cannot write {self.path(stage, key)}: {error.strerror or error}. {remedy}") from error
        shutil.rmtree(self.work(stage, key), ignore_errors=True)
        finished = self.find(stage, key)
        if finished is None:
            raise StoreError(f"{self.path(stage, key)} cannot be read back after its commit. Check the disk and run again.")
        return finished


def check_writable(root: Path) -> None:
    """Fail early where state cannot be written.

    Raises:
        StoreError: naming the directory and the remedy.
    """
    probe = root / f".probe.{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        raise StoreError(f"cannot write in {root}: {error.strerror}. Free space, or set RATCHET_HOME elsewhere.") from error
