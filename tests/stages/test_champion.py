"""The champion's policy is what the ledger names, or there is none."""

import shutil
from pathlib import Path

import pytest

from ratchet.components.digests import file_digest
from ratchet.components.errors import RegistryError
from ratchet.components.files import write_text
from ratchet.components.stages.champion import fetched_policy
from tests.stages.by_hand import context_of, key_of_look


class Registry:
    """A registry of one policy, whose artifact lies deeper than the folder that it is downloaded to."""

    def __init__(self, place: Path, content: str = "champion") -> None:
        self.artifact, self.downloads = place / "artifact", 0
        write_text(self.artifact / "model.safetensors", content)
        write_text(self.artifact / "config.json", "{}")

    @property
    def weights(self) -> str:
        return file_digest(self.artifact / "model.safetensors")

    def fetch(self, target: Path) -> Path:
        self.downloads += 1
        return Path(shutil.copytree(self.artifact, target / "some" / "model"))


def test_the_policy_is_fetched_once_and_nothing_else_of_the_download_stays(tmp_path: Path) -> None:
    registry, context = Registry(tmp_path), context_of(tmp_path)
    made = fetched_policy(context, registry.weights, registry.fetch)
    assert sorted(made.files) == ["model/config.json", "model/model.safetensors"]
    assert made.weights == registry.weights
    assert fetched_policy(context_of(tmp_path, "train.lr=1e-5"), registry.weights, registry.fetch).cached
    assert registry.downloads == 1


def test_the_weights_alone_are_the_key(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for recipe in (context_of(tmp_path), context_of(tmp_path, "seed=9", "data.seed=9")):
        assert key_of_look(recipe, lambda c: fetched_policy(c, "ab" * 32, registry.fetch)) == "ab" * 16


def test_other_weights_than_the_ledgers_are_refused_and_fetched_again_once_restored(tmp_path: Path) -> None:
    registry, context = Registry(tmp_path), context_of(tmp_path)
    promoted = registry.weights
    write_text(registry.artifact / "model.safetensors", "damaged")
    complaint = f"{registry.weights}.* ledger .*{promoted}.* Restore it"
    with pytest.raises(RegistryError, match=complaint):
        fetched_policy(context, promoted, registry.fetch)
    assert list((context.home.store / "champion").iterdir()) == []
    write_text(registry.artifact / "model.safetensors", "champion")
    assert not fetched_policy(context, promoted, registry.fetch).cached
