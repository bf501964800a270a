"""A recipe's graders as a run asks them: failures are retried, counted, and stop the run above ``reward.failures.max_rate``."""

from ratchet.components.graders.build import build_grader, gold_key
from ratchet.components.graders.faults import Retrying
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.recipe import GraderSettings, Recipe


def build_gold(recipe: Recipe) -> RewardFunction:
    """The grader that is gold."""
    return counted(recipe.gold_settings, gold_key(recipe), recipe, named("the gold", recipe.gold_settings))


def counted(settings: GraderSettings, key: str, recipe: Recipe, source: str | None = None) -> RewardFunction:
    """A grader whose failures are counted; ``source``, or else its key in the recipe, names it in errors."""
    return Retrying(build_grader(settings, key), source or key, recipe.reward.failures)


def named(role: str, settings: GraderSettings) -> str:
    """A grader's role and, of one that is the user's, its file or address: where to look for a fault."""
    place = getattr(settings, "file", None) or getattr(settings, "url", None) or getattr(settings, "grader", None)
    return f"{role} {place}" if isinstance(place, str) else role
