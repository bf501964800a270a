"""Stage *gold*: judge the grader that is gold by references and planted wrong answers, before anything is trained."""

from dataclasses import asdict
from pathlib import Path

from ratchet.components.graders.build import grader_digests
from ratchet.components.recipe import Recipe
from ratchet.components.stages.results import DataStage, GoldStage, ValidationReport
from ratchet.components.stages.stage import Context, finish, key_of
from ratchet.components.storage.files import write_json, write_json_lines
from ratchet.components.storage.json_text import without_nan

TABLES = ("train", "dev")
FOR_SAMPLES = {"min_pass_rate", "min_parse_rate", "max_pass_rate"}  # thresholds of the stage *reward*


def validated_gold(context: Context, data: DataStage) -> GoldStage:
    """``report.json``, ``broken.jsonl`` and ``missed.jsonl``. A gold that fails is also a finished stage."""
    recipe = context.recipe
    configuration = recipe.gold.validation.model_dump(mode="json", exclude=FOR_SAMPLES)
    inputs = {"data": data.version, "gold": grader_digests(recipe)["gold"]}
    key = key_of(GoldStage, __name__, configuration, inputs)
    return finish(context, GoldStage, key, lambda path: _build(context, data, path))


def gold_report(gold: GoldStage, recipe: Recipe) -> ValidationReport:
    """What was found, with the recipe's waivers: the shape of a reward's report, of kind ``gold``."""
    from ratchet.components.rewards.checks.check import Check, RewardReport, with_waivers

    checks = with_waivers([Check(**check) for check in gold.checks], recipe.reward.validation.waive)
    report = RewardReport("gold", checks, mutation_score=gold.mutation_score)
    return ValidationReport(**report.as_json(), advice={})


def _build(context: Context, data: DataStage, path: Path) -> None:
    from ratchet.components.graders.build import build_grader
    from ratchet.components.graders.counted import build_gold
    from ratchet.components.graders.rule import RuleGrader
    from ratchet.components.recipe import Label, Sql
    from ratchet.components.rewards.checks.check import finite
    from ratchet.components.rewards.checks.on_gold import Asking, gold_checks
    from ratchet.components.rewards.checks.planted.kinds import kind_of

    recipe, settings = context.recipe, context.recipe.gold_settings
    tables = {name: data.table(name) for name in TABLES}
    table_of = {row["id"]: name for name, rows in tables.items() for row in rows}
    context.observer.progress("gold", 0, 1, "references and planted wrong answers")
    asking = Asking(
        build_gold(recipe),
        build_gold(recipe),
        kind_of(settings),
        recipe.gold.validation,
        by_rule=isinstance(settings, Sql) or isinstance(build_grader(settings), RuleGrader),
        needs_all=isinstance(settings, Label),
    )
    found = gold_checks(asking, [row for rows in tables.values() for row in rows])
    checks = [asdict(finite(check)) for check in found.checks]
    report = {"checks": checks, "mutation_score": found.mutation_score, "reads_answers": found.reads_answers}
    write_json(path / "report.json", without_nan(report))
    for name, rows in (("broken.jsonl", found.broken), ("missed.jsonl", found.missed)):
        write_json_lines(path / name, [{"table": table_of[one.row], **one._asdict()} for one in rows])
    failed = [check.name for check in found.checks if check.passed is False]
    context.observer.progress("gold", 1, 1, f"failed: {', '.join(failed)}" if failed else "passed")
