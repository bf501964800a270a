"""Samples of a policy with the grades of gold, reward and all other graders: what ``ratchet try`` shows.

Nothing is recorded, in neither the ledger nor MLflow; stages that are made here are found finished by a run.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from ratchet.components.errors import ModelError, RegistryError, RewardError
from ratchet.components.graders.counted import build_gold, counted
from ratchet.components.graders.protocol import Grade, RewardFunction, score_rows
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy, load_policy, pick_device
from ratchet.components.policy.parity import check_context
from ratchet.components.project.project import Project
from ratchet.components.randomness import batch_indices
from ratchet.components.recipe import Recipe, Reward
from ratchet.components.rewards.build import build_reward
from ratchet.components.rewards.checks.planted.kinds import kind_of
from ratchet.components.run.steps import configure_torch
from ratchet.components.stages.champion import fetched_policy
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import validated_gold
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.stage import Context, NotFinished, Observer
from ratchet.components.stages.warmup import starting_policy

LOCK, WAITING = "try", "another `ratchet try` of this project is in progress; waiting"
PURPOSE = "try"  # of the draws
SLOT = "try"  # of recipes with seed: slot, whose next run has another seed
UNTRAINED = "the reward model is not trained yet (`ratchet reward validate` trains it), so that {}"


@dataclass(frozen=True)
class Wish:
    """What is asked for. A text that is a row's prompt has that row's reference; another text has none, and is not graded."""

    samples: int
    prompt: str | None = None  # asked ``samples`` times; None: that many rows of dev, once each
    greedy: bool = False
    version: str | None = None  # number or alias; None: the policy that training starts from


@dataclass(frozen=True)
class Sample:
    """One completion and its grades: by ``gold``, ``reward``, and ``grader/NAME`` of each other grader of the recipe."""

    row: str | None  # its id
    prompt: str
    completion: str
    finished: bool  # False: cut at policy.max_new_tokens
    reference: str | None
    grades: Mapping[str, Grade]


@dataclass(frozen=True)
class Tried:
    """What was drawn, from which policy, and what the reader must know of it."""

    policy: str  # in words
    digest: str
    decoding: str
    samples: list[Sample]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """The shape of ``try --json``."""
        return asdict(self)


def try_policy(project: Project, wish: Wish, observer: Observer) -> Tried:
    """Draw and grade; the same again gives the same.

    Raises:
        RatchetError: if the data, the policy or a version of it cannot be used. A grader that fails is a note.
    """
    recipe = project.recipe.with_slot(SLOT)
    context = Context(recipe, project.home, observer)
    with project.locks.working(LOCK, WAITING):
        data = prepare_data(context)
        with project.locks.computing():
            configure_torch(recipe.threads)
            stage, said = policy_of(project, context, data, wish.version)
            policy = load_policy(stage.model, pick_device(recipe.device), template_date=recipe.prompt_date)
            rows = asked_rows(recipe, data, wish)
            drawn = draw(policy, recipe, rows, wish)
            judges, notes = judges_of(context, data) if rows[0].get("id") else ({}, [NOT_A_ROW])
            notes += too_long(policy, data, recipe)
            grades, failed = graded(judges, rows, [text for text, _ in drawn])
    samples = samples_of(recipe, rows, drawn, grades)
    decoding = "greedy" if wish.greedy else f"temperature {recipe.train.sampling.temperature:g}, seed {recipe.run_seed}"
    return Tried(said, stage.policy_digest, decoding, samples, [*notes, *failed])


NOT_A_ROW = "this prompt is that of no row of train or dev: there is no reference, and nothing was graded"


def policy_of(project: Project, context: Context, data: DataStage, version: str | None) -> tuple[PolicyStage, str]:
    """The policy as a stage, and in words which it is."""
    recipe = context.recipe
    champion = project.ledger.champion(recipe.name)
    if version is None and not (recipe.policy.start == "champion" and champion):
        return starting_policy(context, data), f"the starting policy ({made_of(recipe)})"
    # Before MLflow is opened, which would create its database.
    if champion is None and not project.ledger.verdicts(recipe.name):
        raise RegistryError(f"{recipe.name} has no registered version yet. Run `ratchet run`, or leave out --version.")
    number = project.number(version or "champion")
    return registered_policy(project, context, number), f"version {number} of {recipe.name}"


def made_of(recipe: Recipe) -> str:
    """What the starting policy is made of."""
    if recipe.policy.model is None:
        return "warmed up on demonstrations"
    return recipe.policy.model if recipe.policy.tuning is None else f"{recipe.policy.model}, fine-tuned on demonstrations"


def registered_policy(project: Project, context: Context, number: str) -> PolicyStage:
    """The policy of a version, verified.

    Raises:
        RegistryError: if there is no such version, or its files are gone.
    """
    from ratchet.components.registry.versions import POLICY_TAG, WEIGHTS_TAG

    tracker, name = project.tracker, project.name
    tracker.require_files(name, number)
    tags = tracker.version(name, number).tags
    digest = tags.get(POLICY_TAG) or tags.get(WEIGHTS_TAG)
    if digest is None:
        raise RegistryError(f"version {number} of {name} has no digest of its policy: no run registered it. Choose another.")
    return fetched_policy(context, digest, lambda target: tracker.download(name, number, target))


def asked_rows(recipe: Recipe, data: DataStage, wish: Wish) -> list[Mapping[str, Any]]:
    """One row per sample: of dev in the order of the seed, or the given prompt's. A sealed item is never among them."""
    dev = data.table("dev")
    if wish.prompt is None:
        numbers = batch_indices(recipe.run_seed, PURPOSE, 0, min(wish.samples, len(dev)), len(dev))
        return [dev[number] for number in numbers.tolist()]
    known = next((row for row in [*dev, *data.table("train")] if row["prompt"] == wish.prompt), {"prompt": wish.prompt})
    return [known] * wish.samples


