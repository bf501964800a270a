"""A registry of versions in memory."""

import shutil
from pathlib import Path

from ratchet.components.errors import RegistryError
from ratchet.components.provenance.lineage import Lineage
from ratchet.components.registry.versions import RegisteredVersion
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json


class FakeVersions:
    """Versions whose runs' artifacts are files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registered: dict[str, RegisteredVersion] = {}
        self.aliases: dict[str, str] = {}
        self.models: dict[str, tuple[dict[str, str], dict[str, str], str]] = {}  # as ModelDigests

    def add(self, number: str, lineage: Lineage | None, **tags: str) -> None:
        """A version made by run ``r<number>``."""
        run = f"r{number}"
        if lineage is not None:
            self.put(number, "lineage.json", lineage.model_dump(mode="json"))
            tags = {
                "lineage_sha256": file_digest(self.root / run / "lineage.json"),
                "weights_sha256": lineage.weights_sha256,
                **({"policy_sha256": lineage.policy_sha256} if lineage.policy_sha256 else {}),
                "dataset_md5": lineage.dataset.md5,
                "recipe_digest": lineage.recipe_digest,
                "commit": lineage.code.commit,
                **tags,
            }
        self.registered[number] = RegisteredVersion(number, run, tags)

    def put(self, number: str, name: str, value: object) -> None:
        """An artifact of a version's run."""
        write_json(self.root / f"r{number}" / name, value)

    def alias(self, name: str, alias: str) -> str | None:
        return self.aliases.get(alias)

    def version(self, name: str, version: str) -> RegisteredVersion:
        if version not in self.registered:
            raise RegistryError(f"there is no version {version} of {name}.")
        return self.registered[version]

    def fetch(self, run_id: str, name: str, target: Path) -> Path | None:
        source = self.root / run_id / name
        if not source.is_file():
            return None
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, target / name))

    def model_digests(self, name: str, version: str, target: Path) -> tuple[dict[str, str], dict[str, str], str]:
        if version not in self.models:
            raise RegistryError(f"version {version} of {name} cannot be fetched.")
        return self.models[version]
