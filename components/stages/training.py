"""The training of the stage *train*: one function for the run's own process and for each rank of a job."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.errors import PausedError
from ratchet.components.files import write_json, write_json_lines
from ratchet.components.recipe import Launch, Recipe, Train
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Observer, StageResult
from ratchet.components.store import Finished

if TYPE_CHECKING:
    import torch

    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.loading import Policy
    from ratchet.components.ranks import Ranks
    from ratchet.components.training.estimate import MemoryPlan
    from ratchet.components.training.loop import Trainer

CHECKPOINTS = "checkpoints"
FACTS = "facts.json"
JOB = "job"  # the directory of a job of ranks, beside its checkpoints
READ: Mapping[str, type[StageResult]] = {"data": DataStage, "start": PolicyStage, "reward": RewardStage}


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
    launch: dict[str, Any] | None = None  # kind, ranks and sharded of the last job; None: the run's own process
    engine: str | None = None  # what drew the completions, if not Ratchet's own engines; then no bits are promised

    def as_json(self) -> dict[str, Any]:
        """As ``facts.json`` has them."""
        unused = {name for name in ("launch", "engine") if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in unused}


@dataclass(frozen=True)
class Order:
    """What is to be trained, from which finished stages, and where; it reaches the ranks of a job as JSON."""

    recipe: Recipe
    data: DataStage
    start: PolicyStage
    reward: RewardStage
    key: str
    checkpoints: Path

    def as_json(self) -> dict[str, Any]:
        stages = {name: str(getattr(self, name).path) for name in READ}
        return {"recipe": self.recipe.model_dump(mode="json"), "key": self.key, "checkpoints": str(self.checkpoints), **stages}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Order":
        """Of the stages their folders are known, whose files were verified by whoever gives the order."""
        finished = {name: Finished(name, "", Path(values[name]), {"files": {}}) for name in READ}
        data, start, reward = (kind(finished[name], True, 0.0) for name, kind in READ.items())
        assert isinstance(data, DataStage) and isinstance(start, PolicyStage) and isinstance(reward, RewardStage)
        recipe = Recipe.model_validate(values["recipe"])
        return cls(recipe, data, start, reward, values["key"], Path(values["checkpoints"]))


@dataclass(frozen=True)
class Training:
    """A training with its models in memory."""

    trainer: "Trainer"
    plan: "MemoryPlan"
    recipe: Recipe
    load: "Callable[..., Policy]"
    ranks: "Ranks"

    def run(self, observer: Observer) -> None:
        """Train to the end.

        Raises:
            PausedError: if it ended early, after a checkpoint.
        """
        from ratchet.components.checkpoints import INTERRUPTED
        from ratchet.components.training.sampling_engine import sampling_engine

        trainer, limit, given = self.trainer, self.recipe.limits.samples, self.trainer.setting
        with sampling_engine(given.train, trainer.actor, given.rows, given.identity, self.ranks) as engine:
            trainer.setting = replace(given, engine=engine)
            _observe(observer, trainer)
        if not trainer.finished:
            raise PausedError(spent(trainer.progress.samples, limit) if trainer.spent else INTERRUPTED)

    def save(self, path: Path) -> TrainingFacts:
        """Write the candidate, what else is kept, figures and samples into a directory."""
        import torch

        from ratchet.components.training.progress import sampled_rows, training_history
        from ratchet.components.training.sampling_engine import engine_name

        drew = engine_name(self.trainer.setting.engine)
        checkpoints, progress = self.trainer.setting.checkpoints, self.trainer.progress
        on_host = partial(self.load, device=torch.device("cpu"))
        _save_kept(self.trainer, on_host, path)
        _save(self.trainer, on_host, path)
        history = training_history(checkpoints)
        write_json_lines(path / "metrics.jsonl", [{"step": step, "values": values} for step, values in history])
        write_json_lines(path / "samples.jsonl", sampled_rows(checkpoints))
        launch = {"kind": self.recipe.launch.kind, "ranks": self.ranks.size, "sharded": self.ranks.sharded}
        return TrainingFacts(
            algorithm=self.recipe.train.algorithm,
            k=self.recipe.train.group_size,
            best_step=progress.best_step,
            steps=progress.step,
            stopped=progress.stopped,
            stop=progress.stop and progress.stop._asdict(),
            exact=progress.exact and drew is None,
            memory=self.plan.choice._asdict() | ({"smaller": progress.smaller} if progress.smaller else {}),
            launch=launch if self.ranks.size > 1 else None,
            engine=drew,
        )

    def save_with_facts(self, path: Path) -> None:
        """The same, with the facts among the files."""
        write_json(path / FACTS, self.save(path).as_json())


def prepare_training(order: Order, observer: Observer, ended: Callable[[], bool], ranks: "Ranks") -> Training:
    """Load and check what is trained. On several ranks each does it, and all take the same steps.

    Args:
        ended: called after each step: whether to commit and end early.
    """
    import torch

    from ratchet.components.graders.counted import build_gold
    from ratchet.components.policy.configuration import shape_of_model
    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.policy.parity import check_context, check_scoring, longest_prompt
    from ratchet.components.policy.sharding import all_whole
    from ratchet.components.randomness import torch_seed
    from ratchet.components.rewards.build import build_reward
    from ratchet.components.rewards.checks.identity import check_identity
    from ratchet.components.training.actor import Actor
    from ratchet.components.training.dev_evaluation import dev_evaluation
    from ratchet.components.training.device_memory import Watch, reset_peak
    from ratchet.components.training.estimate import Place
    from ratchet.components.training.loop import Setting, Trainer
    from ratchet.components.training.memory import with_choice
    from ratchet.components.training.scaling.memory import rank_memory
    from ratchet.components.training.sharding import sharded_rewards

    recipe, data, reward = order.recipe, order.data, order.reward
    rows = data.table("train")
    device = pick_device(recipe.device, recipe.train.deterministic)
    if recipe.reward.needs_model:
        check_identity(reward.model, reward.report.identity)
    torch.manual_seed(torch_seed(recipe.run_seed, "train"))
    baseline = reset_peak(device)
    load = partial(
        load_policy,
        order.start.model,
        device=device,
        precision=recipe.train.precision,
        template_date=recipe.prompt_date,
    )
    policy = load()
    check_context(policy, rows, recipe.policy.max_new_tokens)
    check_scoring(policy)
    place = Place(device.type, _least_memory(device, recipe.launch, ranks))
    memory = rank_memory(recipe, shape_of_model(policy.model), longest_prompt(policy, rows), place, ranks.size)
    ranks, train = replace(ranks, sharded=memory.mode == "sharded"), with_choice(recipe.train, memory.plan.choice)
    actor = Actor(policy, train, recipe.run_seed)
    reference = actor.reference() or _reference(train, load, ranks)
    scorer = build_reward(recipe.reward, reward.model, device)
    gold = scorer if recipe.paid_by_gold else build_gold(recipe)
    rewarding = partial(all_whole, sharded_rewards(scorer) if ranks.sharded else [])
    setting = Setting(
        train=train,
        seed=recipe.run_seed,
        rows=rows,
        max_new_tokens=recipe.policy.max_new_tokens,
        reward=scorer,
        gold=gold,
        evaluate=dev_evaluation(
            data.table("dev")[: recipe.evaluation.dev_items],
            scorer,
            reference,
            seed=recipe.run_seed,
            max_new_tokens=recipe.policy.max_new_tokens,
            temperature=recipe.evaluation.temperature,
            gold=gold,
            ranks=ranks,
            rewarding=rewarding,
        ),
        checkpoints=order.checkpoints,
        identity=order.key,
        sample_rows=recipe.evaluation.sample_rows,
        interrupted=ended,
        samples=recipe.limits.samples,
        memory=Watch(device, baseline, memory.plan.estimate.peak),
        phase_limit=observer.phase,
        ranks=ranks,
        rewarding=rewarding,
    )
    trainer = Trainer(actor, reference if recipe.train.needs_reference else None, setting)
    return Training(trainer, memory.plan, recipe, load, ranks)


def _least_memory(device: "torch.device", launch: Launch, ranks: "Ranks") -> int:
    """Bytes that the rank with the least memory has: all must make the same plan. Ranks share a machine's own memory."""
    from ratchet.components.training.device_memory import device_bytes

    own = device_bytes(device) // (launch.local_workers if device.type == "cpu" else 1)
    return min(int(found) for found in ranks.exchange(str(own).encode()))


