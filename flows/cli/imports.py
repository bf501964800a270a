"""``ratchet import``: a project of what another product's job was made of."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ratchet.flows.cli.options import as_given

app = typer.Typer(
    no_args_is_help=True,
    help="A project from another product's job.\n\nExample: ratchet import openai job.json --data rows.jsonl tickets",
)


@app.command("openai")
def openai(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="JSON of a reinforcement job or its grader.", callback=as_given)],
    data: Annotated[Path, typer.Option("--data", help="The job's rows: chat JSONL.", callback=as_given)],
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.", callback=as_given)] = Path(),
    answer: Annotated[str | None, typer.Option("--answer", help="Column with the reference, if there is one.")] = None,
) -> None:
    """Write a project that trains on a job's rows by its grader: as `ratchet init` does, with the JSON unchanged.

    Ratchet makes its own splits, so give training and validation rows together. Exit 2 where the grader cannot run here.

    Example: ratchet import openai job.json --data rows.jsonl tickets && cd tickets && ratchet check
    """
    from ratchet.components.scaffold.guess import guess_columns
    from ratchet.components.scaffold.openai_job import imported, read_job
    from ratchet.components.scaffold.own import Own
    from ratchet.components.scaffold.place import check_folder, check_rows_place, notes_on, project_name, reference_to
    from ratchet.components.scaffold.project import own_project
    from ratchet.components.scaffold.table import read_table
    from ratchet.flows.cli.init import write
    from ratchet.flows.cli.views.init import say, say_project, say_written

    folder = folder.absolute()
    check_folder(folder)
    found, table, path = read_job(job), read_table(data), reference_to(data, folder)
    check_rows_place(path)
    columns = guess_columns(table, None, answer, function=True)
    own = imported(Own(project_name(folder), table, path, columns, "own"), found, named=answer is not None)
    project = own_project(own)
    say_project(own, project)
    written = write(folder, replace(project, files={**project.files, **found.files}))
    for note in (*found.notes, *notes_on(folder)):
        say(f"note: {note}")
    say_written(folder, written, ci=False)
