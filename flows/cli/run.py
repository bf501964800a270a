"""``ratchet run``: the whole pipeline."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit


def run(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Prepare data, validate the reward, train, evaluate, gate, and promote if the gate says so.

    Finished stages are taken from the store. Exit codes: 0 promoted or unchanged, 3 refused by the gate, 4 the reward was
    refused, 5 the gate could not judge, 6 stopped: by the sentinel, or by `ratchet stop` or the recipe's limits, after which
    the same command resumes it; 2 bad usage or recipe, 1 error.

    Example: ratchet run --set train.algorithm=ppo --json
    """
    run_until(None, recipe, overrides or [], json_output, slot)


def run_until(
    until: str | None,
    recipe: Path,
    overrides: Sequence[str],
    json_output: bool,
    slot: str | None = None,
    ends: bool = True,
) -> dict[str, Any]:
    """Run the flow up to a stage, print its result, and exit with its code.

    Args:
        ends: whether to print and exit here; otherwise the caller calls :func:`finish`.
    """
    continue_in_child()
    from ratchet.components.code.extras import require_train
    from ratchet.components.interruption import postponed
    from ratchet.components.project.preflight import check_before_run
    from ratchet.components.recipe import load_recipe
    from ratchet.components.storage.home import Home
    from ratchet.flows.servers.start import ensure_api
    from ratchet.flows.settings import apply

    require_train()
    home = Home.here()
    # Ratchet reports errors itself; Prefect's tracebacks stay in its UI.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    known = load_recipe(recipe, overrides)
    check_before_run(home, known)
    if known.launch.kind != "process" and trains(until):
        from ratchet.components.stages.launched import check_launch

        check_launch(known)  # here, and not after hours of other stages
    apply(home)
    result = nothing_to_do(recipe, overrides, until)
    if result is None:
        ensure_api()
        from ratchet.flows.finetune import result_of

        with postponed():  # in Prefect's own code; the flow admits them again
            result = result_of(str(recipe), list(overrides), until, slot)
    if ends:
        finish(result, json_output)
    return result


def trains(until: str | None) -> bool:
    """Whether a run up to a stage trains."""
    from ratchet.components.stages.stage import Stage

    return until is None or Stage.TRAIN in Stage(until).up_to()


def nothing_to_do(recipe: Path, overrides: Sequence[str], until: str | None) -> dict[str, Any] | None:
    """The result of a run that would only repeat an earlier one, without starting Prefect; None if anything is left to do."""
    from ratchet.components.project.project import open_project
    from ratchet.components.run.failures import forget_failure
    from ratchet.components.run.record import claimed_run
    from ratchet.components.run.repeats import repeated_run
    from ratchet.components.stages.stage import Stage
    from ratchet.components.upkeep.killed import end_killed_runs
    from ratchet.flows.cli.views.console import Display, print_result, say

    project = open_project(recipe, overrides, say)
    if until != Stage.PLAN:  # a dry run, which writes nothing
        end_killed_runs(project.home, say)
    if project.recipe.seed == "slot":
        return None  # only the flow knows the logical date
    with claimed_run(project, Display()) as run:
        result = repeated_run(run, Stage(until) if until else None)
        if result is None:
            run.hand_over()
            return None
        forget_failure(project.home, project.name)
        print_result(result, run)
        return result.as_json()


def finish(result: Mapping[str, Any], json_output: bool) -> NoReturn:
    """Print JSON if asked, and exit with the status's code."""
    from ratchet.components.run.outcome import Status

    if json_output:
        emit(as_json(result))
    conclude(Status(result["status"]).exit_code)
