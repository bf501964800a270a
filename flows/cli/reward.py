"""``ratchet reward``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ratchet.components.storage.json_text import json_text
from ratchet.components.text import redacted_values
from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption, as_given
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit

app = typer.Typer(help="Rewards and their validation.\n\nExample: ratchet reward validate", no_args_is_help=True)


@app.command()
def validate(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Train the reward model, if there is one, and validate the reward. Exit 4 if it is refused.

    Example: ratchet reward validate --set reward.model.label_noise=0.5
    """
    from ratchet.flows.cli.run import finish, run_until

    result, report = _validated(recipe, overrides or [], json_output, slot, run_until)
    from ratchet.flows.cli.views.reward import check_rows, show

    show(*check_rows(report))
    finish({**result, "reward": report}, json_output)


@app.command()
def advise(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Advise a group size, algorithm and KL budget from the reward's pilot, with reasons. Exit 4 if the reward is refused.

    Example: ratchet reward advise --set reward.kind=verifier
    """
    from ratchet.flows.cli.run import finish, run_until

    result, report = _validated(recipe, overrides or [], json_output, slot, run_until)
    from ratchet.flows.cli.views.reward import advice_table, check_rows, show

    show(*(advice_table(report["advice"]) if report["advice"] else check_rows(report)))
    finish({**result, "advice": report["advice"]}, json_output)


def _validated(
    recipe: Path, overrides: list[str], json_output: bool, slot: str | None, run_until: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of the run up to the reward, and the reward's report from the store; that of the gold if it was refused."""
    from ratchet.components.recipe import load_recipe
    from ratchet.components.stages.gold import gold_report
    from ratchet.components.stages.results import GoldStage
    from ratchet.components.storage.files import read_json
    from ratchet.components.storage.home import Home
    from ratchet.components.storage.store import Store

    result = run_until("reward", recipe, overrides, json_output, slot, ends=False)
    keys, store = {stage["name"]: stage["key"] for stage in result["stages"]}, Store(Home.here().store)
    if "reward" in keys:
        return result, dict(read_json(store.path("reward", keys["reward"]) / "report.json"))
    gold = GoldStage.find(store, keys["gold"])
    assert gold is not None
    return result, asdict(gold_report(gold, load_recipe(recipe, overrides)))


@app.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSONL with prompt, completion, and the fields that the reward reads, such as answer.", callback=as_given
        ),
    ],
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Directory of a trained reward model, for learned rewards.", callback=as_given),
    ] = None,
) -> None:
    """Score completions with the recipe's reward: one line per row, in order; null if a row cannot be judged.

    A fault is null with its kind and reason. Exit 1 if all are faults.

    Example: ratchet reward score completions.jsonl --set reward.kind=verifier --json
    """
    continue_in_child()
    from ratchet.components.errors import RecipeError
    from ratchet.components.graders.protocol import score_rows
    from ratchet.components.recipe import load_recipe
    from ratchet.components.rewards.build import build_reward
    from ratchet.flows.cli.views.reward import score_table, show

    settings = load_recipe(recipe, overrides or []).reward
    path = model or (Path(settings.model.pretrained) if settings.model.pretrained else None)
    if settings.needs_model and path is None:
        raise RecipeError(
            f"reward.kind={settings.kind} has a learned part. Pass its directory as --model, or --set reward.kind=verifier."
        )
    rows = read_completions(file)
    scores = score_rows(build_reward(settings, path, "cpu"), rows, [row["completion"] for row in rows])
    if not json_output:
        show(score_table(rows, scores))
        conclude()
    emit("\n".join(json_text(redacted_values(_line(one))) for one in scores))
    conclude()


def _line(grade: Any) -> dict[str, Any]:
    why = {"fault": grade.fault, "reason": grade.reason} if grade.score is None else {}
    return {"total": grade.score, "parts": dict(grade.parts)} | {name: value for name, value in why.items() if value}


def read_completions(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; each must have a prompt and a completion.

    Raises:
        DataError: naming the line.
    """
    from ratchet.components.errors import DataError

    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON strings may hold U+2028
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}. Give a JSONL file of prompt, completion and answer.") from error
    return [_completion(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _completion(path: Path, number: int, line: str) -> dict[str, Any]:
    from ratchet.components.errors import DataError

    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"line {number} of {path} is not JSON: {error}. Write one object per line.") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("prompt", "completion")):
        raise DataError(f"line {number} of {path} has no text in prompt or completion. Write both on every line.")
    columns = {name: value for name, value in row.items() if name not in ("prompt", "completion", "id", "answer", "item")}
    return {**row, "item": columns} if columns and "item" not in row else row
