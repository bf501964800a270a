"""What differs between a run and the one that made the champion before it: recipe, data, code, libraries, machine."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet.components.errors import RatchetError
from ratchet.components.provenance.lineage import FILE, TAG, Lineage, read_lineage
from ratchet.components.provenance.record import trained_in
from ratchet.components.run.columns import flatten
from ratchet.components.run.outcome import Status
from ratchet.components.stages.environment import Code, Environment, Machine, environment_here
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context, Stage

if TYPE_CHECKING:
    from ratchet.components.run.record import Run

SHORT = 12  # characters of a digest
MOST = 20  # differing keys of a recipe that are listed
ABSENT = "absent"
FIRST = "There was no champion before this run, so there is nothing to compare it with."


@dataclass(frozen=True)
class Row:
    """One thing before and now; nothing changed if they are equal."""

    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Changes:
    """Since a version; ``note`` says why there are no rows, or what they leave out."""

    version: str | None
    rows: list[Row]
    note: str = ""

    @property
    def differing(self) -> list[Row]:
        return [row for row in self.rows if row.before != row.now]

    @property
    def unchanged(self) -> list[str]:
        """What is as it was."""
        return [row.what for row in self.rows if row.before == row.now]


def changes_of(run: "Run", data: DataStage) -> Changes:
    """What a run with an ending did otherwise than the run of the champion that it was judged against.

    A record that is gone is said, and ends nothing.
    """
    version = champion_before(run)
    if version is None:
        return Changes(None, [], FIRST)
    try:
        lineage = _lineage(run, version)
    except RatchetError as error:
        return Changes(version, [], f"Not known: {error}")
    if lineage is None:
        return Changes(version, [], f"Not known: the record of version {version} could not be read from MLflow.")
    return Changes(version, list(_rows(run, lineage, data)))


def champion_before(run: "Run") -> str | None:
    """The version that was champion when the run was judged, or, of a run that ended earlier, that is."""
    assert run.ending is not None
    champion = run.ledger.champion(run.recipe.name)
    if run.ending.previous is not None or run.ending.status is Status.PROMOTED:
        return run.ending.previous
    return champion.version if champion else None


def _lineage(run: "Run", version: str) -> Lineage | None:
    found = run.tracker.version(run.recipe.name, version)
    digest = found.tags.get(TAG)
    if digest is None:
        return None
    with run.project.home.workspace("changes") as folder:
        path = run.tracker.fetch(found.run_id, FILE, folder)
        return None if path is None else read_lineage(path, digest)


def _rows(run: "Run", lineage: Lineage, data: DataStage) -> Iterator[Row]:
    then, now = (flatten({**recipe, "seed": None}) for recipe in (lineage.recipe, run.recipe.model_dump(mode="json")))
    yield from differences("Recipe", then, now)
    yield Row("Seed", str(lineage.seed), str(run.recipe.run_seed))
    yield _data_row(run.context, lineage, data)
    here = environment_of(run)
    yield Row("Code of the project", code_text(lineage.code), code_text(here.code))
    yield Row("Ratchet's own code", lineage.code.sources_sha256[:SHORT], here.code.sources_sha256[:SHORT])
    yield from differences("Libraries", lineage.libraries, here.libraries)
    yield Row("Machine", machine_text(lineage.machine), machine_text(here.machine))


def environment_of(run: "Run") -> Environment:
    """Where its candidate was trained; of a run that has none, what it runs in."""
    project, trained = run.project.home.project, run.made.candidate
    return environment_here(project, run.recipe.threads) if trained is None else trained_in(trained, project)


def differences(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """A row for each key whose values differ, and one for all if none does."""
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key, ABSENT) != now.get(key, ABSENT)]
    rows = [Row(f"{what}: {key}", _value(before, key), _value(now, key)) for key in keys[:MOST]]
    if len(keys) > MOST:
        rows.append(Row(f"{what}: and {len(keys) - MOST} more", "", "see the recipe at the end of this page"))
    return rows or [Row(what, "", "")]


def _value(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, ABSENT)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data_row(context: Context, lineage: Lineage, data: DataStage) -> Row:
    """The dataset versions, with the rows that were added and removed where the store still has both."""
    before, now = (md5.removesuffix(".dir")[:SHORT] for md5 in (lineage.dataset.md5, data.version))
    if lineage.dataset.md5 == data.version:
        return Row("Dataset version", before, now)
    manifest = lineage.stage(Stage.DATA)
    finished = context.store.find(Stage.DATA, manifest.key) if manifest else None
    if finished is None:
        return Row("Dataset version", before, f"{now} (the rows of the earlier version are no longer in the store)")
    came, went = rows_changed(DataStage(finished, True, 0.0), data)
    return Row(
        "Dataset version", before, f"{now}: {_rows_text(came)} added, {_rows_text(went)} removed (sealed rows not counted)"
    )


def _rows_text(rows: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def rows_changed(before: DataStage, now: DataStage) -> tuple[int, int]:
    """How many rows that are not sealed came, and how many went; one that changed did both."""
    old, new = (Counter(_rows_of(stage)) for stage in (before, now))
    return (new - old).total(), (old - new).total()


def _rows_of(stage: DataStage) -> Iterator[int]:
    """A hash per row, because large datasets would not fit into memory twice. Sealed rows are the gate's to read."""
    for table in (name for name in stage.summary["rows"] if not name.startswith("sealed")):
        with (stage.path / "data" / f"{table}.jsonl").open("rb") as lines:
            yield from map(hash, lines)


def code_text(code: Code) -> str:
    """A commit, and whether the code differed from it."""
    if not code.changed:
        return code.commit[:SHORT]
    return f"{code.commit[:SHORT]} with uncommitted changes ({(code.diff_sha256 or '')[:SHORT]})"


def machine_text(machine: Machine) -> str:
    """Processor or GPU, and threads."""
    return f"{machine.gpu or machine.processor}, {machine.threads} thread{'' if machine.threads == 1 else 's'}"
