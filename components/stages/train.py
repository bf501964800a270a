"""Stage *train*: the RL loop, resumed where it was killed; the best checkpoint on dev becomes the candidate."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from ratchet.components.digests import weights_digest
from ratchet.components.errors import PausedError
from ratchet.components.files import files_below, policy_digest, read_json, read_json_lines, write_json_lines
from ratchet.components.graders.build import grader_digests, verifier_digests
from ratchet.components.recipe import Train
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Context, Stage, finish, key_of
from ratchet.components.training.sentinel import Stop, may_be_judged
from ratchet.components.user_code import function_digests

if TYPE_CHECKING:
    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.loading import Policy

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TrainingFacts:
    """The facts of a training."""

    algorithm: str
    k: int
    best_step: int
    steps: int
    stopped: str | None  # the sentinel's reason
    stop: dict[str, Any] | None  # its figures
    exact: bool  # false if training was resumed in another environment, or an outside engine drew
    memory: dict[str, Any]  # the values of ``train`` chosen by available memory
    engine: str | None = None  # what drew the completions, if not Ratchet's own engines; then no bits are promised


class Kept(NamedTuple):
    """A trained policy in the stage, which a person may promote."""

    step: int
    folder: str  # of its ``model/`` within the stage; "" is the candidate's
    policy: str  # its digest
    weights: str
    figures: dict[str, float]  # on dev


class TrainStage(PolicyStage):
    """``model/`` (the candidate), ``adapter/`` with LoRA, ``metrics.jsonl``, ``samples.jsonl`` and its facts.

    Below ``checkpoints/step_<step>/`` are the best trained policy by the gold, and the last one, unless they are the candidate.
    """

    name = Stage.TRAIN

    @cached_property
    def facts(self) -> TrainingFacts:
        return TrainingFacts(**read_json(self.path / "facts.json"))

    @property
    def stop(self) -> Stop | None:
        """Why the sentinel ended training, if it did."""
        return Stop(**self.facts.stop) if self.facts.stop else None

    @property
    def status(self) -> str:
        """The tag ``training_status``: finished, or stopped:<reason>."""
        return f"stopped:{self.facts.stopped}" if self.facts.stopped else "finished"

    @cached_property
    def points(self) -> list[tuple[int, dict[str, float]]]:
        """The figures of training as (step, values)."""
        return [(row["step"], row["values"]) for row in read_json_lines(self.path / "metrics.jsonl")]

    @cached_property
    def kept(self) -> list[Kept]:
        """The trained policies in the stage, oldest first: the candidate unless it is the start, the best and the last."""
        folders = {PurePosixPath(name).parts[1] for name in self.files if name.startswith(f"{CHECKPOINTS}/")}
        places = {int(name.removeprefix("step_")): f"{CHECKPOINTS}/{name}" for name in folders}
        places |= {self.facts.best_step: ""} if self.facts.best_step else {}
        return [self._kept(step, places[step]) for step in sorted(places)]

    def _kept(self, step: int, folder: str) -> Kept:
        files = files_below(folder, self.files)
        policy = policy_digest(self.path / folder / "model", files_below("model", files))
        return Kept(step, folder, policy, weights_digest(files), self.figures(step))

    def figures(self, step: int) -> dict[str, float]:
        """The figures on dev of the policy at a step."""
        points = [values for at, values in self.points if at == step]
        return {name: float(value) for values in points for name, value in values.items() if name.startswith("eval_")}

    def may_be_judged(self, after_stop: bool) -> bool:
        """Whether the candidate may go to the gate: a stopped one only if the recipe allows it and training moved it."""
        facts = self.facts
        return facts.stopped is None or (after_stop and may_be_judged(facts.stopped) and facts.best_step > 0)


def trained_candidate(context: Context, data: DataStage, start: PolicyStage, reward: RewardStage) -> TrainStage:
    """The policy that the RL loop trains: its best checkpoint on dev."""
    context = with_group_size(context, reward)
    recipe = context.recipe
    configuration = [
        recipe.train.model_dump(mode="json", exclude={"sampling": {"vllm"}}),
        recipe.reward.model_dump(mode="json", exclude={"limits"}),
        recipe.evaluation.dev_items,
        recipe.evaluation.sample_rows,
        recipe.evaluation.temperature,
        recipe.policy.max_new_tokens,
        recipe.seed,
        recipe.prompt_date,
        recipe.device,
        recipe.threads,
    ]
    inputs = {
        "data": data.version,
        "policy": start.policy_digest,
        "reward": reward.digest,
        **grader_digests(recipe),
        **verifier_digests(recipe.reward),
        **function_digests(recipe.reward.functions, context.seen.digest),
    }
    key = key_of(TrainStage, __name__, configuration, inputs)
    return finish(context, TrainStage, key, lambda path: asdict(_train(context, data, start, reward, key, path)))


def with_group_size(context: Context, reward: RewardStage) -> Context:
    """The context, with ``train.k: auto`` replaced by the size that the reward's pilot advises."""
    recipe = context.recipe
    if recipe.train.k != "auto":
        return context
    train = recipe.train.model_copy(update={"k": reward.report.advice["k"]})
    return replace(context, recipe=recipe.model_copy(update={"train": train}))