def spent(samples: int, limit: int | None) -> str:
    """Why a training that drew its completions ended."""
    remedy = "raise it (--set limits.samples=N) and run the same command to resume"
    return f"limits.samples: {samples} completions were drawn, and the limit is {limit}; {remedy}"


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


def _save(trainer: Any, load: Callable[[], Any], path: Path) -> None:
    """The best policy as one model, and the adapter alone if there is one."""
    from ratchet.components.policy.loading import save_policy

    if trainer.setting.ranks.sharded:
        actor = _actor_at(trainer, load, trainer.progress.best_step)
    else:
        trainer.best_policy()
        actor = trainer.actor
    if actor.adapter is not None:
        actor.adapter.save(path / "adapter")
    save_policy(actor.merged(), path / "model")


def _save_kept(trainer: Any, load: Callable[[], Any], path: Path) -> None:
    """The best trained policy by the gold, and the last one, unless they are the candidate; each a model of its own.

    Args:
        load: a copy of the starting policy in the host's memory, because the device's may be full.
    """
    from ratchet.components.policy.loading import save_policy

    progress = trainer.progress
    for step in sorted({progress.best_trained_step, progress.step} - {0, progress.best_step}):
        save_policy(_actor_at(trainer, load, step).merged(), path / CHECKPOINTS / f"step_{step:06d}" / "model")


