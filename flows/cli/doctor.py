"""``ratchet doctor``: this machine and its libraries, as a version's lineage records them."""

from ratchet.flows.cli.options import JsonOption
from ratchet.flows.cli.output import as_json


def doctor(json_output: JsonOption = False) -> None:
    """Show what determines the bits of a training: the machine, the libraries, and where they differ from the lock.

    Example: ratchet doctor --json
    """
    from ratchet.components.home import Home
    from ratchet.components.provenance.machine import installed_libraries, lock_digest, machine_class, off_lock
    from ratchet.flows.cli.views.provenance import print_environment

    project, machine = Home.here().project, machine_class(threads=0)
    libraries = installed_libraries()
    lock = {"sha256": lock_digest(project), "off_lock": off_lock(project, libraries)}
    if json_output:
        print(as_json({"machine": machine, "libraries": libraries, "lock": lock}))
    else:
        print_environment(machine, libraries, lock)
