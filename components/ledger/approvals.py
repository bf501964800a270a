"""A person's approval of a verdict, bound to its hash: another verdict, or another champion, needs another approval."""

import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import approvals, verdicts
from ratchet.components.records import Outcome, Verdict


def approve(ledger: Ledger, model: str, run_id: str, by: str, rules: str, data: str | None) -> Verdict:
    """Approve the promotion that a run's verdict asks for; idempotent: the first approval stands.

    Args:
        rules: digest of the recipe's current rules.
        data: dataset version that the project pins now, or None if it pins none for the recipe.

    Raises:
        RegistryError: if the run has no such verdict, or the verdict is void.
    """
    verdict = awaiting(ledger, model, run_id)
    if verdict is None:
        raise RegistryError(f"run {run_id} of {model} has no verdict PROMOTE to approve. See `ratchet status`.")
    if reason := void(ledger, model, verdict):
        raise RegistryError(f"the verdict of run {run_id} is void: {reason}. Run again for a new one.")
    if verdict.rules != rules:
        remedy = "Pass the run's own --recipe and --set, or run again for a verdict under the current rules."
        raise RegistryError(
            f"the verdict of run {run_id} is void: it was reached under rules other than the recipe's. {remedy}"
        )
    if data not in (None, verdict.data):
        remedy = "Run again for a verdict on the current data."
        raise RegistryError(
            f"the verdict of run {run_id} is void: it is on data {verdict.data}, and the recipe's pointer says {data}. {remedy}"
        )
    with ledger.transaction() as connection:  # a single one, so that of two approvals at once the second finds the first
        if connection.execute(_approver(model, verdict)).first() is None:
            connection.execute(approvals.insert().values(model=model, verdict=verdict.digest, by=by, at=now()))
    return verdict


def run_judged(ledger: Ledger, model: str, name: str) -> str:
    """The id of the one run with a verdict whose id begins with a name; the name itself if there is none.

    Raises:
        RegistryError: if there are several.
    """
    found = {known["run_id"] for known in ledger.verdicts(model) if name and known["run_id"].startswith(name)}
    if len(found) > 1 and name not in found:
        remedy = "Give more of the id; `ratchet status --json` prints all of it."
        raise RegistryError(f"{len(found)} runs of {model} with a verdict have an id that begins with {name!r}. {remedy}")
    return found.pop() if len(found) == 1 else name


def awaiting(ledger: Ledger, model: str, run_id: str) -> Verdict | None:
    """The newest verdict of a run, if it says PROMOTE."""
    known = ledger.verdict_of_run(model, run_id)
    verdict = None if known is None else Verdict.from_json(known["record"])
    return verdict if verdict is not None and verdict.outcome is Outcome.PROMOTE else None


def run_of(ledger: Ledger, model: str, verdict: Verdict) -> str:
    """The run that recorded a verdict: the first that reached it."""
    query = sa.select(verdicts.c.run_id).where(verdicts.c.model == model, verdicts.c.digest == verdict.digest)
    with ledger.transaction() as connection:
        return str(connection.execute(query).scalar_one())


def approved(ledger: Ledger, model: str, verdict: Verdict) -> str | None:
    """Who approved a verdict."""
    with ledger.transaction() as connection:
        return connection.execute(_approver(model, verdict)).scalar()


def _approver(model: str, verdict: Verdict) -> sa.Select[tuple[str]]:
    return sa.select(approvals.c.by).where(approvals.c.model == model, approvals.c.verdict == verdict.digest)


def void(ledger: Ledger, model: str, verdict: Verdict) -> str | None:
    """Why a verdict can no longer be promoted, or None: it was promoted before, or the champion was replaced."""
    history = ledger.history(model)
    if any(row.verdict == verdict.digest for row in history):
        return "it was already promoted"
    if history and history[-1].weights != verdict.incumbent:
        return f"version {history[-1].version} became champion meanwhile"
    return None