def _train(context: Context, data: DataStage, start: PolicyStage, reward: RewardStage, key: str, path: Path) -> TrainingFacts:
    import torch

    from ratchet.components.checkpoints import INTERRUPTED
    from ratchet.components.graders.counted import build_gold
    from ratchet.components.interruption import Interruption
    from ratchet.components.policy.configuration import shape_of_model
    from ratchet.components.policy.loading import load_policy, pick_device
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
    from ratchet.components.training.sampling_engine import engine_name, sampling_engine

    recipe, rows = context.recipe, data.table("train")
    device = pick_device(recipe.device, recipe.train.deterministic)
    checkpoints = context.store.work("train", key)
    if recipe.reward.needs_model:
        check_identity(reward.model, reward.report.identity)
    torch.manual_seed(torch_seed(recipe.run_seed, "train"))
    baseline = reset_peak(device)
    load = partial(load_policy, start.model, device=device, precision=recipe.train.precision, template_date=recipe.prompt_date)
    policy = load()
    check_context(policy, rows, recipe.policy.max_new_tokens)
    check_scoring(policy)
    place = Place(device.type, device_bytes(device))
    plan = memory_plan(recipe, shape_of_model(policy.model), longest_prompt(policy, rows), place)
    actor = Actor(policy, plan.train, recipe.run_seed)
    reference = actor.reference() or _reference(plan.train, load)
    scorer = build_reward(recipe.reward, reward.model, device)
    gold = scorer if recipe.paid_by_gold else build_gold(recipe)
    with Interruption() as interruption, sampling_engine(plan.train, actor, rows, key) as engine:
        setting = Setting(
            train=plan.train,
            seed=recipe.run_seed,
            rows=rows,
            max_new_tokens=recipe.policy.max_new_tokens,
            reward=scorer,
            gold=gold,
            engine=engine,
            evaluate=dev_evaluation(
                data.table("dev")[: recipe.evaluation.dev_items],
                scorer,
                reference,
                seed=recipe.run_seed,
                max_new_tokens=recipe.policy.max_new_tokens,
                temperature=recipe.evaluation.temperature,
                gold=gold,
            ),
            checkpoints=checkpoints,
            identity=key,
            sample_rows=recipe.evaluation.sample_rows,
            interrupted=context.ended_by(interruption),
            samples=recipe.limits.samples,
            memory=Watch(device, baseline, plan.estimate.peak),
            phase_limit=context.observer.phase,
        )
        trainer = Trainer(actor, reference if recipe.train.needs_reference else None, setting)
        _observe(context, trainer)
        drew = engine_name(engine)
    if not trainer.finished:
        raise PausedError(spent(trainer.progress.samples, recipe.limits.samples) if trainer.spent else INTERRUPTED)
    _save_kept(trainer, partial(load, device=torch.device("cpu")), path)
    _save(trainer, path)
    history = training_history(checkpoints)
    write_json_lines(path / "metrics.jsonl", [{"step": step, "values": values} for step, values in history])
    write_json_lines(path / "samples.jsonl", sampled_rows(checkpoints))
    progress = trainer.progress
    return TrainingFacts(
        algorithm=recipe.train.algorithm,
        k=recipe.train.group_size,
        best_step=progress.best_step,
        steps=progress.step,
        stopped=progress.stopped,
        stop=progress.stop and progress.stop._asdict(),
        exact=progress.exact and drew is None,
        memory=plan.choice._asdict() | ({"smaller": progress.smaller} if progress.smaller else {}),
        engine=drew,
    )


def spent(samples: int, limit: int | None) -> str:
    """Why a training that drew its completions ended."""
    remedy = "raise it (--set limits.samples=N) and run the same command to resume"
    return f"limits.samples: {samples} completions were drawn, and the limit is {limit}; {remedy}"


def _reference(train: Train, load: "Callable[[], Policy]") -> "Reference | None":
    """A copy of the starting policy, if anything measures the distance from it; on the host, if only dev does."""
    from ratchet.components.policy.adapters import Reference, kept_on_host
    from ratchet.components.policy.loading import frozen

    if not train.measures_divergence:
        return None
    return (Reference if train.needs_reference else kept_on_host)(frozen(load()))


def _save(trainer: Any, path: Path) -> None:
    """The best policy as one model, and the adapter alone if there is one."""
    from ratchet.components.policy.loading import save_policy

    trainer.best_policy()
    if trainer.actor.adapter is not None:
        trainer.actor.adapter.save(path / "adapter")
    save_policy(trainer.actor.merged(), path / "model")


def _save_kept(trainer: Any, load: Callable[[], Any], path: Path) -> None:
    """The best trained policy by the gold, and the last one, unless they are the candidate; each a model of its own.

    Args:
        load: a copy of the starting policy in the host's memory, because the device's may be full.
    """
    from ratchet.components.checkpoints import load_weights, weights_of
    from ratchet.components.policy.loading import save_policy
    from ratchet.components.training.actor import Actor

    progress, setting = trainer.progress, trainer.setting
    for step in sorted({progress.best_trained_step, progress.step} - {0, progress.best_step}):
        actor = Actor(load(), setting.train, setting.seed)
        load_weights(actor, weights_of(setting.checkpoints, step, "policy"))
        save_policy(actor.merged(), path / CHECKPOINTS / f"step_{step:06d}" / "model")


def _observe(context: Context, trainer: Any) -> None:
    """Drive the loop; figures are reported when the checkpoint that covers them is durable."""
    from ratchet.components.training.events import Committed, Resumed, Samples

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
        if isinstance(event, Resumed):
            context.observer.resumed("train", [(point.step, point.values) for point in event.points])
            if event.samples is not None:
                context.observer.samples("train", event.samples.step, event.samples.rows)
            continue
        pending.append((event.step, event.values))
        accuracy = event.values.get("eval_sampled_accuracy", accuracy)
        note = f"dev gold {accuracy:.3f}"
        if "reward" in event.values:
            note = f"reward {event.values['reward']:.3f}, {note}"
        context.observer.progress("train", event.step, steps, note)