def draw(policy: Policy, recipe: Recipe, rows: Sequence[Mapping[str, Any]], wish: Wish) -> list[tuple[str, bool]]:
    """A completion per row, and whether it ended by itself; drawn as training draws them."""
    sampling = recipe.train.sampling
    temperature, top_p = (0.0, 1.0) if wish.greedy else (sampling.temperature, sampling.top_p)
    settings = SamplingSettings(1, recipe.policy.max_new_tokens, temperature, top_p)
    prompts = [policy.encode_row(row) for row in rows]
    seed = SamplingSeed(recipe.run_seed, PURPOSE)
    groups = generate(policy, SamplingRequest(prompts, range(len(rows)), settings, seed, policy.ends))
    return [(policy.decode(one.tokens), one.finished) for group in groups for one in group]


def too_long(policy: Policy, data: DataStage, recipe: Recipe) -> list[str]:
    """That a run would be refused, if it would, because a row of train does not fit the context."""
    try:
        check_context(policy, data.table("train"), recipe.policy.max_new_tokens)
    except ModelError as error:
        return [f"a run would end in an error: {error}"]
    return []


def judges_of(context: Context, data: DataStage) -> tuple[dict[str, RewardFunction], list[str]]:
    """What grades a sample, by name, and what of the reward is left out and why; faults are shown and stop nothing."""
    reward = context.recipe.reward
    failures = reward.failures.model_copy(update={"max_rate": 1.0})
    recipe = context.recipe.model_copy(update={"reward": reward.model_copy(update={"failures": failures})})
    judges = {"gold": build_gold(recipe)}
    paid, notes = reward_of(context, data, recipe.reward)
    if recipe.paid_by_gold:
        notes = ["the reward is the gold itself"]
    elif paid is not None:
        judges["reward"] = paid
    others = {name: settings for name, settings in recipe.graders.items() if settings != recipe.gold_settings}
    judges |= {f"grader/{name}": counted(settings, f"graders.{name}", recipe) for name, settings in others.items()}
    return judges, notes


def reward_of(context: Context, data: DataStage, settings: Reward) -> tuple[RewardFunction | None, list[str]]:
    """The reward; without its learned part, or None where that is all of it, before the reward model is trained."""
    device = pick_device(context.recipe.device)
    if not settings.needs_model:
        return build_reward(settings, None, device), []
    if (stage := finished_reward(context, data)) is not None:
        return build_reward(settings, stage.model, device), []
    if settings.kind != "mix":
        return None, [UNTRAINED.format("no reward is shown")]
    verifier = settings.model_copy(update={"kind": "verifier"})
    return build_reward(verifier, None, device), [UNTRAINED.format("the reward is shown without its learned part")]


def finished_reward(context: Context, data: DataStage) -> RewardStage | None:
    """The reward's stage of a run that starts from this recipe's own policy, if it is in the store."""
    look = replace(context, compute=False)
    with suppress(NotFinished):
        return validated_reward(look, data, starting_policy(look, data), validated_gold(look, data))
    return None


def graded(
    judges: Mapping[str, RewardFunction], rows: Sequence[Mapping[str, Any]], texts: Sequence[str]
) -> tuple[dict[str, list[Grade]], list[str]]:
    """The grades by judge; of one that broke its protocol or failed on every text there are none, and its message is a note."""
    grades: dict[str, list[Grade]] = {}
    failed = []
    for name, judge in judges.items():
        try:
            grades[name] = score_rows(judge, rows, texts)
        except RewardError as error:
            grades[name] = [Grade(None, fault="failed")] * len(texts)
            failed.append(f"{name}: {error}")
    return grades, failed


def samples_of(
    recipe: Recipe,
    rows: Sequence[Mapping[str, Any]],
    drawn: Sequence[tuple[str, bool]],
    grades: Mapping[str, Sequence[Grade]],
) -> list[Sample]:
    """Rows, completions and grades side by side, with the reference as the gold's kind reads it."""
    kind, samples = kind_of(recipe.gold_settings), []
    for place, (row, (text, finished)) in enumerate(zip(rows, drawn, strict=True)):
        case = kind.case(row) if row.get("id") else None
        own = {name: found[place] for name, found in grades.items()}
        reference = None if case is None else case.reference
        samples.append(Sample(row.get("id"), row["prompt"], text, finished, reference, own))
    return samples
