"""Stage *reward*: train the reward model, if there is one, then validate the reward before it is used."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ratchet.components.code.user_sources import function_digests
from ratchet.components.graders.build import grader_digests, verifier_digests
from ratchet.components.randomness import batch_indices
from ratchet.components.stages.results import DataStage, GoldStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Context, finish, key_of
from ratchet.components.storage.files import write_json
from ratchet.components.storage.json_text import without_nan
from ratchet.components.storage.store import ENVIRONMENT

MODEL_KEY = "model_key"  # among the stage's facts


def validated_reward(context: Context, data: DataStage, start: PolicyStage, gold: GoldStage) -> RewardStage:
    """``report.json``, and ``model/`` if the reward has a learned part. A failed report is also a finished stage."""
    recipe = context.recipe
    configuration = [
        recipe.reward.model_dump(mode="json", exclude={"limits"}),
        recipe.gold.validation.model_dump(mode="json"),
        recipe.policy.max_new_tokens,
        recipe.train.sampling.temperature,
        recipe.seed,
        recipe.prompt_date,
        recipe.device,
        recipe.threads,
    ]
    functions = function_digests(recipe.reward.functions, context.seen.digest, recipe.reward.files)
    inputs = {"data": data.version, "policy": start.policy_digest, "gold": grader_digests(recipe)["gold"], **functions}
    inputs |= verifier_digests(recipe.reward) | {"gold_found": gold.digest} | _given_models(context)
    key = key_of(RewardStage, __name__, configuration, inputs)
    return finish(context, RewardStage, key, lambda path: _build(context, data, start, gold, key, path))


def _given_models(context: Context) -> dict[str, str]:
    """Digests of the model directories that the recipe names."""
    model = context.recipe.reward.model
    given = {"base": model.base, "pretrained": model.pretrained}
    folders = {name: Path(folder) for name, folder in given.items() if folder is not None and Path(folder).is_dir()}
    return {f"{name}/{k}": v for name, folder in folders.items() for k, v in context.seen.tree(folder).items()}


def _model_key(context: Context, data: DataStage, start: PolicyStage) -> str:
    """The content key of the learned part alone: another validation of it takes the model that is there."""
    recipe = context.recipe
    settings = recipe.reward.model.model_dump(mode="json")
    configuration = [settings, recipe.run_seed, recipe.prompt_date, recipe.device, recipe.threads]
    inputs = {"data": data.version, "policy": start.policy_digest, **_given_models(context)}
    return key_of(RewardStage, __name__, configuration, inputs)


def _build(
    context: Context, data: DataStage, start: PolicyStage, gold: GoldStage, key: str, path: Path
) -> Mapping[str, str] | None:
    _require_room(context, data, start)
    if not context.recipe.reward.needs_model:
        _validate(context, data, start, gold, path)
        return None
    model_key = _model_key(context, data, start)
    if not _taken(context, model_key, path):
        _make_model(context, data, start, key, path / "model")
    _validate(context, data, start, gold, path)
    return {MODEL_KEY: model_key}


def _require_room(context: Context, data: DataStage, start: PolicyStage) -> None:
    """Refuse prompts that the policy's context does not hold, before a reward model is trained for them."""
    from ratchet.components.policy.parity import check_saved_context

    recipe = context.recipe
    check_saved_context(start.model, data.table("train"), recipe.policy.max_new_tokens, recipe.prompt_date)


def _taken(context: Context, model_key: str, path: Path) -> bool:
    """Whether an earlier validation had this model, which is copied then, with the record of where it was trained."""
    found = context.store.having(RewardStage.name, MODEL_KEY, model_key)
    if found is None:
        return False
    shutil.copytree(found.path / "model", path / "model")
    if ENVIRONMENT in found.files:
        shutil.copyfile(found.path / ENVIRONMENT, path / ENVIRONMENT)
    return True


