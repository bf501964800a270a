"""What can be known of a project before a run and without a model: recipe, rows, prompts, gold, and what the gate could detect.

Nothing here imports torch or transformers. The rows and the gold are the stages of a run, which then finds them finished.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError, RatchetError, RecipeError, RegistryError, RewardError, StoreError
from ratchet.components.evaluation.benchmarks.tasks import require_libraries
from ratchet.components.gate.forecast import Forecast, below_floor, forecast_power
from ratchet.components.gate.power import shortfall
from ratchet.components.graders.counted import build_gold
from ratchet.components.graders.protocol import score_rows
from ratchet.components.inspection.places import places_of, with_places
from ratchet.components.project.locks import silent
from ratchet.components.project.preflight import check_before_run
from ratchet.components.project.project import Project
from ratchet.components.project.prompts import Prompt, rendered, require_room
from ratchet.components.project.references import require_references
from ratchet.components.project.trained import TrainedOn
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.rewards.checks.on_gold import spread
from ratchet.components.rewards.checks.planted.kinds import kind_of
from ratchet.components.run.outcome import Status
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import TABLES, gold_report, validated_gold
from ratchet.components.stages.results import DataStage, GoldStage
from ratchet.components.stages.stage import SILENT, Context, NotFinished, Observer
from ratchet.components.storage.home import Home

LOCK, WAITING = "check", "another check of this project is in progress; waiting"
PROMPTS = 3
ASKED = 3  # references that a gold must all fail on to be refused before its validation: single faults are allowed
KEPT = "data.checks.odd_text: drop or refuse"
EXAMPLES = {"bad_rows": 3, "odd_text": 3}  # rows named of a step that dropped some; of the others one
NOTHING_MEASURED = "no check of the gold could be made: no row of train or dev has a reference that it reads"


class Part(StrEnum):
    """What is looked at, in order."""

    RECIPE = "recipe"
    ROWS = "rows"
    PROMPTS = "prompts"
    GOLD = "gold"
    POWER = "power"


REFUSED = Status.REWARD_REFUSED.exit_code
EXIT_CODES = {Part.RECIPE: RecipeError.exit_code, Part.ROWS: RecipeError.exit_code, Part.PROMPTS: RecipeError.exit_code}
EXIT_CODES |= {Part.GOLD: REFUSED, Part.POWER: RatchetError.exit_code}


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Line:
    """One finding; the text of a warning or a failure ends with its remedy."""

    part: Part
    state: State
    text: str
    exit_code: int = 0  # of a failure


@dataclass
class Checked:
    """What was found; a part after one that cannot be used has no line."""

    recipe: str
    digest: str | None = None  # of the recipe
    lines: list[Line] = field(default_factory=list)
    rows: Mapping[str, Any] | None = None  # counts by step and table
    prompts: list[Prompt] = field(default_factory=list)
    gold: Mapping[str, Any] | None = None  # the report of its validation
    power: Mapping[str, Any] | None = None

    def add(self, part: Part, state: State, text: str) -> None:
        self.lines.append(Line(part, state, text, EXIT_CODES[part] if state is State.FAILURE else 0))

    @contextmanager
    def looking(self, part: Part) -> Iterator[None]:
        """Within the block an error is the failure of a part; where it is the state's, not the part's, the exit code is 1."""
        try:
            yield
        except RatchetError as error:
            code = error.exit_code if isinstance(error, StoreError | RegistryError) else EXIT_CODES[part]
            self.lines.append(Line(part, State.FAILURE, str(error), code))

    @property
    def exit_code(self) -> int:
        """Of the first failure: 2 recipe, rows or prompts, 4 the gold, 1 the project's ledger or store; 0 if there is none."""
        return next((line.exit_code for line in self.lines if line.state is State.FAILURE), 0)

    def as_json(self) -> dict[str, Any]:
        """The shape of ``check --json``."""
        return {"exit_code": self.exit_code, **asdict(self)}


def check_project(
    file: Path, overrides: Sequence[str], home: Home, observer: Observer = SILENT, say: Callable[[str], None] = silent
) -> Checked:
    """Look at each part in turn, until recipe or rows cannot be used."""
    found = Checked(str(file))
    recipe = _recipe(found, file, overrides, home)
    if recipe is None:
        return found
    project, context = Project(home, recipe, say), Context(recipe, home, observer)
    with project.locks.working(LOCK, WAITING):
        data = _rows(found, context)
        if data is not None:
            _prompts(found, recipe, data)
            _gold(found, context, data)
            _power(found, context, project)
    return found


def _recipe(found: Checked, file: Path, overrides: Sequence[str], home: Home) -> Recipe | None:
    usable = None
    with found.looking(Part.RECIPE):
        recipe = load_recipe(file, overrides)
        require_libraries(recipe.evaluation)
        notes = require_references(recipe)
        check_before_run(home, recipe)
        usable, found.digest = recipe, recipe.digest
        found.add(Part.RECIPE, State.OK, f"{file}, digest {recipe.digest[:12]}")
        for note in notes:
            found.add(Part.RECIPE, State.WARNING, f"not checked: {note}. A run downloads it, or ends there.")
    return usable