def _actor_at(trainer: Any, load: Callable[[], Any], step: int) -> Any:
    """The actor of a checkpoint, whole, in the host's memory."""
    from ratchet.components.checkpoints import load_weights, weights_of
    from ratchet.components.training.actor import Actor

    setting = trainer.setting
    actor = Actor(load(), setting.train, setting.seed)
    load_weights(actor, weights_of(setting.checkpoints, step, "policy"))
    return actor


def _observe(observer: Observer, trainer: "Trainer") -> None:
    """Drive the loop; figures are reported when the checkpoint that covers them is durable."""
    from ratchet.components.training.events import Committed, Resumed, Samples

    pending: list[tuple[int, Mapping[str, float]]] = []
    samples: list[Samples] = []
    steps, accuracy, known = trainer.setting.train.steps, float("nan"), -1
    for event in trainer.run():
        if isinstance(event, Committed):
            observer.resumed("train", [point for point in pending if point[0] <= known])
            observer.metrics("train", [point for point in pending if point[0] > known])
            for table in samples:
                observer.samples("train", table.step, table.rows)
            pending, samples = [], []
            continue
        if isinstance(event, Samples):
            samples.append(event)
            continue
        if isinstance(event, Resumed):
            known = event.known
            observer.resumed("train", [(point.step, point.values) for point in event.points])
            for point in event.points:
                accuracy = point.values.get("eval_sampled_accuracy", accuracy)
            if event.samples is not None:
                observer.samples("train", event.samples.step, event.samples.rows)
            if event.points:
                observer.progress("train", event.points[-1].step, steps, "resumed")
            continue
        pending.append((event.step, event.values))
        accuracy = event.values.get("eval_sampled_accuracy", accuracy)
        note = f"dev gold {accuracy:.3f}"
        if "reward" in event.values:
            note = f"reward {event.values['reward']:.3f}, {note}"
        observer.progress("train", event.step, steps, note)
