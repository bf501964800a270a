"""From settings to a grader. A new kind: its settings in recipe/builtin_graders.py, a module here, and a case below."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from sqlite3 import sqlite_version
from types import ModuleType

from ratchet.components.errors import RecipeError
from ratchet.components.formula import parse_formula
from ratchet.components.graders import (
    choice,
    exact,
    json_match,
    json_schema,
    label,
    length,
    multi,
    number,
    outside,
    regex,
    sql,
    text_similarity,
)
from ratchet.components.graders.protocol import Grader, Measure
from ratchet.components.graders.response import schema_text
from ratchet.components.graders.rule import Rule, RuleGrader, grader_digest
from ratchet.components.graders.verdicts import Scorer
from ratchet.components.recipe import (
    Choice,
    Exact,
    GraderSettings,
    Http,
    JsonMatch,
    JsonSchema,
    Label,
    Length,
    Math,
    Multi,
    Numbers,
    OpenAI,
    Pattern,
    Recipe,
    Reward,
    Sql,
    TextSimilarity,
    UserFunction,
)
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.home import project_root


def build_grader(settings: GraderSettings, key: str = "file") -> Grader:
    """The grader of one entry of ``graders``, of ``reward.verifier`` or of a term. Cheap: nothing of the user's runs.

    Args:
        key: the recipe's key of a user's function, for messages.

    Raises:
        RecipeError: if its JSON Schema is not valid, or a file, library or database that it needs is not there.
    """
    match settings:
        case Numbers():
            return _of(settings, number, number.rule(settings.form == "strict", settings.last_number))
        case Exact():
            return _of(settings, exact, exact.rule(settings.ignore_case))
        case Pattern():
            return _of(settings, regex, regex.rule(settings.pattern, settings.whole), libraries=regex.LIBRARIES)
        case Choice():
            return _of(settings, choice, choice.rule(settings.options))
        case JsonSchema():
            return _of(settings, json_schema, json_schema.rule(settings.document), libraries=json_schema.LIBRARIES)
        case Length():
            return _of(settings, length, length.rule(settings.shortest, settings.longest, settings.slope))
        case Label():
            return _of(settings, label, _label(settings))
        case JsonMatch():
            return _of(settings, json_match, _json_match(settings), ("scipy",))
        case TextSimilarity():
            judge = text_similarity.rule(settings.metric, settings.reference, settings.passes_at)
            return _of(settings, text_similarity, judge, text_similarity.LIBRARIES)
        case Sql():
            return _sql(settings)
        case Math():
            require("math", *outside.MATH_LIBRARIES)
            return outside.math_grader(settings)
        case UserFunction():
            return outside.user_grader(settings, key)
        case Http():
            return outside.http_grader(settings)
        case OpenAI():
            return outside.openai_grader(settings, key)
        case Multi():
            return _multi(settings, key)


def _label(settings: Label) -> Rule:
    options = settings.model_dump(include={"labels", "reference", "take", "field", "ignore_case", "weights"})
    return label.rule(**options)


def _json_match(settings: JsonMatch) -> Rule:
    fields = {path: json_match.Comparison(**way.model_dump()) for path, way in settings.fields.items()}
    return json_match.rule(settings.reference, fields, settings.others, settings.score)


def _multi(settings: Multi, key: str) -> Grader:
    graders = {name: build_grader(one, f"{key}.graders.{name}") for name, one in settings.graders.items()}
    decides = [settings.model_dump(mode="json", exclude={"graders"}), {name: one.digest for name, one in graders.items()}]
    combined = multi.Combined(parse_formula(settings.formula), graders)
    span = (settings.range[0], settings.range[1]) if settings.range else None
    return Scorer(combined, grader_digest(multi.__name__, decides), Measure(settings.scores), span, settings.passes_at)


def _sql(settings: Sql) -> Grader:
    root, libraries = project_root(), ("sqlglot",) if settings.dialect else ()
    require("sql", *libraries)
    query = sql.Query(**settings.model_dump(exclude={"type"}))
    decides = {**settings.model_dump(mode="json", exclude={"seconds"}), "files": sql.database_digests(query, root)}
    return outside.sql_grader(settings, grader_digest(sql.__name__, [decides, sqlite_version], libraries))


def require(extra: str, *distributions: str) -> None:
    """Refuse a grader whose libraries are not installed.

    Raises:
        RecipeError: naming the extra.
    """
    for name in distributions:
        try:
            version(name)
        except PackageNotFoundError as error:
            raise RecipeError(f"this grader needs {name}. Install it: pip install 'ratchet-rl[{extra}]'.") from error


def grader_digests(recipe: Recipe) -> dict[str, str]:
    """What a recipe's figures are judged by: the digest of its gold, and of each grader that a rule of the gate names."""
    guarding = recipe.guarding.items()
    others = {f"grader/{name}": build_grader(settings, f"graders.{name}").digest for name, settings in guarding}
    return {"gold": build_grader(recipe.gold_settings, gold_key(recipe)).digest, **others}


def verifier_digests(reward: Reward) -> dict[str, str]:
    """The digests of what a reward runs and the recipe does not spell: its graders, and the schema that functions are told."""
    graders = {f"verifier/{n}": build_grader(one, "reward.verifier").digest for n, one in enumerate(reward.verifiers)}
    schema = schema_text(reward.response) if reward.functions else None
    return graders if schema is None else {**graders, "response": digest_of(schema)}


def gold_key(recipe: Recipe) -> str:
    """The recipe's key of its gold, for messages."""
    return "reward.verifier" if recipe.gold.grader is None else f"graders.{recipe.gold.grader}"


def _of(settings: GraderSettings, module: ModuleType, rule: Rule, libraries: Sequence[str] = ()) -> Grader:
    digest = grader_digest(module.__name__, settings.model_dump(mode="json"), libraries)
    return RuleGrader(rule, digest, Measure(settings.scores))
