"""Prefect events about the champion and about runs: automations may act on them (none may promote). See docs/events.md."""

import os

from prefect.context import FlowRunContext
from prefect.events import emit_event

from ratchet.components.notices.notice import Notice


def emit(notice: Notice) -> None:
    """Emit ``ratchet.<occasion>`` about the resource ``ratchet.model.<name>``; the payload is that of a webhook.

    Outside a flow and without a Prefect server (PREFECT_API_URL) nothing is emitted: a server is not started for it.
    """
    if FlowRunContext.get() is None and "PREFECT_API_URL" not in os.environ:
        return
    resource = {"prefect.resource.id": f"ratchet.model.{notice.model}", "prefect.resource.name": notice.model}
    emit_event(notice.event, resource, payload=notice.as_json())
