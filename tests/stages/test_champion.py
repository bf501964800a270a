"""The champion's policy is what the ledger names, or there is none."""

import shutil
from pathlib import Path

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.stages.champion import fetched_policy
from ratchet.components.storage.files import model_weights, policy_digest, write_text
from tests.stages.by_hand import context_of, key_of_look


class Registry:
    """A registry of one policy, whose artifact lies deeper than the folder that it is downloaded to."""

    def __init__(self, place: Path, content: str = "champion") -> None:
        self.artifact, self.downloads = place / "artifact", 0
        write_text(self.artifact / "model.safetensors", content)
        write_text(self.artifact / "config.json", "{}")
        write_text(self.artifact / "chat_template.jinja", "{{ messages[0].content }}")

    @property
    def policy(self) -> str:
        return policy_digest(self.artifact)

    def fetch(self, target: Path) -> Path:
        self.downloads += 1
        return Path(shutil.copytree(self.artifact, target / "some" / "model"))


def test_the_policy_is_fetched_once_and_nothing_else_of_the_download_stays(tmp_path: Path) -> None:
    registry, context = Registry(tmp_path), context_of(tmp_path)
    made = fetched_policy(context, registry.policy, registry.fetch)
    assert sorted(made.files) == ["model/chat_template.jinja", "model/config.json", "model/model.safetensors"]
    assert made.policy_digest == registry.policy
    assert fetched_policy(context_of(tmp_path, "train.lr=1e-5"), registry.policy, registry.fetch).cached
    assert registry.downloads == 1


def test_the_policy_alone_is_the_key(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for recipe in (context_of(tmp_path), context_of(tmp_path, "seed=9", "data.seed=9")):
        assert key_of_look(recipe, lambda c: fetched_policy(c, "ab" * 32, registry.fetch)) == "ab" * 16


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "chat_template.jinja"])
def test_another_policy_than_the_ledgers_is_refused_and_fetched_again_once_restored(tmp_path: Path, name: str) -> None:
    registry, context = Registry(tmp_path), context_of(tmp_path)
    promoted = registry.policy
    before = (registry.artifact / name).read_text("utf-8")
    write_text(registry.artifact / name, "damaged")
    complaint = f"{registry.policy}.* ledger .*{promoted}.* Restore it"
    with pytest.raises(RegistryError, match=complaint):
        fetched_policy(context, promoted, registry.fetch)
    assert list((context.home.store / "champion").iterdir()) == []
    write_text(registry.artifact / name, before)
    assert not fetched_policy(context, promoted, registry.fetch).cached


def test_faults_a_champion_of_an_earlier_release_is_known_by_its_weights(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    made = fetched_policy(context_of(tmp_path), model_weights(registry.artifact), registry.fetch)
    assert made.policy_digest == registry.policy != made.weights
