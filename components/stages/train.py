"""Stage *train*: the RL loop, resumed where it was killed; the best checkpoint on dev becomes the candidate."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ratchet.components.graders.judging import judging_digests
from ratchet.components.stages.loaded_training import CHECKPOINTS, Order, TrainingFacts
from ratchet.components.stages.preparation import prepare_training
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Context, Stage, finish, key_of
from ratchet.components.storage.digests import weights_digest
from ratchet.components.storage.files import files_below, policy_digest, read_json, read_json_lines
from ratchet.components.storage.store import FACTS
from ratchet.components.training.sentinel import Stop, may_be_judged


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
        return TrainingFacts(**read_json(self.path / FACTS))

    def as_json(self) -> dict[str, Any]:
        launch = self.facts.launch
        return super().as_json() | ({} if launch is None else {"launch": launch})

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
        recipe.train.model_dump(mode="json", exclude={"sampling": {"vllm"}, "keep_checkpoints": True}),
        # What validates a reward that passed makes no other policy; the group size that it advises is in the recipe here.
        recipe.reward.model_dump(mode="json", exclude={"limits", "failures", "validation"}),
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
        "reward": reward.model_digest,
        **judging_digests(recipe, context.seen.digest),
    }
    key = key_of(TrainStage, __name__, configuration, inputs)
    order = Order(recipe, data, start, reward, key, context.store.work(Stage.TRAIN, key))
    return finish(context, TrainStage, key, lambda path: _train(context, order, path).as_json())


def with_group_size(context: Context, reward: RewardStage) -> Context:
    """The context, with ``train.k: auto`` replaced by the size that the reward's pilot advises."""
    recipe = context.recipe
    if recipe.train.k != "auto":
        return context
    train = recipe.train.model_copy(update={"k": reward.report.advice["k"]})
    return replace(context, recipe=recipe.model_copy(update={"train": train}))


def _train(context: Context, order: Order, path: Path) -> TrainingFacts:
    """Train in this process, or follow the job whose ranks do."""
    from ratchet.components.interruption import Interruption
    from ratchet.components.stages.launched import end_left_job, trained_by_ranks

    interruption = Interruption()
    ended = context.ended_by(interruption)
    if context.recipe.launch.kind != "process":
        with interruption:
            return trained_by_ranks(order, context.observer, ended, path)
    from ratchet.components.launch.ranks import ONE

    with interruption:
        end_left_job(order, context.observer, ended)
    training = prepare_training(order, context.observer, ended, ONE)
    with interruption:
        training.run(context.observer)
    return training.save(path)
