"""Both arms on the same items: what the stages *evaluate* and *sealed* share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from ratchet.components.graders.build import grader_digests, verifier_digests
from ratchet.components.records import Arm, Decoding, ItemResult, rows_name
from ratchet.components.stages.results import PolicyStage, RewardStage
from ratchet.components.stages.stage import Context, Stage, StageResult
from ratchet.components.storage.files import policy_digest, read_json, read_json_lines, write_json_lines


@dataclass(frozen=True)
class Models:
    """The policies of an evaluation; without a reward, none is measured."""

    challenger: PolicyStage
    incumbent: PolicyStage
    start: PolicyStage
    reward: RewardStage | None = None

    @property
    def incumbent_is_start(self) -> bool:
        return self.incumbent.policy_digest == self.start.policy_digest

    @property
    def kept_start(self) -> bool:
        """Whether training changed no weight: the challenger is the start, perhaps with another date in its template."""
        return self.challenger.weights == self.start.weights

    @property
    def digests(self) -> dict[str, str]:
        return {
            "challenger": self.challenger.policy_digest,
            "incumbent": self.incumbent.policy_digest,
            "start": self.start.policy_digest,
            "reward": self.reward.digest if self.reward else "",
        }


class ScoredStage(StageResult):
    """Rows of both arms, and the digests of the policies that answered."""

    name: ClassVar[Stage]

    @cached_property
    def scored(self) -> dict[str, str]:
        """Arm -> digest of the policy that was really loaded."""
        return dict(read_json(self.path / "facts.json"))

    def rows(self, arm: Arm, decoding: Decoding = Decoding.SAMPLED) -> list[dict[str, Any]]:
        """One row per item and sample of an arm in the stage's own place."""
        return read_json_lines(self.path / f"{rows_name(arm, decoding)}.jsonl")

    def results(self, place: str = "") -> dict[str, list[ItemResult]]:
        """Results in a place ("" is the stage's own) by ``arm_decoding``; without those that were not measured."""
        files = {name: self.path / place / f"{name}.jsonl" for arm in Arm for name in (rows_name(arm, d) for d in Decoding)}
        return {
            name: [ItemResult.from_json(row) for row in read_json_lines(file)] for name, file in files.items() if file.is_file()
        }


@dataclass(frozen=True)
class Job:
    """Items to be answered by both arms, with one decoding. Rows go to ``<place>/<arm>_<decoding>.jsonl``."""

    place: str  # "" is the stage's own directory
    rows: Sequence[Mapping[str, Any]]
    decoding: Decoding
    purpose: str
    seed: int

    def answer(self, context: Context, policy: Any, measuring: Any) -> list[ItemResult]:
        """One policy's results."""
        from ratchet.components.evaluation.evaluate import evaluate_items
        from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings

        wanted, longest = context.recipe.evaluation, context.recipe.policy.max_new_tokens
        samples, temperature = (wanted.samples, wanted.temperature) if self.decoding is Decoding.SAMPLED else (1, 0.0)
        settings = SamplingSettings(samples, longest, temperature)
        return evaluate_items(policy, self.rows, settings, SamplingSeed(self.seed, self.purpose), measuring)


Results = dict[tuple[str, str], list[ItemResult]]  # by place and arm_decoding


def configuration(context: Context) -> list[Any]:
    """The part of the recipe that both stages depend on, and the graders' digests."""
    recipe = context.recipe
    settings = recipe.evaluation.model_dump(mode="json", exclude={"dev_items", "sample_rows", "benchmarks"})
    benchmarks, graders = sorted(recipe.evaluation.benchmarks), grader_digests(recipe) | verifier_digests(recipe.reward)
    return [settings, benchmarks, recipe.policy.max_new_tokens, recipe.prompt_date, recipe.device, graders]


def score(
    context: Context, models: Models, jobs: Sequence[Job], path: Path, told: Stage = Stage.EVALUATE
) -> tuple[Results, dict[str, str]]:
    """Both arms on every job: results, also written as rows, and the digests of the policies that were loaded.

    Args:
        told: the stage that people are told is in progress.
    """
    from ratchet.components.evaluation.evaluate import as_rows
    from ratchet.components.policy.loading import load_policy, pick_device

    device = pick_device(context.recipe.device)
    results: Results = {}
    digests: dict[str, str] = {}
    policies = {Arm.CHALLENGER: models.challenger, Arm.INCUMBENT: models.incumbent}
    for number, (arm, stage) in enumerate(policies.items()):
        context.observer.progress(told, number, len(policies), f"scoring the {arm}")
        policy = load_policy(stage.model, device, template_date=context.recipe.prompt_date)
        digests[arm] = policy_digest(stage.model)
        measuring = _measuring(context, models, arm)
        for job in jobs:
            items, name = job.answer(context, policy, measuring), rows_name(arm, job.decoding)
            (path / job.place).mkdir(parents=True, exist_ok=True)
            write_json_lines(path / job.place / f"{name}.jsonl", as_rows(items))
            results[job.place, name] = items
    context.observer.progress(told, len(policies), len(policies), "done")
    return results, digests


def _measuring(context: Context, models: Models, arm: Arm) -> Any:
    """What is measured of an arm: gold, KL to the start, of the challenger KL to the incumbent, reward, graders, slices."""
    from ratchet.components.evaluation.evaluate import Measuring
    from ratchet.components.graders.counted import build_gold, counted
    from ratchet.components.policy.adapters import Reference
    from ratchet.components.policy.loading import load_policy, pick_device
    from ratchet.components.rewards.build import build_reward

    recipe, device = context.recipe, pick_device(context.recipe.device)
    load = partial(load_policy, device=device, template_date=context.recipe.prompt_date)  # the same prompts for every policy
    start = Reference(load(models.start.model))
    incumbent = None
    if arm is Arm.CHALLENGER:
        incumbent = start if models.incumbent_is_start else Reference(load(models.incumbent.model))
    return Measuring(
        start,
        incumbent,
        build_reward(recipe.reward, models.reward.model, device) if models.reward else None,
        recipe.evaluation.slices,
        build_gold(recipe),
        {name: counted(settings, f"graders.{name}", recipe) for name, settings in recipe.guarding.items()},
    )
