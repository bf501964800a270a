"""Stage *reward*: train the reward model where there is one, then validate the reward before it is used."""

import importlib.util
from pathlib import Path
from typing import Any

from components.errors import RecipeError
from components.files import file_digest, read_json, tree_digests, write_json
from components.pipeline.context import Context, StageResult, finish
from components.pipeline.data import dataset_version, table
from components.pipeline.policy import policy_weights
from components.randomness import batch_indices
from components.store import code_digest, stage_key

CODE = ("rewards", "policy", "chat", "randomness")


def validated_reward(context: Context, data: StageResult, start: StageResult) -> StageResult:
    """``report.json``, and ``model/`` where the reward has a learned part. A failed report is a finished stage too."""
    recipe = context.recipe
    configuration = [
        recipe.reward.model_dump(mode="json"),
        recipe.policy.max_new_tokens,
        recipe.train.sampling.temperature,
        recipe.seed,
        recipe.device,
        recipe.threads,
    ]
    inputs = {"data": dataset_version(data), "policy": policy_weights(start), **custom_reward_source(context)}
    base = recipe.reward.model.base
    if base is not None and Path(base).is_dir():
        inputs |= {f"base/{k}": v for k, v in tree_digests(Path(base)).items()}
    key = stage_key("reward", configuration, inputs, code_digest(*CODE))
    return finish(context, "reward", key, lambda path: _build(context, data, start, path))


def custom_reward_source(context: Context) -> dict[str, str]:
    """sha256 of the file that a custom reward's function is imported from, so that an edit of it is a changed key."""
    function = context.recipe.reward.function
    if function is None:
        return {}
    try:
        found = importlib.util.find_spec(function.partition(":")[0])
    except Exception:  # foreign code may raise anything; importing it for use will say what
        found = None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise RecipeError(f"reward.function {function!r} is in no source file that can be found. Write module:function.")
    return {"reward_function": file_digest(Path(found.origin))}


def reward_report(stage: StageResult) -> dict[str, Any]:
    """The report as JSON: {kind, passed, checks}."""
    return dict(read_json(stage.path / "report.json"))


def _build(context: Context, data: StageResult, start: StageResult, path: Path) -> None:
    from components.policy.loading import pick_device
    from components.rewards.build import build_reward
    from components.rewards.model import RewardModel
    from components.rewards.validation import validate_reward

    settings, device = context.recipe.reward, pick_device(context.recipe.device)
    if settings.needs_model:
        _train_model(context, data, start, path / "model")
    reward = build_reward(settings, path / "model", device)
    judge = RewardModel.load(path / "model", device) if settings.needs_model else reward
    context.observer.progress("reward", 0, 1, "validating on held-out pairs and on samples of the current policy")
    samples = _samples(context, data, start)
    report = validate_reward(settings.kind, reward, judge, table(data, "pairs_heldout"), samples, settings.validation)
    write_json(path / "report.json", report.as_json())
    context.observer.progress("reward", 1, 1, "passed" if report.passed else "refused")


def _train_model(context: Context, data: StageResult, start: StageResult, target: Path) -> None:
    import torch

    from components.policy.loading import pick_device
    from components.randomness import torch_seed
    from components.rewards.model import RewardModel, train_reward_model

    settings, seed = context.recipe.reward.model, context.recipe.run_seed
    torch.manual_seed(torch_seed(seed, "reward_model"))
    reward_model = RewardModel.from_trunk(settings.base or start.path / "model", seed, pick_device(context.recipe.device))
    pairs = table(data, "pairs_train")
    points = []
    for step in train_reward_model(
        reward_model,
        pairs,
        steps=settings.steps,
        batch=settings.batch,
        lr=settings.lr,
        label_noise=settings.label_noise,
        seed=seed,
    ):
        context.observer.progress("reward", step.step + 1, settings.steps, f"loss {step.loss:.3f}")
        if (step.step + 1) % 10 == 0:
            points.append((step.step + 1, {"loss": step.loss, "accuracy": step.accuracy}))
    reward_model.save(target)
    context.observer.metrics("reward", points)


def _samples(context: Context, data: StageResult, start: StageResult) -> Any:
    """Completions of the starting policy on train prompts, one a prompt."""
    from components.policy.loading import load_policy, pick_device
    from components.policy.sampling import SamplingSeed, SamplingSettings, generate
    from components.rewards.validation import Samples

    recipe = context.recipe
    policy = load_policy(start.path / "model", pick_device(recipe.device))
    rows = table(data, "train")
    count = min(recipe.reward.validation.samples, len(rows))
    numbers = batch_indices(recipe.run_seed, "validation", 0, count, len(rows)).tolist()
    prompts = [policy.encode_prompt(rows[i]["prompt"]) for i in numbers]
    settings = SamplingSettings(1, recipe.policy.max_new_tokens, recipe.train.sampling.temperature)
    sampled = generate(policy, prompts, numbers, settings, SamplingSeed(recipe.run_seed, "validation"))
    return Samples([rows[i] for i in numbers], [policy.decode(one.tokens) for (one,) in sampled])
