"""The steps of a run as Prefect tasks, and the retry policy.

Each task first confirms that this process may continue the run. Prefect's result cache is off, because a hit would
skip the store's check of every file's hash; a stage from the store gives a state named ``Cached``. The operator's
signals interrupt a step alone: in Prefect's own code they would be reported as a crash.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from ratchet.components.code.user_code import check_process
from ratchet.components.errors import ClaimLostError, LedgerUnavailableError, PausedError, RatchetError
from ratchet.components.interruption import Interrupted, admitted, postponed
from ratchet.components.ledger.claims import Claim
from ratchet.components.run import steps
from ratchet.components.run.record import Run, confirm_in_ledger
from ratchet.components.stages.stage import StageResult
from ratchet.flows.reconcile import end_past_flow_runs
from ratchet.flows.redaction import without_secrets

P = ParamSpec("P")
R = TypeVar("R")

# The retry policy of every task: up to two more attempts, if the first row that matches the error says so.
RETRY_DELAYS: list[float] = [2, 15]  # seconds before the second and before the third attempt
RETRIED: tuple[tuple[type[Exception] | str, bool, str], ...] = (
    (LedgerUnavailableError, True, "the ledger's database restarts, or is locked or full"),
    (RatchetError, False, "a person must correct something"),
    (OSError, True, "a busy disk, a server that is down; the errors of requests are of this kind"),
    ("mlflow", True, "the tracking server"),  # by the package that defines the error: importing it takes seconds
    ("sqlalchemy", True, "a race in the ledger that another transaction won"),
    ("urllib3", True, "the network"),
    ("httpx", True, "Prefect's server"),
    (Exception, False, "a bug, which stays one"),
)


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a task's error may be transient."""
    try:
        state.result()
    except Exception as error:
        return next(again for kind, again, _ in RETRIED if _fits(error, kind))
    return False


def _fits(error: Exception, kind: type[Exception] | str) -> bool:
    if not isinstance(kind, str):
        return isinstance(error, kind)
    # Bases too: Prefect's HTTP errors are httpx's, in a module of its own.
    return any(base.__module__.partition(".")[0] == kind for base in type(error).__mro__)


def confirm(claim: Claim) -> None:
    """Ask Prefect and the ledger whether this process may continue its run; outside a flow run, the ledger alone.

    Raises:
        ClaimLostError: if it may not.
    """
    claim.check()
    if flow_run.id is not None:
        _confirm_running(UUID(flow_run.id))
    confirm_in_ledger(claim)


def _confirm_running(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
    if state is not None and (state.is_final() or state.is_cancelling()):
        raise ClaimLostError(
            f"Prefect reports this run as {state.name}, although its process is alive. It stops here and does not promote. "
            "Run again; finished stages are kept."
        )


def note_flow_run(run: Run) -> None:
    """End earlier flow runs whose processes are gone, as far as this server knows them; and record that of this run."""
    ledger = run.ledger
    end_past_flow_runs(ledger)
    if flow_run.id is not None and flow_run.flow_name == "finetune":  # one with legs elsewhere outlives its claims
        ledger.note_flow_run(str(flow_run.id), run.identity, run.claim.token)


def interrupted(end: Interrupted) -> State[Any]:
    """How Prefect shows what the operator ended."""
    return Cancelled(message=f"Ended by {end}. The same run resumes where it stopped.")


def as_task(name: str, step: Callable[Concatenate[Run, P], R]) -> Callable[Concatenate[Run, P], R]:
    """A step as a task of that name."""

    @wraps(step)
    def confirmed(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            with admitted(), without_secrets():
                run.confirm()
                value = step(run, *args, **kwargs)
        except Interrupted as end:
            return interrupted(end)
        except PausedError as end:
            return Completed(name="Stopped", message=str(end), data=end)  # not a failure; raised again by the caller
        return Completed(name="Cached", data=value) if isinstance(value, StageResult) and value.cached else value

    decorate: Any = task(
        name=name,
        task_run_name=name,
        retries=len(RETRY_DELAYS),
        retry_delay_seconds=RETRY_DELAYS,
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    prefect_task = decorate(confirmed)

    @wraps(step)
    def call(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> R:
        check_process()
        with postponed():  # after it, Interrupted is raised again if it ended the step
            value: Any = prefect_task(run, *args, **kwargs)
        found: R | PausedError = value.result() if isinstance(value, State) else value
        if isinstance(found, PausedError):
            raise found
        return found

    return call


prepare_data = as_task("prepare data", steps.prepare_data)
validate_gold = as_task("validate gold", steps.validate_gold)
warm_up = as_task("warm up policy", steps.warm_up)
fetch_champion = as_task("fetch champion", steps.fetch_champion)
validate_reward = as_task("validate reward", steps.validate_reward)
train = as_task("train policy", steps.train)
evaluate = as_task("evaluate", steps.evaluate)
register = as_task("register challenger", steps.register)
gate = as_task("gate", steps.gate)
await_approval = as_task("await approval", steps.await_approval)
move_champion = as_task("promote", steps.move_champion)
publish = as_task("publish", steps.publish)
