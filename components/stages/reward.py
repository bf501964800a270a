"""Stage *reward*: train the reward model where there is one, then validate the reward before it is used."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

from ratchet.components.digests import file_digest
from ratchet.components.errors import RecipeError, RewardError
from ratchet.components.files import read_json, tree_digests, without_nan, write_json
from ratchet.components.randomness import batch_indices
from ratchet.components.source_code import closure_digest
from ratchet.components.stages.data import dataset_version, table
from ratchet.components.stages.policy import policy_weights
from ratchet.components.stages.stage import Context, StageResult, finish
from ratchet.components.store import stage_key
from ratchet.components.user_code import IMPORT_REMEDY, user_code


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
    for name in ("base", "pretrained"):
        directory = getattr(recipe.reward.model, name)
        if directory is not None and Path(directory).is_dir():
            inputs |= {f"{name}/{k}": v for k, v in tree_digests(Path(directory)).items()}
    key = stage_key("reward", configuration, inputs, closure_digest(__name__))
    return finish(context, "reward", key, lambda path: _build(context, data, start, path))


def custom_reward_source(context: Context) -> dict[str, str]:
    """sha256 of the files that the user's own functions may run, so that an edit of them is a changed key."""
    functions = context.recipe.reward.functions
    return {
        f"reward_function/{name}/{number}": file_digest(file)
        for name in functions
        for number, file in enumerate(function_files(name))
    }


def function_files(function: str) -> list[Path]:
    """The files of a user's own function: every module of its package, since it may import any; or its one module.

    Raises:
        RecipeError: if there is no such module.
    """
    module = function.partition(":")[0]
    try:
        with user_code(function, IMPORT_REMEDY):  # of a module in a package, this imports the package
            own, top = importlib.util.find_spec(module), importlib.util.find_spec(module.partition(".")[0])
    except RewardError:
        raise
    except Exception:  # foreign code may raise anything; importing it for use will say what
        own = top = None
    if own is None or top is None or own.origin is None or not Path(own.origin).is_file():
        raise RecipeError(f"reward.function {function!r} is in no source file that can be found. Write module:function.")
    folders = top.submodule_search_locations or []
    return sorted({Path(own.origin), *(file for folder in folders for file in Path(folder).rglob("*.py"))})


def reward_report(stage: StageResult) -> dict[str, Any]:
    """The report as JSON: {kind, passed, failed, waived, checks, pilot, curves, identity, advice}."""
    return dict(read_json(stage.path / "report.json"))


def with_group_size(context: Context, reward: StageResult) -> Context:
    """The context, with ``train.k: auto`` replaced by the size that the reward's pilot advises."""
    recipe = context.recipe
    if recipe.train.k != "auto":
        return context
    train = recipe.train.model_copy(update={"k": reward_report(reward)["advice"]["k"]})
    return replace(context, recipe=recipe.model_copy(update={"train": train}))


def _build(context: Context, data: StageResult, start: StageResult, path: Path) -> None:
    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.rewards.advice.advise import advise
    from ratchet.components.rewards.advice.pilot import Pilot
    from ratchet.components.rewards.checks.validation import validate_reward

    settings, device = context.recipe.reward, pick_device(context.recipe.device)
    if settings.needs_model:
        _make_model(context, data, start, path / "model", device)
    context.observer.progress("reward", 0, 1, "validating on held-out pairs and on samples of the current policy")
    policy = load_policy(start.path / "model", device)
    samples = _samples(context, data, policy)
    report = validate_reward(_subject(context, path, device), table(data, "pairs_heldout"), samples, settings.validation)
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    advice = advise(Pilot.from_json(report.pilot), report.curves["best_of_n"], parameters)
    write_json(path / "report.json", without_nan({**report.as_json(), "advice": advice.as_json()}))
    context.observer.progress("reward", 1, 1, "passed" if report.passed else f"refused: {', '.join(report.failed)}")


def _subject(context: Context, path: Path, device: Any) -> Any:
    """What is validated: the reward, and the learned model in it as the judge of pairs."""
    from ratchet.components.rewards.build import build_reward, load_model
    from ratchet.components.rewards.checks.identity import model_digests
    from ratchet.components.rewards.checks.validation import Subject

    settings = context.recipe.reward
    reward = build_reward(settings, path / "model", device)
    if not settings.needs_model:
        return Subject(settings.kind, reward, reward, identity=custom_reward_source(context))
    judge = load_model(settings.model, path / "model", device)
    digests = {**model_digests(path / "model"), **custom_reward_source(context)}
    return Subject(settings.kind, reward, judge, learned=True, identity=digests)


def _make_model(context: Context, data: StageResult, start: StageResult, target: Path, device: Any) -> None:
    """The reward model's files: trained here, or copied from one that is used as it is."""
    from ratchet.components.rewards.learned.model import RewardModel
    from ratchet.components.rewards.learned.training import RewardStep, save_members, train_members

    settings, seed = context.recipe.reward.model, context.recipe.run_seed
    if settings.pretrained is not None:
        RewardModel.load(settings.pretrained, device, settings.revision).save(target)
        return
    points: list[tuple[int, dict[str, float]]] = []

    def watch(step: RewardStep, member: int) -> None:
        done = member * settings.steps + step.step + 1
        context.observer.progress("reward", done, settings.members * settings.steps, f"loss {step.loss:.3f}")
        if done % 10 == 0:
            points.append((done, {"loss": step.loss, "accuracy": step.accuracy}))

    members = train_members(settings, settings.base or start.path / "model", table(data, "pairs_train"), device, seed, watch)
    save_members(members, target)
    context.observer.metrics("reward", points)


def _samples(context: Context, data: StageResult, policy: Any) -> Any:
    """Completions of the starting policy on train prompts, ``reward.validation.group`` a prompt."""
    from ratchet.components.policy.engines.default import generate
    from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
    from ratchet.components.rewards.checks.validation import Samples

    recipe = context.recipe
    rows, wanted = table(data, "train"), recipe.reward.validation
    count = min(wanted.samples, len(rows))
    numbers = batch_indices(recipe.run_seed, "validation", 0, count, len(rows)).tolist()
    prompts = [policy.encode_prompt(rows[i]["prompt"]) for i in numbers]
    settings = SamplingSettings(wanted.group, recipe.policy.max_new_tokens, recipe.train.sampling.temperature)
    sampled = generate(policy, prompts, numbers, settings, SamplingSeed(recipe.run_seed, "validation"))
    repeated = [rows[i] for i in numbers for _ in range(wanted.group)]
    completions = [one for group in sampled for one in group]
    return Samples(repeated, [policy.decode(one.tokens) for one in completions], [len(one.tokens) for one in completions])
