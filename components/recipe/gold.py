"""The section ``gold``: the grader by which dev, validation, sentinel, evaluation and gate judge."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.recipe.base import Count, Name, Section, Share
from ratchet.components.recipe.builtin_graders import Numbers, TextSimilarity
from ratchet.components.recipe.graders import GraderSettings, Multi
from ratchet.components.recipe.openai_graders import OpenAI, Similarity
from ratchet.components.recipe.reward import Reward
from ratchet.components.templates import parse_template

REMEDY = "graders: {right: {type: number, form: strict}} and gold: {grader: right}, with the type of grader that fits the task"


class GoldValidation(Section):
    """What a gold must do before anything is trained: shares of answers whose grade is known; docs/graders.md."""

    rows: Count = 2_000  # rows of train and dev with references that are graded at most, at even distances
    min_references: Share = 0.99  # share of the references that must be right
    max_planted: Share = 0.01  # share of the wrong answers of each kind that may count as right
    max_faults: Share = 0.01  # share of all these answers that may fail to be graded
    min_pass_rate: Share = 0.02  # share of right samples of the starting policy: below, nothing tells right from wrong
    min_parse_rate: Share = 0.05  # share of these samples that must contain an answer which the grader can read
    max_pass_rate: Share = 0.98  # above, there is nothing to gain


class Gold(Section):
    """What counts as right."""

    grader: Name | None = None  # name of one of ``graders``; null: the reward's verifier, numbers in their strict form
    allow_similarity: bool = False  # accept one that says how similar a text is to the reference, not whether it is right
    validation: GoldValidation = GoldValidation()


def default_gold(reward: Reward) -> GraderSettings | None:
    """The gold of a recipe that names none: the verifier in its reward; of several the one of numbers; None without any.

    Numbers count in the strict form: training may be paid for ``the answer is 5``, what is promoted must write ``#### 5``. A
    formula is gold only where the recipe names it.
    """
    verifiers = reward.verifiers
    numbers = [one for one in verifiers if isinstance(one, Numbers)]
    if numbers:
        return Numbers(form="strict")
    return verifiers[0] if len(verifiers) == 1 and not isinstance(verifiers[0], Multi) else None


def is_similarity(settings: GraderSettings) -> bool:
    """Whether a grader's scores are nothing but similarities; what stands in a file of OpenAI's JSON is not known."""
    if isinstance(settings, Multi):
        return all(map(is_similarity, settings.graders.values()))
    if isinstance(settings, OpenAI):
        return isinstance(settings.grader, Similarity)
    return isinstance(settings, TextSimilarity)


def columns_read(settings: GraderSettings) -> set[str]:
    """The columns of a row that a grader's templates name, beside its id, prompt and answer.

    What code of the user or a service reads is not known, nor what stands in a file of OpenAI's JSON.
    """
    if isinstance(settings, Multi):
        return set().union(*map(columns_read, settings.graders.values()))
    inner = getattr(settings, "grader", None)
    holder = settings if inner is None or isinstance(inner, str) else inner
    templates = [getattr(holder, name) for name in ("reference", "database", "input") if hasattr(holder, name)]
    paths = [path for template in templates for path in parse_template(template).paths]
    return {str(path[1]) for path in paths if path[0] == "item"} - {"id", "prompt", "answer"}


def with_default_reward(values: Any) -> Any:
    """A recipe's values, in which a reward that is not described is the gold itself."""
    if not isinstance(values, Mapping) or not isinstance(values.get("gold"), Mapping):
        return values
    reward, graders = values.get("reward") or {}, values.get("graders")
    name = values["gold"].get("grader")
    grader = graders.get(name) if isinstance(graders, Mapping) and isinstance(name, str) else None
    described = not isinstance(reward, Mapping) or {"kind", "verifier", "terms", "function"} & reward.keys()
    if grader is None or described:
        return values
    return {**values, "reward": {**reward, "kind": "verifier", "verifier": grader}}