def _validate(context: Context, data: DataStage, start: PolicyStage, gold: GoldStage, path: Path) -> None:
    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.rewards.advice.advise import advise
    from ratchet.components.rewards.advice.pilot import Pilot
    from ratchet.components.rewards.checks.validation import validate_reward

    device, held_out = pick_device(context.recipe.device), data.table("pairs_heldout")
    on = "held-out pairs and samples" if held_out else "samples"
    context.observer.progress("reward", 0, 1, f"validating on {on} of the current policy")
    policy = load_policy(start.model, device, template_date=context.recipe.prompt_date)
    draw = partial(_samples, context, data, policy)
    subject = _subject(context, gold, path, device)
    report = validate_reward(subject, held_out, draw, context.recipe.reward.validation)
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    advice = advise(Pilot.from_json(report.pilot), report.curves["best_of_n"], parameters)
    write_json(path / "report.json", without_nan({**report.as_json(), "advice": advice.as_json()}))
    context.observer.progress("reward", 1, 1, "passed" if report.passed else f"refused: {', '.join(report.failed)}")


def _subject(context: Context, found: GoldStage, path: Path, device: Any) -> Any:
    """What is validated: the reward, its learned model as the judge of pairs, and the gold."""
    from ratchet.components.graders.counted import build_gold
    from ratchet.components.rewards.build import build_reward, load_model
    from ratchet.components.rewards.checks.check import Check
    from ratchet.components.rewards.checks.identity import model_digests
    from ratchet.components.rewards.checks.validation import GoldTest, Subject

    settings, gold = context.recipe.reward, build_gold(context.recipe)
    reward = build_reward(settings, path / "model", device)
    functions = function_digests(settings.functions, context.seen.digest, settings.files)
    checks = [Check(**check) for check in found.checks]
    tested = GoldTest(checks, found.mutation_score, found.reads_answers, context.recipe.gold.validation)
    if not settings.needs_model:
        return Subject(settings.kind, reward, reward, identity=functions, gold=gold, tested=tested)
    judge = load_model(settings.model, path / "model", device)
    identity = {**model_digests(path / "model"), **functions}
    return Subject(settings.kind, reward, judge, learned=True, identity=identity, gold=gold, tested=tested)


def _make_model(context: Context, data: DataStage, start: PolicyStage, key: str, target: Path) -> None:
    """The reward model's files: trained here, or copied from a pretrained one."""
    from ratchet.components.checkpoints.checkpoint import Resumption
    from ratchet.components.interruption import Interruption
    from ratchet.components.policy.loading import pick_device
    from ratchet.components.rewards.learned.model import RewardModel
    from ratchet.components.rewards.learned.training import RewardStep, save_members, train_members

    settings, seed, date = context.recipe.reward.model, context.recipe.run_seed, context.recipe.prompt_date
    device = pick_device(context.recipe.device)
    if settings.pretrained is not None:
        RewardModel.load(settings.pretrained, device, settings.revision, template_date=date).save(target)
        return
    points: list[tuple[int, dict[str, float]]] = []

    def watch(step: RewardStep, member: int) -> None:
        done = member * settings.steps + step.step + 1
        context.observer.progress("reward", done, settings.members * settings.steps, f"loss {step.loss:.3f}")
        if done % 10 == 0:
            points.append((done, {"loss": step.loss, "accuracy": step.accuracy}))

    pairs = data.table("pairs_train")
    with Interruption() as interruption:
        resumption = Resumption(context.store.work(RewardStage.name, key), key, context.ended_by(interruption))
        members = train_members(settings, settings.base or start.model, pairs, device, seed, watch, date, resumption)
    save_members(members, target)
    context.observer.metrics("reward", points)


def _samples(context: Context, data: DataStage, policy: Any, start: int, stop: int) -> Any:
    """Completions of the starting policy on train prompts ``start`` to ``stop``, ``reward.validation.group`` per prompt."""
    from ratchet.components.policy.engines.default import generate
    from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
    from ratchet.components.rewards.checks.validation import Samples

    recipe = context.recipe
    rows, wanted = data.table("train"), recipe.reward.validation
    numbers = batch_indices(recipe.run_seed, "validation", 0, min(stop, len(rows)), len(rows))[start:].tolist()
    prompts = [policy.encode_row(rows[i]) for i in numbers]
    settings = SamplingSettings(wanted.group, recipe.policy.max_new_tokens, recipe.train.sampling.temperature)
    seed = SamplingSeed(recipe.run_seed, "validation")
    sampled = generate(policy, SamplingRequest(prompts, numbers, settings, seed, policy.ends))
    repeated = [rows[i] for i in numbers for _ in range(wanted.group)]
    completions = [one for group in sampled for one in group]
    return Samples(repeated, [policy.decode(one.tokens) for one in completions], [len(one.tokens) for one in completions])
