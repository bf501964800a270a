"""``ratchet backup`` and ``ratchet restore``: a project's state as one file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ratchet.flows.cli.options import JsonOption, as_given
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def backup(
    file: Annotated[Path, typer.Argument(help="The tar file to write, outside of .ratchet/ and mlflow/.", callback=as_given)],
    json_output: JsonOption = False,
) -> None:
    """Write ledger, MLflow, reports, and the stages, checkpoints and datasets in use to one file; runs may continue.

    Data on a server (RATCHET_LEDGER_URL, MLFLOW_TRACKING_URI) are named: back them up with that server's own tools.

    Example: ratchet backup /mnt/backups/2026-11-27.tar
    """
    from ratchet.components.storage.home import Home
    from ratchet.components.upkeep.backup import back_up

    done = back_up(Home.here(), file.absolute(), lambda text: print(text, file=sys.stderr))
    for one in done.elsewhere:
        print(f"not in it: {one}", file=sys.stderr)
    if json_output:
        emit(as_json(done.as_json()))
        return
    print(f"wrote {done.file}: {done.files} files, {done.bytes / 1e6:.1f} MB")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `ratchet backup` wrote.", callback=as_given)],
    json_output: JsonOption = False,
) -> None:
    """Restore a backup into a project without state, at this path or another; every file is compared with its hash first.

    It replaces nothing: in a project with state it names what to move away.

    Example: ratchet restore /mnt/backups/2026-11-27.tar
    """
    from ratchet.components.storage.home import Home
    from ratchet.components.upkeep.restore import restore as restored

    done = restored(Home.here(), file.absolute(), lambda text: print(text, file=sys.stderr))
    for one in done.elsewhere:
        print(f"was not in the backup: {one}", file=sys.stderr)
    for name in done.pointers:
        print(f"{name} is not the backup's, and was left as it is", file=sys.stderr)
    if json_output:
        emit(as_json(done.as_json()))
        return
    print(f"restored {done.files} files of the backup of {done.made}")
