"""What the stage *train* loads and checks before its first step; on several ranks each does it, and all take the same steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ratchet.components.recipe import Launch, Train
from ratchet.components.stages.loaded_training import Order, Training
from ratchet.components.stages.stage import Observer

if TYPE_CHECKING:
    import torch

    from ratchet.components.launch.ranks import Ranks
    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.loading import Policy
    from ratchet.components.training.scaling.rank_memory import RankMemory
    from ratchet.components.training.setting import DevEvaluation, RewardedPrompts


def prepare_training(order: Order, observer: Observer, ended: Callable[[], bool], ranks: "Ranks") -> Training:
    """Load and check what is trained.

    Args:
        ended: called after each step: whether to commit and end early.
    """
    import torch

    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.randomness import torch_seed
    from ratchet.components.rewards.checks.identity import check_identity
    from ratchet.components.training.actor import Actor
    from ratchet.components.training.dev_evaluation import OTHER_DRAWS
    from ratchet.components.training.device_memory import Watch, reset_peak
    from ratchet.components.training.loop import Trainer
    from ratchet.components.training.memory import with_choice
    from ratchet.components.training.setting import EarlyEnd, Setting, Storage

    recipe, rows = order.recipe, order.data.table("train")
    device = pick_device(recipe.device, recipe.train.deterministic)
    if recipe.reward.needs_model:
        check_identity(order.reward.model, order.reward.report.identity)
    torch.manual_seed(torch_seed(recipe.run_seed, "train"))
    baseline = reset_peak(device)
    precision, date = recipe.train.precision, recipe.prompt_date
    load = partial(load_policy, order.start.model, device=device, precision=precision, template_date=date)
    policy = load()
    memory = _checked_memory(order, policy, rows, ranks)
    ranks, train = replace(ranks, sharded=memory.mode == "sharded"), with_choice(recipe.train, memory.plan.choice)
    actor = Actor(policy, train, recipe.run_seed)
    reference = actor.reference() or _reference(train, load, ranks)
    task = _task(order, rows, device, ranks)
    evaluation = partial(_evaluation, order, task, ranks=ranks)
    setting = Setting(
        train=train,
        seed=recipe.run_seed,
        task=task,
        evaluate=evaluation(reference),
        storage=Storage(order.checkpoints, order.key, recipe.evaluation.sample_rows),
        evaluate_again=[evaluation(None, purpose=purpose) for purpose in OTHER_DRAWS],
        early_end=EarlyEnd(ended, recipe.limits.samples, observer.phase),
        memory=Watch(device, baseline, memory.plan.estimate.peak),
        ranks=ranks,
    )
    trainer = Trainer(actor, reference if recipe.train.needs_reference else None, setting)
    return Training(trainer, memory.plan, recipe, load, ranks)


def _checked_memory(order: Order, policy: "Policy", rows: Sequence[Mapping[str, Any]], ranks: "Ranks") -> "RankMemory":
    """The memory of a rank, once the model is known to sample and score these rows."""
    from ratchet.components.policy.configuration import shape_of_model
    from ratchet.components.policy.parity import check_context, check_scoring, longest_prompt
    from ratchet.components.training.estimate import Place
    from ratchet.components.training.scaling.rank_memory import rank_memory

    recipe, device = order.recipe, policy.model.device
    check_context(policy, rows, recipe.policy.max_new_tokens)
    check_scoring(policy)
    place = Place(device.type, _least_memory(device, recipe.launch, ranks))
    return rank_memory(recipe, shape_of_model(policy.model), longest_prompt(policy, rows), place, ranks.size)


def _least_memory(device: "torch.device", launch: Launch, ranks: "Ranks") -> int:
    """Bytes that the rank with the least memory has: all must make the same plan. Ranks share a machine's own memory."""
    from ratchet.components.training.device_memory import device_bytes

    own = device_bytes(device) // (launch.local_workers if device.type == "cpu" else 1)
    return min(int(found) for found in ranks.exchange(str(own).encode()))


def _reference(train: Train, load: "Callable[[], Policy]", ranks: "Ranks") -> "Reference | None":
    """A copy of the starting policy, if anything measures the distance from it; on the host, if only dev does."""
    from ratchet.components.policy.adapters import Reference, kept_on_host
    from ratchet.components.policy.loading import frozen
    from ratchet.components.policy.sharding import sharded_reference

    if not train.measures_divergence:
        return None
    if ranks.sharded:
        return sharded_reference(load())
    return (Reference if train.needs_reference else kept_on_host)(frozen(load()))


def _task(order: Order, rows: Sequence[Mapping[str, Any]], device: "torch.device", ranks: "Ranks") -> "RewardedPrompts":
    from ratchet.components.graders.counted import build_gold
    from ratchet.components.policy.sharding import all_whole
    from ratchet.components.rewards.build import build_reward
    from ratchet.components.training.setting import RewardedPrompts
    from ratchet.components.training.sharded_models import sharded_rewards

    recipe = order.recipe
    reward = build_reward(recipe.reward, order.reward.model, device)
    gold = reward if recipe.paid_by_gold else build_gold(recipe)
    rewarding = partial(all_whole, sharded_rewards(reward) if ranks.sharded else [])
    return RewardedPrompts(rows, recipe.policy.max_new_tokens, reward, gold, rewarding)


def _evaluation(
    order: Order, task: "RewardedPrompts", reference: "Reference | None", ranks: "Ranks", purpose: str = "dev"
) -> "DevEvaluation":
    from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
    from ratchet.components.training.dev_evaluation import dev_evaluation

    recipe = order.recipe
    rows = order.data.table("dev")[: recipe.evaluation.dev_items]
    settings = SamplingSettings(1, task.max_new_tokens, recipe.evaluation.temperature)
    seed = SamplingSeed(recipe.run_seed, purpose)
    return dev_evaluation(rows, task.reward, reference, settings, seed, gold=task.gold, ranks=ranks, rewarding=task.rewarding)
