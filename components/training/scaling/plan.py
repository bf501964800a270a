"""A recipe on W ranks: memory, seconds, traffic, and where more ranks stop being of use. Nothing is started."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.components.policy.configuration import ModelShape
from ratchet.components.recipe import Recipe
from ratchet.components.training.estimate import Place, in_bf16, planned_prompt, planned_shape
from ratchet.components.training.memory import GIB, SLOTS, with_choice
from ratchet.components.training.scaling.cluster import Cluster, Gpu, nodes_for
from ratchet.components.training.scaling.rank_memory import RankMemory, dealt, rank_memory, without_sampler
from ratchet.components.training.scaling.step import (
    MEASURED,
    Rates,
    Traffic,
    Work,
    batch_seconds,
    rollout_seconds,
    scoring_seconds,
    traffic,
    update_seconds,
)

USEFUL = 0.5  # of the efficiency of one rank: below, more than half of every GPU is lost
HALF = 0.5  # of a step: above, rollouts are the bottleneck
# GPUs from which a published system gained by drawing on some of them while the others train (verl's documentation): 8 and 8
# of 16 took 484.6 s per step instead of 490; a split of 32 took 0.81 of the time, of 32 to 128 with old rollouts 0.37 to 0.59.
SPLIT_FROM = 32


@dataclass(frozen=True)
class Seconds:
    """Phases of a step, one after the other."""

    rollout: float
    scoring: float
    update: float
    communication: float  # of gradients and weights, as far as it is not hidden behind computing
    batch: float  # what every rank does for the whole batch

    @property
    def step(self) -> float:
        return self.rollout + self.scoring + self.update + self.communication + self.batch


@dataclass(frozen=True)
class Subject:
    """What is planned: a recipe for a model on GPUs of one kind."""

    recipe: Recipe
    shape: ModelShape
    prompt_tokens: int  # of the longest prompt
    gpu: Gpu
    memory: int  # bytes of each GPU
    rates: Rates = MEASURED

    @property
    def place(self) -> Place:
        return Place("cuda", self.memory)


@dataclass(frozen=True)
class ScalingPlan:
    """The subject on ranks with a GPU each."""

    subject: Subject
    cluster: Cluster
    memory: RankMemory

    @cached_property
    def work(self) -> Work:
        """Of the rank with the most prompts."""
        return self._work(self.cluster, self.memory.mode == "sharded")

    @cached_property
    def traffic(self) -> Traffic:
        return traffic(self.work)

    @cached_property
    def seconds(self) -> Seconds:
        return self._seconds(self.work, self.traffic)

    @property
    def efficiency(self) -> float:
        """T(1) / (W T(W)): one rank's step, with memory for it and the same micro-batches, over W times that of W ranks."""
        alone = self._work(Cluster(self.cluster.gpu, 1), sharded=False)
        return self._seconds(alone, traffic(alone)).step / (self.cluster.workers * self.seconds.step)

    @property
    def rollout_share(self) -> float:
        """Of a step."""
        return self.seconds.rollout / self.seconds.step

    def _work(self, cluster: Cluster, sharded: bool) -> Work:
        subject, recipe = self.subject, self.subject.recipe
        return Work(
            train=with_choice(dealt(recipe, cluster.workers).train, self.memory.plan.choice),
            prompts=recipe.train.prompts,
            shape=subject.shape,
            prompt_tokens=subject.prompt_tokens,
            new_tokens=recipe.policy.max_new_tokens,
            low=in_bf16(recipe.train, subject.place),
            cluster=cluster,
            rates=subject.rates,
            sharded=sharded,
        )

    def _seconds(self, work: Work, moved: Traffic) -> Seconds:
        scoring, update = scoring_seconds(work), update_seconds(work)
        exposed = moved.exposed(scoring + update)
        return Seconds(rollout_seconds(work), scoring, update, exposed, batch_seconds(work))

    def as_json(self) -> dict[str, Any]:
        """Memory in GiB, traffic in bytes that a rank sends per step."""
        seconds = self.seconds
        return {
            "workers": self.cluster.workers,
            "nodes": self.cluster.nodes,
            "gpu": self.cluster.gpu.name,
            "mode": self.memory.mode,
            "why": self.memory.why,
            "memory": self.memory.plan.as_json(),
            "prompts_per_rank": self.work.train.prompts,
            "rows_per_rank": self.work.rows,
            "seconds": {**vars(seconds), "step": seconds.step},
            "bytes": self.traffic.as_json(),
            "efficiency": self.efficiency,
            "rollout_share": self.rollout_share,
            "limits": limits_of(self.subject)._asdict(),
            "engine": engine_advice(self),
        }


class Limits(NamedTuple):
    """Where more ranks stop being of use, for the recipe's prompts x k."""

    full_slots: int  # ranks whose slots are all taken: beyond, a decode step hardly gets shorter
    useful: int  # the largest power of two of ranks with at least half of one rank's efficiency; or the first that fits
    rollouts_from: int | None  # the smallest power of two of ranks at which rollouts take more than half of a step


def scaling_plan(subject: Subject, workers: int, nodes: int | None = None) -> ScalingPlan:
    """The plan for so many ranks, spread over as many nodes as they need unless ``nodes`` says it.

    Raises:
        RecipeError: if ``train.k`` is still ``auto``.
    """
    memory = rank_memory(subject.recipe, subject.shape, subject.prompt_tokens, subject.place, workers)
    return ScalingPlan(subject, Cluster(subject.gpu, workers, nodes or nodes_for(workers)), memory)


def limits_of(subject: Subject) -> Limits:
    """Tries one rank, two, four and so on, as long as each has a prompt."""
    train = subject.recipe.train
    plans = [scaling_plan(subject, 2**power) for power in range(train.prompts.bit_length())]
    first = next((plan.cluster.workers for plan in plans if plan.memory.plan.fits), 1)
    return Limits(
        full_slots=max(1, train.prompts * train.group_size // SLOTS),
        useful=max(first, *(plan.cluster.workers for plan in plans if plan.efficiency >= USEFUL)),
        rollouts_from=next((plan.cluster.workers for plan in plans if plan.rollout_share > HALF), None),
    )


def engine_advice(plan: ScalingPlan) -> str:
    """Where to draw: on the training ranks, or on GPUs of their own."""
    memory, workers, share = plan.memory.plan, plan.cluster.workers, plan.rollout_share
    if not memory.fits and (rest := without_sampler(memory.estimate)) <= memory.place.budget:
        return f"draw on vLLM servers: without the sampler's copy and slots a rank needs {rest / GIB:,.1f} GiB, which fits"
    if workers < SPLIT_FROM:
        return (
            f"draw on the training ranks: a published system gained from a split of {SPLIT_FROM} GPUs, and not from one of 16"
        )
    if share <= HALF:
        return f"draw on the training ranks: rollouts take {share:.0%} of a step"
    return (
        f"rollouts take {share:.0%} of a step: vLLM servers on about {round(share * workers)} of the {workers} GPUs pay "
        "where they draw while the others train, which Ratchet's loop does not do"
    )


def subject_of(
    recipe: Recipe, gpu: Gpu, memory: int | None = None, config: Path | None = None, prompt_tokens: int | None = None
) -> Subject:
    """A recipe before data and model exist; see :func:`plan_ahead`.

    Args:
        memory: bytes of each GPU, if not the usual.

    Raises:
        RecipeError: if the shape of the model is unknown.
    """
    shape = planned_shape(recipe, config)
    return Subject(recipe, shape, prompt_tokens or planned_prompt(recipe), gpu, memory or gpu.memory)
