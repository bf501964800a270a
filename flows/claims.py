"""Whether this process may continue its run: Prefect has not ended it, and the claim in the ledger is still held."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from ratchet.components.errors import ClaimLostError
from ratchet.components.ledger.claims import Claim


def confirm(claim: Claim) -> None:
    """Ask Prefect and the ledger; outside a flow run, the ledger alone.

    Raises:
        ClaimLostError: if this process may not continue.
    """
    claim.check()
    if flow_run.id is not None:
        _confirm_running(UUID(flow_run.id))
    claim.confirm()


def _confirm_running(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
    if state is not None and (state.is_final() or state.is_cancelling()):
        raise ClaimLostError(
            f"Prefect has this run as {state.name}, though its process is alive. It stops here and promotes nothing. "
            "Run again; finished stages are kept."
        )
