"""Train two recipes with the same seeds and one budget, and set their figures side by side.

Data, gold, starting policy and reward are the stages of a run of each recipe: made once, and found by a run. Only training has
the seeds of the comparison. Each training's result is kept, so that an interrupted comparison resumes. Nothing is recorded in
the ledger or in MLflow, and no sealed item is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ratchet.components.code.machine import machine_class
from ratchet.components.compare.figures import Arm, Compared, Measured, compared
from ratchet.components.compare.measured_training import WantedTraining, measured_training
from ratchet.components.compare.sides import Budget, Side, budget_of, require_same_task
from ratchet.components.errors import RewardError
from ratchet.components.graders.build import verifier_digests
from ratchet.components.graders.judging import judging_digests
from ratchet.components.project.locks import Locks
from ratchet.components.project.project import Project
from ratchet.components.project.references import require_references
from ratchet.components.recipe import Recipe
from ratchet.components.run.samples import policy_of
from ratchet.components.run.steps import configure_torch
from ratchet.components.stages import evaluate as evaluate_stage
from ratchet.components.stages import train as train_stage
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import gold_report, validated_gold
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.stage import Context, Observer, code_digest
from ratchet.components.stages.train import with_group_size
from ratchet.components.statistics.intervals import Interval
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.home import Home
from ratchet.components.storage.json_text import without_nan

LOCK, WAITING = "compare", "another `ratchet compare` of this project is in progress; waiting"
FORMAT = 1  # of the files there; what was trained under another one is measured again
MEASURED_BY = (train_stage.__name__, evaluate_stage.__name__)  # whose code decides what is measured


@dataclass(frozen=True)
class Ready:
    """A side whose stages before training are finished."""

    side: Side
    home: Home
    recipe: Recipe  # as training takes it, but for the seed
    data: DataStage
    start: PolicyStage
    reward: RewardStage

    @property
    def per_step(self) -> int:
        """Completions that a step draws, refills not counted."""
        return self.recipe.train.prompts * self.recipe.train.group_size

    def within(self, budget: Budget) -> "Ready":
        """With the steps that the budget allows."""
        recipe = self.side.recipe(f"train.steps={budget.steps_of(self.recipe, self.per_step)}")
        return replace(self, recipe=with_group_size(Context(recipe, self.home), self.reward).recipe)

    def order(self, seed: int) -> WantedTraining:
        """Its training with a seed."""
        return WantedTraining(self.recipe.model_copy(update={"seed": seed}), self.home, self.data, self.start, self.reward)

    @property
    def identity(self) -> list[str]:
        """All that its trainings and their measurement depend on, but for the seed; the files of users' functions too."""
        graders = judging_digests(self.recipe)
        stages = [self.data.version, self.start.policy_digest, self.reward.digest]
        return [self.recipe.digest, *stages, *(f"{name} {digest}" for name, digest in sorted(graders.items()))]

    @property
    def described(self) -> str:
        """The side in one line."""
        train = self.recipe.train
        how = f"{train.algorithm}, {train.steps} steps of {train.prompts} prompts x {train.group_size} completions"
        return f"{how}, learning rate {train.lr:g}, KL {train.kl}"


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: what was compared, on what, and what was found."""

    id: str
    first: Arm
    second: Arm
    figures: Sequence[Compared]
    task: dict[str, Any]  # recipe, items of dev, budget, seeds, machine
    notes: Sequence[str]

    @property
    def seeds(self) -> int:
        return len(self.first.runs)

    def figure(self, name: str) -> Compared | None:
        """A figure by name, if an arm has it."""
        return next((row for row in self.figures if row.name == name), None)

    @property
    def decided(self) -> bool:
        """Whether the accuracy of the two differs, by its interval."""
        row = self.figure("accuracy")
        return row is not None and row.difference is not None and not row.difference.low <= 0 <= row.difference.high

    def as_json(self) -> dict[str, Any]:
        """The shape of ``compare --json``; without the items."""
        rows = [_figure_json(row) for row in self.figures]
        arms = {key: _arm_json(arm) for key, arm in (("first", self.first), ("second", self.second))}
        found: dict[str, Any] = without_nan({"id": self.id, **arms, "figures": rows, "task": self.task, "notes": self.notes})
        return found


def _arm_json(arm: Arm) -> dict[str, Any]:
    runs = [{name: value for name, value in run.as_json().items() if name != "items"} for run in arm.runs]
    return {"name": arm.name, "described": arm.described, "runs": runs}


def _figure_json(row: Compared) -> dict[str, Any]:
    values = {name: _json(getattr(row, name)) for name in ("first", "second", "difference", "ratio")}
    return {"name": row.name, "title": row.measure.title, "better": row.measure.better, **values}


def _json(figure: Interval | None) -> dict[str, Any] | None:
    return None if figure is None else figure._asdict()


def prepared(side: Side, home: Home, observer: Observer, say: Callable[[str], None]) -> Ready:
    """The stages of a run before training: from the store, or made now.

    Raises:
        RewardError: if the gold or the reward is refused, as a run would.
    """
    recipe = side.recipe()
    project, context = Project(home, recipe, say), Context(recipe, home, observer)
    with project.locks.computing():
        configure_torch(recipe.threads)
        data = prepare_data(context)
        gold = validated_gold(context, data)
        start, _ = policy_of(project, context, data, None)
        reward = validated_reward(context, data, start, gold)
    failed = gold_report(gold, recipe).failed or ([] if reward.report.passed else reward.report.failed)
    if failed:
        raise RewardError(
            f"{side.name}: the reward or its gold is refused ({', '.join(failed)}), so that no run would train against it. "
            "See `ratchet reward validate`, and correct it or waive the check."
        )
    return Ready(side, home, with_group_size(context, reward).recipe, data, start, reward)


def compare_sides(
    sides: tuple[Side, Side], count: int, budget: str | None, home: Home, observer: Observer, say: Callable[[str], None]
) -> Comparison:
    """Train both sides with ``count`` seeds each, and compare; what was trained before is taken from the comparison's folder.

    Raises:
        RatchetError: if the sides do not compare, a reward is refused, or a training fails.
    """
    require_same_task(*(side.recipe() for side in sides))
    for side in sides:
        require_references(side.recipe())
    locks = Locks(home.locks, say)
    with locks.working(LOCK, WAITING):
        ready = [prepared(side, home, observer, say) for side in sides]
        allowed = budget_of(budget, [(one.recipe, one.per_step) for one in ready])
        ready = [one.within(allowed) for one in ready]
        identity = digest_of([FORMAT, *map(code_digest, MEASURED_BY), [one.identity for one in ready]])[:16]
        seeds = list(range(ready[0].recipe.run_seed, ready[0].recipe.run_seed + count))
        runs = trained(ready, seeds, home.comparisons / identity, observer, locks)
    first, second = (Arm(one.side.name, one.described, found) for one, found in zip(ready, runs, strict=True))
    rows = len(ready[0].data.table("dev")[: ready[0].recipe.evaluation.dev_items])
    task = {
        "recipe": str(sides[0].file),
        "data": ready[0].data.version,
        "dev_items": rows,
        "budget": allowed.text(),
        "seeds": seeds,
        "measure": "accuracy" if ready[0].recipe.gold_settings.passes else "gold score",
        "machine": machine_class(ready[0].recipe.threads),
    }
    return Comparison(
        identity, first, second, compared(first, second, same_reward(ready)), task, notes_on(ready, first, second)
    )


def trained(
    ready: Sequence[Ready], seeds: Sequence[int], folder: Path, observer: Observer, locks: Locks
) -> tuple[list[Measured], list[Measured]]:
    """The trainings of both sides in the order of the seeds. Who goes first alternates, so that both meet busy hours."""
    runs: tuple[list[Measured], list[Measured]] = ([], [])
    for number, seed in enumerate(seeds):
        for place in (0, 1) if number % 2 == 0 else (1, 0):
            file = folder / f"{'ab'[place]}-{seed}.json"
            if not file.is_file():
                said = f"{ready[place].side.name}, seed {seed} ({len(runs[0]) + len(runs[1]) + 1} of {2 * len(seeds)})"
                with locks.computing():
                    write_json(file, measured_training(ready[place].order(seed), observer, said).as_json())
            runs[place].append(Measured.from_json(read_json(file)))
    return runs


def same_reward(ready: Sequence[Ready]) -> bool:
    """Whether both sides are paid alike."""
    rewards = [(one.reward.digest, verifier_digests(one.recipe.reward), one.recipe.reward) for one in ready]
    return rewards[0] == rewards[1]


def notes_on(ready: Sequence[Ready], first: Arm, second: Arm) -> list[str]:
    """What a reader must know before taking the figures at their word."""
    notes = ["the start, the reward and the items of dev are the same for all seeds: the intervals say nothing about others"]
    if ready[0].start.policy_digest != ready[1].start.policy_digest:
        notes.append(
            "the sides start from different policies: accuracy is of start and training together, and each KL is to its own"
        )
    if not same_reward(ready):
        notes.append("the sides are paid by different rewards, which are not set against each other")
    drawn = [sum(run.figures["samples"] for run in arm.runs) for arm in (first, second)]
    if max(drawn) > 1.01 * min(drawn):
        notes.append(f"{first.name} drew {drawn[0]:,.0f} completions in all and {second.name} {drawn[1]:,.0f}")
    if any(run.reused for arm in (first, second) for run in arm.runs):
        notes.append("some trainings were finished before: their seconds and memory are of then")
    for arm in (first, second):
        notes += [f"{arm.name}, seed {run.seed}: {run.stop}" for run in arm.runs if run.stop]
    return notes