def _rows(found: Checked, context: Context) -> DataStage | None:
    usable = None
    with found.looking(Part.ROWS):
        usable = data = prepare_data(context)
        found.rows = data.summary
        tables = ", ".join(f"{name} {count:,}" for name, count in data.summary["rows"].items())
        found.add(Part.ROWS, State.OK, f"{data.summary['raw_rows']:,} rows read; {tables}")
        for step in data.steps:
            if step["dropped"]:
                found.add(Part.ROWS, State.OK, f"{step['title']}: {step['dropped']:,} dropped{_examples(step)}")
            if step.get("kept"):
                rows = f"{step['kept']:,} row{'s' * (step['kept'] > 1)}"
                found.add(Part.ROWS, State.OK, f"{step['title']}: kept in {rows} ({KEPT}){_examples(step)}")
        for warning in data.summary.get("warnings", []):
            found.add(Part.ROWS, State.WARNING, warning)
    return usable


def _examples(step: Mapping[str, Any]) -> str:
    named = step["examples"][: EXAMPLES.get(step["name"], 1)]
    return "".join(f"\n{one['file']}, row {one['row']}: {one['why']}" for one in named)


def _prompts(found: Checked, recipe: Recipe, data: DataStage) -> None:
    with found.looking(Part.PROMPTS):
        shown = rendered(recipe, spread(data.table("train"), PROMPTS))
        found.prompts = shown.prompts
        found.add(Part.PROMPTS, State.OK, f"{len(shown.prompts)} of train, {shown.form}")
        if shown.lacks:
            found.add(Part.PROMPTS, State.WARNING, shown.lacks)
        elif recipe.policy.model is not None:
            require_room(recipe, data.table("train"))


def _gold(found: Checked, context: Context, data: DataStage) -> None:
    with found.looking(Part.GOLD):
        report = gold_report(_validated(context, data), context.recipe)
        found.gold = asdict(report)
        measured = [check for check in report.checks if check["passed"] is not None]
        if not measured:
            found.add(Part.GOLD, State.WARNING, f"{NOTHING_MEASURED}. Give rows an answer, or the grader a reference.")
        elif report.passed:
            score = "" if report.mutation_score is None else f"; mutation score {report.mutation_score:.3f}"
            found.add(Part.GOLD, State.OK, f"{report.counts}{score}")
        failed = [check for check in measured if not check["passed"]]
        places = places_of(context.recipe.data, (check["detail"] for check in failed))
        for check in failed:
            text = with_places(_said(check), places)
            found.add(Part.GOLD, State.FAILURE if check["waived"] is None else State.WARNING, text)


def _validated(context: Context, data: DataStage) -> GoldStage:
    """The finished stage, else one that is made once the gold has answered at all."""
    try:
        return validated_gold(replace(context, compute=False), data)
    except NotFinished:
        require_an_answer(context.recipe, [row for table in TABLES for row in data.table(table)])
        return validated_gold(context, data)


def require_an_answer(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have the gold grade a few references, one by one, until it grades one.

    One that hangs or fails on everything is so known after a few calls, not after hundreds.

    Raises:
        RewardError: if it graded none.
    """
    kind, gold, failure = kind_of(recipe.gold_settings), build_gold(recipe), None
    cases = [case for row in rows if (case := kind.case(row)) is not None]
    for case in spread(cases, ASKED):
        try:
            score_rows(gold, [case.row], [case.reference])
            return
        except RewardError as error:
            failure = error
    if failure is not None:
        raise failure


def _said(check: Mapping[str, Any]) -> str:
    value = "" if check["value"] is None else f" {check['value']:.3g} against {check['threshold']:g}"
    detail = f" ({check['detail']})" if check["detail"] else ""
    remedy = check["advice"] if check["waived"] is None else f"Waived: {check['waived']}"
    return f"{check['name']}{value}{detail}. {remedy}"


def _power(found: Checked, context: Context, project: Project) -> None:
    """Underpowered is a warning: how far a challenger will be from the incumbent is known only when both have answered."""
    with found.looking(Part.POWER):
        try:
            trained_on = TrainedOn(project, context)
            forecast = forecast_power(context, project.ledger, None, None, trained_on.at_once)
        except DataError as error:
            found.add(Part.POWER, State.WARNING, f"a run would end INVALID (exit 5): {error}")
        else:
            found.power = forecast.as_json()
            found.add(Part.POWER, *_detected(forecast))
            for said in (below_floor(context, project.ledger), trained_on.said):
                if said:
                    found.add(Part.POWER, State.WARNING, said)


def _detected(forecast: Forecast) -> tuple[State, str]:
    asked = forecast.asked
    short = shortfall(asked)
    if short is not None:
        return State.WARNING, f"UNDERPOWERED is to be expected (exit 3; {asked.source}): {short}"
    groups = "" if asked.groups is None else f" in {asked.groups:,} groups"
    return State.OK, (
        f"{asked.items:,} sealed items{groups} detect a gain of {asked.effect:g} with probability {asked.power:.2f}, and one "
        f"of {asked.detectable:.3f} with 0.80 ({forecast.method}, level {asked.alpha:.4g}; {asked.source})"
    )
