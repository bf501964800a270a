"""Two registered versions side by side: both answer dev again, with the same draws, beside what their trainings recorded.

Nothing is trained: what is not in the store, the start or the reward model, is left out with what it would measure. No sealed
item is read, and the ledger counts no use.
"""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ratchet.components.code.machine import machine_class
from ratchet.components.compare.compare import LOCK, WAITING, Comparison
from ratchet.components.compare.figures import (
    MEASURES,
    Arm,
    Measured,
    compared,
    curve_of,
    item_figures,
    item_of,
    training_figures,
)
from ratchet.components.compare.measured_training import answered
from ratchet.components.compare.sides import SLOT
from ratchet.components.errors import RegistryError
from ratchet.components.policy.loading import pick_device
from ratchet.components.provenance.ancestry import recorded_lineage
from ratchet.components.rewards.build import build_reward
from ratchet.components.run.samples import finished_reward, registered_policy
from ratchet.components.run.steps import configure_torch
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.stage import Context, NotFinished, Observer
from ratchet.components.stages.train import TrainStage
from ratchet.components.stages.warmup import starting_policy
from ratchet.components.storage.digests import digest_of

if TYPE_CHECKING:
    from ratchet.components.project.project import Project
    from ratchet.components.provenance.lineage import Lineage
    from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage

FLATTERED = "checkpoints were chosen on dev, so that its figures flatter both; a gate's verdict is on sealed items"
NO_START = "the starting policy of this recipe is not in the store, so that no KL to it is measured"
NO_REWARD = "the reward model of this recipe is not in the store, so that no reward is measured (`ratchet reward validate`)"


def compare_versions(project: "Project", texts: tuple[str, str], observer: Observer) -> Comparison:
    """Two versions by number or alias.

    Raises:
        RegistryError: if one does not exist, or its files are gone.
    """
    recipe = project.recipe.with_slot(SLOT)
    context = Context(recipe, project.home, observer)
    if not project.ledger.verdicts(recipe.name):  # before MLflow is opened, which would create its database
        raise RegistryError(
            f"{recipe.name} has no registered version yet. Run `ratchet run`, or compare recipes or algorithms."
        )
    numbers = [project.number(text) for text in texts]
    if numbers[0] == numbers[1]:
        raise RegistryError(f"both are version {numbers[0]} of {recipe.name}. Give another one; see `ratchet history`.")
    with project.locks.working(LOCK, WAITING):
        data = prepare_data(context)
        policies = [registered_policy(project, context, number) for number in numbers]
        with project.locks.computing():
            configure_torch(recipe.threads)
            start = finished_start(context, data)
            reward = finished_reward(context, data)
            answers = [_measured(context, data, policy, start, reward) for policy in policies]
    first, second = (_with_record(project, context, number, run) for number, run in zip(numbers, answers, strict=True))
    unmeasured = {NO_START: start is None, NO_REWARD: reward is None and recipe.reward.needs_model}
    notes = [FLATTERED, *(note for note, left_out in unmeasured.items() if left_out)]
    task = {
        "recipe": recipe.name,
        "data": data.version,
        "dev_items": len(first.runs[0].items),
        "measure": "accuracy" if recipe.gold_settings.passes else "gold score",
        "machine": machine_class(recipe.threads),
    }
    identity = digest_of([recipe.digest, data.version, *(policy.policy_digest for policy in policies)])[:16]
    return Comparison(identity, first, second, compared(first, second), task, notes)


def finished_start(context: Context, data: "DataStage") -> "PolicyStage | None":
    """The starting policy of the recipe, if it is in the store."""
    with suppress(NotFinished):
        return starting_policy(replace(context, compute=False), data)
    return None


def _measured(
    context: Context, data: "DataStage", policy: "PolicyStage", start: "PolicyStage | None", reward: "RewardStage | None"
) -> Measured:
    """A version's answers to dev."""
    recipe = context.recipe
    paid = reward is not None or not recipe.reward.needs_model
    scorer = build_reward(recipe.reward, reward.model if reward else None, pick_device(recipe.device)) if paid else None
    rows = data.table("dev")[: recipe.evaluation.dev_items]
    items = [item_of(result) for result in answered(recipe, policy.model, start.model if start else None, rows, scorer)]
    return Measured(recipe.run_seed, item_figures(items), items)


def _with_record(project: "Project", context: Context, number: str, run: Measured) -> Arm:
    """A version as an arm: with what its training recorded, as far as the record and the stage are still there."""
    name = f"version {number}"
    try:
        with project.home.workspace("compare") as folder:
            lineage = recorded_lineage(project.tracker, project.name, number, folder)
    except RegistryError as error:
        return Arm(name, f"no record of its training: {error}", [run])
    manifest = lineage.stage(TrainStage.name)
    stage = TrainStage.find(context.store, manifest.key) if manifest is not None else None
    if stage is not None:
        curve = curve_of(stage.points)
        recorded = training_figures(stage.points, curve, stopped=stage.stop is not None)
        # Seconds and memory are of whichever machines and days they were trained on.
        figures = {**run.figures, **{name: value for name, value in recorded.items() if not MEASURES[name].ratio}}
        run = replace(run, figures=figures, curve=curve, stop=stage.stop.text() if stage.stop else None)
    return Arm(name, _described(lineage), [run])


def _described(lineage: "Lineage") -> str:
    """How a version was trained, by its record."""
    train = lineage.recipe["train"]
    return f"{train['algorithm']}, {train['steps']} steps of {train['prompts']} prompts x {train['k']}, seed {lineage.seed}"
