"""From settings to a grader. A new kind: its settings in components/recipe/graders.py, a module here, and a case below."""

from collections.abc import Sequence
from types import ModuleType

from ratchet.components.graders import choice, exact, json_schema, length, number, regex
from ratchet.components.graders.protocol import BINARY, BOUNDED, Grader, Measure
from ratchet.components.graders.rule import Rule, RuleGrader, grader_digest
from ratchet.components.recipe import Choice, Exact, GraderSettings, JsonSchema, Length, Numbers, Pattern


def build_grader(settings: GraderSettings) -> Grader:
    """The grader of one entry of ``graders``, of ``reward.verifier`` or of a term. Cheap: nothing of the user's runs.

    Raises:
        RecipeError: if its JSON Schema is not valid.
    """
    match settings:
        case Numbers():
            return _of(settings, number, number.rule(settings.form == "strict", settings.last_number))
        case Exact():
            return _of(settings, exact, exact.rule(settings.ignore_case))
        case Pattern():
            return _of(settings, regex, regex.rule(settings.pattern, settings.whole))
        case Choice():
            return _of(settings, choice, choice.rule(settings.options))
        case JsonSchema():
            return _of(settings, json_schema, json_schema.rule(settings.document), libraries=json_schema.LIBRARIES)
        case Length():
            return _of(settings, length, length.rule(settings.shortest, settings.longest, settings.slope), BOUNDED)


def _of(
    settings: GraderSettings, module: ModuleType, rule: Rule, measure: Measure = BINARY, libraries: Sequence[str] = ()
) -> Grader:
    return RuleGrader(rule, grader_digest(module.__name__, settings.model_dump(mode="json"), libraries), measure)
