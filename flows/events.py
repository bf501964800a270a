"""Prefect events about the champion: automations may send notifications on them (none may promote)."""

import os
from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event


def emit(action: str, model: str, run_id: str, **payload: Any) -> None:
    """``ratchet.promote``, ``ratchet.refuse``, ``ratchet.rollback`` or ``ratchet.override`` of a model.

    Outside a flow and without a Prefect server (PREFECT_API_URL) nothing is emitted: a server is not started for it.
    """
    if FlowRunContext.get() is None and "PREFECT_API_URL" not in os.environ:
        return
    resource = {"prefect.resource.id": f"ratchet.model.{model}", "prefect.resource.name": model}
    emit_event(f"ratchet.{action}", resource, payload={"run_id": run_id, **payload})
