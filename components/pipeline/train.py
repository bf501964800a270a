"""Stage *train*: the RL loop, resumed where it was killed; the best checkpoint on dev becomes the candidate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.files import read_json, read_json_lines, write_json_lines
from components.pipeline.context import Context, StageResult, finish
from components.pipeline.data import dataset_version, table
from components.pipeline.policy import policy_weights
from components.pipeline.reward import custom_reward_source
from components.store import code_digest, stage_key

CODE = ("training", "policy", "chat", "algorithms", "rewards", "evaluation/evaluate", "randomness")


def trained_candidate(context: Context, data: StageResult, start: StageResult, reward: StageResult) -> StageResult:
    """``model/`` (the candidate), ``metrics.jsonl`` and facts: {best_step, stopped, algorithm}."""
    recipe = context.recipe
    configuration = [
        recipe.train.model_dump(mode="json"),
        recipe.reward.model_dump(mode="json"),
        recipe.evaluation.dev_items,
        recipe.evaluation.temperature,
        recipe.policy.max_new_tokens,
        recipe.seed,
        recipe.device,
        recipe.threads,
    ]
    inputs = {
        "data": dataset_version(data),
        "policy": policy_weights(start),
        "reward": reward.finished.digest,
        **custom_reward_source(context),
    }
    key = stage_key("train", configuration, inputs, code_digest(*CODE))
    checkpoints = context.store.work("train", key)
    return finish(context, "train", key, lambda path: _train(context, data, start, reward, checkpoints, path))


def training_facts(stage: StageResult) -> dict[str, Any]:
    """{best_step, stopped, algorithm, steps}."""
    return dict(read_json(stage.path / "facts.json"))


def training_points(stage: StageResult) -> list[tuple[int, dict[str, float]]]:
    """The figures of training as (step, values)."""
    return [(row["step"], row["values"]) for row in read_json_lines(stage.path / "metrics.jsonl")]


def _train(
    context: Context, data: StageResult, start: StageResult, reward: StageResult, checkpoints: Path, path: Path
) -> Mapping[str, Any]:
    import torch

    from components.policy.loading import load_policy, pick_device, save_policy
    from components.randomness import torch_seed
    from components.rewards.build import build_reward
    from components.training.loop import Setting, Trainer, training_history

    recipe, device = context.recipe, pick_device(context.recipe.device)
    torch.manual_seed(torch_seed(recipe.run_seed, "train"))
    policy = load_policy(start.path / "model", device)
    reference = load_policy(start.path / "model", device)
    setting = Setting(
        train=recipe.train,
        seed=recipe.run_seed,
        rows=table(data, "train"),
        max_new_tokens=recipe.policy.max_new_tokens,
        reward=build_reward(recipe.reward, reward.path / "model", device),
        evaluate=_dev_evaluation(context, table(data, "dev"), reference),
        checkpoints=checkpoints,
    )
    trainer = Trainer(policy, reference if recipe.train.kl != "none" else None, setting)
    _observe(context, trainer)
    save_policy(trainer.best_policy(), path / "model")
    history = training_history(checkpoints)
    write_json_lines(path / "metrics.jsonl", [{"step": step, "values": values} for step, values in history])
    return {
        "algorithm": recipe.train.algorithm,
        "best_step": trainer.progress.best_step,
        "steps": trainer.progress.step,
        "stopped": trainer.progress.stopped,
    }


def _dev_evaluation(context: Context, rows: list[dict[str, Any]], reference: Any) -> Any:
    from components.evaluation.evaluate import evaluate_items, summarise

    recipe = context.recipe

    def evaluate(policy: Any) -> dict[str, float]:
        results = evaluate_items(
            policy,
            rows[: recipe.evaluation.dev_items],
            seed=recipe.run_seed,
            purpose="dev",
            max_new_tokens=recipe.policy.max_new_tokens,
            temperature=recipe.evaluation.temperature,
            reference=reference,
        )
        figures = summarise(results)
        return {
            "eval_sampled_accuracy": figures["accuracy"].value,
            "eval_format_rate": figures["format_rate"].value,
            "eval_mean_length": figures["length"].value,
            "eval_kl": figures["kl"].value,
        }

    return evaluate


def _observe(context: Context, trainer: Any) -> None:
    """Drive the loop; figures are reported when the checkpoint that covers them is durable."""
    from components.training.loop import Committed

    pending: list[tuple[int, Mapping[str, float]]] = []
    steps, accuracy = context.recipe.train.steps, float("nan")
    for event in trainer.run():
        if isinstance(event, Committed):
            context.observer.metrics("train", pending)
            pending = []
            continue
        pending.append((event.step, event.values))
        accuracy = event.values.get("eval_sampled_accuracy", accuracy)
        note = f"dev accuracy {accuracy:.3f}"
        if "reward" in event.values:
            note = f"reward {event.values['reward']:.3f}, {note}"
        context.observer.progress("train", event.step, steps, note)
