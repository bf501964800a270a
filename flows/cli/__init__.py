"""``ratchet``: arguments and output, one small file per noun. Heavy imports happen inside the commands."""

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from ratchet.flows.cli import (
    backup,
    champion,
    check,
    compare,
    data,
    deploy,
    docs,
    doctor,
    engine,
    gate,
    gc,
    grader,
    history,
    imports,
    init,
    lock,
    provenance,
    recipe,
    reconcile,
    report,
    reward,
    run,
    schedule,
    status,
    stop,
    supervision,
    train,
    trial,
    ui,
)

app = typer.Typer(
    name="ratchet",
    help="Recurring PPO and GRPO fine-tuning with promotion gates whose error rate holds over a whole schedule.",
    no_args_is_help=True,
    rich_markup_mode=None,  # to lay out the help, rich takes longer than everything else together
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.add_typer(imports.app, name="import")
app.command("check")(check.check)
app.command("try")(trial.try_)
app.command("run")(run.run)
app.command("train")(train.train)
app.command("evaluate")(train.evaluate)
app.add_typer(gate.app, name="gate")
app.add_typer(data.app, name="data")
app.add_typer(reward.app, name="reward")
app.add_typer(grader.app, name="grader")
app.add_typer(recipe.app, name="recipe")
app.add_typer(engine.app, name="engine")
app.command("schedule")(schedule.schedule)
app.command("serve", help=schedule.ALIAS)(schedule.schedule)
app.command("deploy")(deploy.deploy)
app.command("stop")(stop.stop)
app.command("reconcile")(reconcile.reconcile)
app.command("status")(status.status)
app.command("history")(history.history)
app.command("report")(report.report)
app.command("promote")(champion.promote)
app.command("rollback")(champion.rollback)
app.command("approve")(champion.approve)
app.command("compare")(compare.compare)
app.command("ui")(ui.ui)
app.command("lineage")(provenance.lineage)
app.command("verify")(provenance.verify)
app.command("reproduce")(provenance.reproduce)
app.command("lock")(lock.lock)
app.command("doctor")(doctor.doctor)
app.command("docs")(docs.docs)
app.command("gc")(gc.gc)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


VersionOption = Annotated[bool, typer.Option("--version", help="Print the version and exit.")]


@app.callback(invoke_without_command=True)
def ratchet(version: VersionOption = False) -> None:
    """Recurring PPO and GRPO fine-tuning with promotion gates whose error rate holds over a whole schedule."""
    if version:
        from importlib.metadata import version as installed

        print(f"ratchet-rl {installed('ratchet-rl')}")
        raise typer.Exit


def main() -> None:
    """Entry point: errors that a user can act on are one message and an exit code, not a traceback."""
    supervision.begin()
    try:
        command()
    except SystemExit as end:
        supervision.end(end)
        raise


def command() -> None:
    """Run the command of the arguments; always raises SystemExit."""
    from ratchet.components.code.extras import TRAIN, missing_train
    from ratchet.components.errors import RatchetError, StoreError
    from ratchet.components.registry.outage import refusal
    from ratchet.components.storage.disk import shortage
    from ratchet.components.storage.home import Home
    from ratchet.components.text import redacted
    from ratchet.flows.cli.options import enter_project
    from ratchet.flows.settings import apply

    signal.signal(signal.SIGTERM, terminated)
    try:
        enter_project()
        apply(Home.here())
        app()
    except RatchetError as error:
        # The store names a full disk itself.
        supervision.fail(
            str(error) if isinstance(error, StoreError) else f"{error}{shortage(error, places())}", error.exit_code
        )
    except SystemExit as end:
        if end.code != supervision.INTERRUPTED:  # which is what typer makes of KeyboardInterrupt
            raise
        supervision.fail(supervision.signalled("interrupted"), supervision.INTERRUPTED)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in TRAIN:
            missing = missing_train(error.name)
            supervision.fail(str(missing), missing.exit_code)
        if (said := refusal(error, Home.here().tracking_uri)) is not None:
            supervision.fail(said, 1)
        print(redacted(traceback.format_exc()), file=sys.stderr)
        supervision.fail(f"{type(error).__name__}: {error}{shortage(error, places())}", 1)


def places() -> list[Path]:
    """The disks that a command writes to."""
    state = os.environ.get("RATCHET_HOME")  # not Home.here(), which may be what failed
    return [Path.cwd(), *([Path(state).absolute()] if state else []), Path(tempfile.gettempdir())]


def terminated(number: int, frame: FrameType | None) -> None:
    """Exit as on an error: dying by the signal itself would leave Prefect's temporary server running."""
    if supervision.is_failing():
        return  # the second signal: the whole process group was signalled, and the parent forwarded its own
    supervision.fail(supervision.signalled("terminated"), 128 + number)
