"""Stage *train*: the RL loop, resumed where it was killed; the best checkpoint on dev becomes the candidate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.errors import StoreError
from ratchet.components.files import read_json, read_json_lines, write_json_lines
from ratchet.components.source_code import closure_digest
from ratchet.components.stages.data import dataset_version, table
from ratchet.components.stages.policy import policy_weights
from ratchet.components.stages.reward import custom_reward_source, reward_report, with_group_size
from ratchet.components.stages.stage import Context, StageResult, finish
from ratchet.components.store import stage_key

if TYPE_CHECKING:
    from ratchet.components.training.sentinel import Stop


def trained_candidate(context: Context, data: StageResult, start: StageResult, reward: StageResult) -> StageResult:
    """``model/`` (the candidate), ``adapter/`` with LoRA, ``metrics.jsonl``, ``samples.jsonl`` and :func:`training_facts`."""
    context = with_group_size(context, reward)
    recipe = context.recipe
    configuration = [
        recipe.train.model_dump(mode="json"),
        recipe.reward.model_dump(mode="json"),
        recipe.evaluation.dev_items,
        recipe.evaluation.sample_rows,
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
    key = stage_key("train", configuration, inputs, closure_digest(__name__))
    return finish(context, "train", key, lambda path: _train(context, data, start, reward, key, path))


def training_facts(stage: StageResult) -> dict[str, Any]:
    """{best_step, stopped, stop, algorithm, k, steps, exact, memory}.

    ``stopped`` is the sentinel's reason or None, ``stop`` its figures; ``exact`` is false where training was resumed in another
    environment; ``memory`` holds the values of ``train`` that memory decided.
    """
    return dict(read_json(stage.path / "facts.json"))


def training_stop(stage: StageResult) -> "Stop | None":
    """Why the sentinel ended training, if it did."""
    from ratchet.components.training.sentinel import Stop

    stop = training_facts(stage)["stop"]
    return Stop(**stop) if stop else None


def training_status(stage: StageResult) -> str:
    """The tag ``training_status``: finished, or stopped:<reason>."""
    stopped = training_facts(stage)["stopped"]
    return f"stopped:{stopped}" if stopped else "finished"


def may_go_on(stage: StageResult, after_stop: bool) -> bool:
    """Whether a candidate may go to the gate: a stopped one where the recipe lets it, and it is not where training began."""
    from ratchet.components.training.sentinel import may_be_judged

    facts = training_facts(stage)
    return facts["stopped"] is None or (after_stop and may_be_judged(facts["stopped"]) and facts["best_step"] > 0)


def training_points(stage: StageResult) -> list[tuple[int, dict[str, float]]]:
    """The figures of training as (step, values)."""
    return [(row["step"], row["values"]) for row in read_json_lines(stage.path / "metrics.jsonl")]


def _train(
    context: Context, data: StageResult, start: StageResult, reward: StageResult, key: str, path: Path
) -> Mapping[str, Any]:
    import torch

    from ratchet.components.interruption import Interruption
    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.configuration import shape_of_model
    from ratchet.components.policy.loading import frozen, load_policy, pick_device
    from ratchet.components.policy.parity import check_context, check_scoring, longest_prompt
    from ratchet.components.randomness import torch_seed
    from ratchet.components.rewards.build import build_reward
    from ratchet.components.rewards.checks.identity import check_identity
    from ratchet.components.training.actor import Actor
    from ratchet.components.training.dev_evaluation import dev_evaluation
    from ratchet.components.training.device_memory import Watch, device_bytes, reset_peak
    from ratchet.components.training.estimate import Place, memory_plan
    from ratchet.components.training.loop import Setting, Trainer
    from ratchet.components.training.progress import sampled_rows, training_history

    recipe, rows = context.recipe, table(data, "train")
    device = pick_device(recipe.device, recipe.train.deterministic)
    checkpoints = context.store.work("train", key)
    if recipe.reward.needs_model:
        check_identity(reward.path / "model", reward_report(reward)["identity"])
    torch.manual_seed(torch_seed(recipe.run_seed, "train"))
    baseline = reset_peak(device)
    policy = load_policy(start.path / "model", device, precision=recipe.train.precision)
    prompts = [row["prompt"] for row in rows]
    check_context(policy, prompts, recipe.policy.max_new_tokens)
    check_scoring(policy)
    place = Place(device.type, device_bytes(device))
    plan = memory_plan(recipe, shape_of_model(policy.model), longest_prompt(policy, prompts), place)
    actor = Actor(policy, plan.train, recipe.run_seed)
    reference = actor.reference() or Reference(
        frozen(load_policy(start.path / "model", device, precision=recipe.train.precision))
    )
    scorer = build_reward(recipe.reward, reward.path / "model", device)
    with Interruption() as interruption:
        setting = Setting(
            train=plan.train,
            seed=recipe.run_seed,
            rows=rows,
            max_new_tokens=recipe.policy.max_new_tokens,
            reward=scorer,
            evaluate=dev_evaluation(
                table(data, "dev")[: recipe.evaluation.dev_items],
                scorer,
                reference,
                seed=recipe.run_seed,
                max_new_tokens=recipe.policy.max_new_tokens,
                temperature=recipe.evaluation.temperature,
            ),
            checkpoints=checkpoints,
            identity=key,
            sample_rows=recipe.evaluation.sample_rows,
            interrupted=lambda: interruption.requested,
            memory=Watch(device, baseline, plan.estimate.peak),
        )
        trainer = Trainer(actor, reference if recipe.train.needs_reference else None, setting)
        _observe(context, trainer)
    if not trainer.finished:
        raise StoreError("training was interrupted after a checkpoint. Run it again to resume from there.")
    _save(trainer, path)
    history = training_history(checkpoints)
    write_json_lines(path / "metrics.jsonl", [{"step": step, "values": values} for step, values in history])
    write_json_lines(path / "samples.jsonl", sampled_rows(checkpoints))
    return {
        "algorithm": recipe.train.algorithm,
        "k": recipe.train.group_size,
        "best_step": trainer.progress.best_step,
        "steps": trainer.progress.step,
        "stopped": trainer.progress.stopped,
        "stop": trainer.progress.stop and trainer.progress.stop._asdict(),
        "exact": trainer.progress.exact,
        "memory": plan.choice._asdict() | ({"smaller": trainer.progress.smaller} if trainer.progress.smaller else {}),
    }


def _save(trainer: Any, path: Path) -> None:
    """The best policy as one model, and the adapter alone where there is one."""
    from ratchet.components.policy.loading import save_policy

    trainer.best_policy()
    if trainer.actor.adapter is not None:
        trainer.actor.adapter.save(path / "adapter")
    save_policy(trainer.actor.merged(), path / "model")


def _observe(context: Context, trainer: Any) -> None:
    """Drive the loop; figures are reported when the checkpoint that covers them is durable."""
    from ratchet.components.training.loop import Committed, Samples

    pending: list[tuple[int, Mapping[str, float]]] = []
    samples: list[Samples] = []
    steps, accuracy = context.recipe.train.steps, float("nan")
    for event in trainer.run():
        if isinstance(event, Committed):
            context.observer.metrics("train", pending)
            for table in samples:
                context.observer.samples("train", table.step, table.rows)
            pending, samples = [], []
            continue
        if isinstance(event, Samples):
            samples.append(event)
            continue
        pending.append((event.step, event.values))
        accuracy = event.values.get("eval_sampled_accuracy", accuracy)
        note = f"dev accuracy {accuracy:.3f}"
        if "reward" in event.values:
            note = f"reward {event.values['reward']:.3f}, {note}"
        context.observer.progress("train", event.step, steps, note)
