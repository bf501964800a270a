"""A tiny random policy to start reward models from, and real GSM8K where it is at hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ratchet.components.policy.tiny import new_policy, train_tokenizer
from ratchet.components.rewards.learned.model import RewardModel

TEXTS = [f"What is {n} plus 3? It is {n + 3}." for n in range(40)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A model this small only waits for a second thread, long where other work shares the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved policy of one layer, width 32, with a tokenizer trained on forty texts."""
    path = tmp_path_factory.mktemp("trunk")
    tokenizer = train_tokenizer(TEXTS, 300)
    new_policy(tokenizer, layers=1, width=32, heads=2, context=64, seed=1).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def reward_model(trunk: Path) -> RewardModel:
    """An untrained reward model; each test has its own."""
    return RewardModel.from_trunk(trunk, 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def classifier(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a saved, untrained reward model."""
    path = tmp_path_factory.mktemp("classifier")
    RewardModel.from_trunk(trunk, 1, torch.device("cpu")).save(path)
    return path
