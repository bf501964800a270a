"""``ratchet doctor``: whether what a run stands on is in order, and what determines the bits of a training."""

from typing import Any

from ratchet.flows.cli.options import JsonOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def doctor(json_output: JsonOption = False) -> None:
    """Check this machine, its disks, the servers and their logins, versions and clock: each line is ok or has a remedy.

    Exits with 1 if something has to be done, and with 0 for warnings; with --json, `state` of each finding says it. The second
    part is what a version's lineage records of the machine.

    Example: ratchet doctor --json
    """
    from ratchet.components.code.constraints import lock_digest, off_lock
    from ratchet.components.code.machine import installed_libraries
    from ratchet.components.inspection.doctor import examined
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.views.provenance import print_environment, print_findings

    home = Home.here()
    findings = examined(home)
    machine, libraries = recorded_machine(), installed_libraries()
    lock = {"sha256": lock_digest(home.project), "off_lock": off_lock(home.project, libraries)}
    if json_output:
        said = [
            {"name": one.name, "said": one.said, "remedy": one.remedy, "state": one.state, "ok": one.ok} for one in findings
        ]
        emit(as_json({"findings": said, "machine": machine, "libraries": libraries, "lock": lock}))
        return
    print_findings(findings)
    print_environment(machine or {}, libraries, lock)
    raise SystemExit(0 if all(one.ok for one in findings) else 1)


def recorded_machine() -> dict[str, Any] | None:
    """What a lineage records of this machine; None where torch, which knows it, is not installed."""
    from ratchet.components.code.machine import machine_class

    try:
        return machine_class(threads=0)
    except ModuleNotFoundError:
        return None
