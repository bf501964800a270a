"""A training of a few steps from a tiny policy."""

from pathlib import Path

from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Context
from ratchet.components.stages.train import TrainStage, trained_candidate
from ratchet.components.storage.files import tree_digests
from ratchet.components.storage.store import Finished
from tests.stages.by_hand import context_of, data_stage, reward_stage, saved_policy

TINY = (  # random answers differ in length, so that there is something to learn
    "reward={kind: verifier, verifier: {type: length, longest: 1, slope: 20}}",
    "train={steps: 2, prompts: 2, k: 4, lr: 1e-2, evaluate_every: 1}",
    "policy.max_new_tokens=4",
)


class Training:
    """Two steps from a tiny policy on a handful of problems; at a place where another process made these, the same again."""

    def __init__(self, place: Path) -> None:
        self.place = place
        if (place / "reward").exists():
            self.start = PolicyStage(_found(place / "start"), True, 0.0)
            self.data = DataStage(_found(place / "version"), True, 0.0)
            self.reward = RewardStage(_found(place / "reward"), True, 0.0)
            return
        self.start = saved_policy(place / "start")
        self.data = data_stage(place / "version", train=4, dev=2)
        self.reward = reward_stage(place / "reward")

    def context(self, *overrides: str) -> Context:
        return context_of(self.place, *TINY, *overrides)

    def run(self, context: Context) -> TrainStage:
        return trained_candidate(context, self.data, self.start, self.reward)


def _found(place: Path) -> Finished:
    return Finished("", "", place, {"files": tree_digests(place)})
