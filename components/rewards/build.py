"""From a recipe's reward section to a reward function."""

from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.components.graders.build import build_grader
from ratchet.components.graders.counted import named
from ratchet.components.graders.faults import Retrying
from ratchet.components.graders.outside import reward_worker
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.recipe import Failures, GraderSettings, Reward, Term
from ratchet.components.recipe import RewardModel as RewardModelSettings
from ratchet.components.rewards.combine import Ensemble, Mix, Sum, Verified, WeightedTerm, squash

if TYPE_CHECKING:
    import torch


def build_reward(settings: Reward, model_path: Path | None, device: "torch.device | str") -> RewardFunction:
    """The reward function of a recipe; failures of all but models are retried and counted, and a user's
    own functions run in processes of their own.

    Args:
        model_path: directory of the trained reward model or models, if the kind needs one.
    """
    if settings.kind == "verifier":
        return Verified(_verifier(settings.verifier, settings.failures))
    if settings.kind == "custom":
        assert settings.function is not None
        return _custom(settings.function, settings)
    if settings.kind == "sum":
        return Sum([_term(settings, term, model_path, device) for term in settings.terms])
    reward_model = load_model(settings.model, model_path, device)
    if settings.kind == "model":
        return reward_model
    verifier = _verifier(settings.verifier, settings.failures)
    return Mix(reward_model, settings.verifier_weight, settings.model_weight, verifier)


def load_model(settings: RewardModelSettings, path: Path | None, device: "torch.device | str") -> RewardFunction:
    """The reward model of a directory, or the ensemble whose members are in its folders ``0``, ``1``, ..."""
    import torch  # a reward without a model, and a gold, need none

    from ratchet.components.rewards.learned.model import RewardModel

    assert path is not None
    if settings.members == 1:
        return RewardModel.load(path, torch.device(device))
    members = [RewardModel.load(path / str(number), torch.device(device)) for number in range(settings.members)]
    return Ensemble(members, settings.combine, settings.sd_weight)


def _verifier(settings: GraderSettings, failures: Failures) -> RewardFunction:
    return Retrying(build_grader(settings), named("the verifier", settings), failures)


def _custom(path: str, settings: Reward, key: str = "reward.function") -> RewardFunction:
    worker = reward_worker(path, settings, key)
    worker.start()  # what cannot be loaded is refused here
    return Retrying(worker, path, settings.failures)


def _term(settings: Reward, term: Term, path: Path | None, device: "torch.device | str") -> WeightedTerm:
    if term.of == "model":
        return WeightedTerm(term.name, term.weight, load_model(settings.model, path, device), "the reward model", squash)
    if term.of == "custom":
        assert term.function is not None
        return WeightedTerm(
            term.name, term.weight, _custom(term.function, settings, f"reward.terms.{term.name}.function"), term.function
        )
    return WeightedTerm(term.name, term.weight, _verifier(term.verifier, settings.failures), f"the verifier {term.name}")
