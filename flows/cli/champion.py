"""``ratchet rollback``, ``promote`` and ``approve``: decisions of a person about the champion."""

from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, ByOption, JsonOption, RecipeOption, SetOption, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit

if TYPE_CHECKING:
    from ratchet.components.ledger.ledger import Promotion
    from ratchet.components.project.project import Project
    from ratchet.components.recipe.notify import Occasion

CHOOSING = "champion", "another command is choosing a champion; waiting"  # nothing is deleted meanwhile
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Reason, recorded in the history.")]


def rollback(
    to: Annotated[str | None, typer.Option("--to", help="Version; by default the previous champion.")] = None,
    reason: ReasonOption = None,
    by: ByOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make an earlier champion the champion again, without the gate. The version's files are verified first.

    The version that was rolled back is not promoted again on its old verdict.

    Example: ratchet rollback --reason "longer answers than support can read"
    """
    from ratchet.components.ledger.overrides import rollback as roll_back
    from ratchet.components.project.people import decider
    from ratchet.flows.cli.views.console import say

    project = open_named(recipe, overrides, say)
    person = decider(project, "rollback", by)
    with project.locks.working(*CHOOSING):
        promotion = roll_back(project.ledger, project.tracker, project.name, to, reason, person)
    finish("rolled_back", project, promotion, json_output)


def promote(
    version: Annotated[str | None, typer.Argument(help="Version in the MLflow registry.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="DIGEST", help="Instead of a version: a checkpoint that a run kept.")
    ] = None,
    override: Annotated[bool, typer.Option("--override", help="Promote without a verdict from the gate.")] = False,
    reason: ReasonOption = None,
    by: ByOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make a registered version champion without the gate, recorded as an override. `ratchet run` promotes through the gate.

    With --checkpoint, a trained policy that did not reach the gate is registered first: a run that is not promoted names the
    ones that its training kept. The beginning of the digest is enough.

    Example: ratchet promote 2 --override --reason "second champion"
    """
    from ratchet.components.errors import RecipeError
    from ratchet.components.ledger.overrides import override as override_gate
    from ratchet.components.project.people import decider
    from ratchet.components.run.checkpoints import register_checkpoint
    from ratchet.flows.cli.views.console import say

    if not override or not (reason or "").strip():
        raise RecipeError("only `ratchet run` promotes through the gate. To override it, pass --override and --reason TEXT.")
    if (version is None) == (checkpoint is None):
        raise RecipeError("give either the number of a version or --checkpoint DIGEST.")
    project = open_named(recipe, overrides, say)
    person = decider(project, "promote", by)
    with project.locks.working(*CHOOSING):
        if version is None:
            version = register_checkpoint(project, str(checkpoint), str(reason), person)
        promotion = override_gate(project.ledger, project.tracker, project.name, version, str(reason), person)
    finish("overridden", project, promotion, json_output)


def approve(
    run: Annotated[str, typer.Argument(help="Run that waits for approval: its id, or how the id begins.")],
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    by: ByOption = None,
) -> None:
    """Approve the promotion that a run's verdict asks for (`gate.rules.approval: required`).

    It is bound to that verdict, and void once another version is champion, the recipe's rules change, or its
    pointer pins other data.

    Example: ratchet approve 3f2a9c…
    """
    from ratchet.components.gate.plan import rules_digest
    from ratchet.components.ledger.approvals import approve as approve_verdict
    from ratchet.components.ledger.approvals import approved, awaiting, run_judged
    from ratchet.components.notices.notice import approval
    from ratchet.components.project.people import decider
    from ratchet.components.stages.data import own_pin
    from ratchet.flows.notifications import tell_all

    project = open_named(recipe, overrides)
    person, pinned = decider(project, "approve", by), own_pin(project.home, project.recipe)
    run = run_judged(project.ledger, project.name, run)
    waiting = awaiting(project.ledger, project.name, run)
    before = waiting and approved(project.ledger, project.name, waiting)
    verdict = approve_verdict(project.ledger, project.name, run, person, rules_digest(project.recipe), pinned)
    first = approved(project.ledger, project.name, verdict) or person
    if before is None:
        tell_all(approval(project.name, run, verdict, first), project.recipe)
    said = f"({verdict.challenger[:12]}), verdict {verdict.public_digest[:12]}, by {first}"
    how = "approved" if before is None else "already approved, and the first approval stands"
    print(f"{how}: {verdict.outcome.value} of {project.name} {said}")


def finish(occasion: "Occasion", project: "Project", promotion: "Promotion", json_output: bool) -> None:
    """Report what happened to people, scripts and Prefect, and on the page over all runs."""
    from ratchet.components.notices.notice import decision
    from ratchet.components.run.all_runs import show_all_runs
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.cli.views.history import print_champion
    from ratchet.flows.notifications import tell_all

    show_all_runs(project.home, project.ledger, say)
    if promotion.by != "gate":  # else it was the champion already
        tell_all(decision(occasion, project.name, promotion), project.recipe)
    if json_output:
        emit(as_json(promotion.as_json()))
    else:
        print_champion(project.name, promotion)
