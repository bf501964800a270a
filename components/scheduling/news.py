"""Whether there is anything to train on since a schedule's last run: ``schedule.when``, answered without training.

Files are hashed and counted again only if their size, times or inode changed; the answer is kept in ``.ratchet/looks``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.errors import StoreError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.slots import Look
from ratchet.components.stages.stage import Context
from ratchet.components.storage.digests import digest_of, file_digest
from ratchet.components.storage.files import read_json, write_json

if TYPE_CHECKING:
    from ratchet.components.gate.forecast import Seen


def look_at(context: Context) -> Look:
    """The data of a recipe now.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    from ratchet.components.stages.data import data_configuration, input_files, own_place

    data, place = context.recipe.data, own_place(context.home, context.recipe)
    pointer = place.text() if place.pointer.is_file() else ""
    files = input_files(data)
    stamp = digest_of([data_configuration(data), pointer, [_stamp(file) for file in files]])
    kept = context.home.state / "looks" / f"{context.recipe.name}.json"
    if (known := _known(kept, stamp)) is not None:
        return known
    found = Look(digest_of([data_configuration(data), pointer, [file_digest(file) for file in files]]), _rows(context, pointer))
    if [_stamp(file) for file in files] == [_stamp(file) for file in input_files(data)]:  # nothing changed meanwhile
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(kept, {"stamp": stamp, **found._asdict()})
    return found


def _rows(context: Context, pointer: str) -> int:
    from ratchet.components.data.pointers import read_pointer_text
    from ratchet.components.data.sources import read_rows

    added = (read_pointer_text(pointer).get("meta") or {}).get("added", 0) if pointer else 0
    return sum(1 for _ in read_rows(context.recipe.data)) + int(added)


def _stamp(file: Path) -> Sequence[Any]:
    """What changes with a file's content: its change time cannot be set back."""
    found = file.stat()
    return [str(file), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _known(kept: Path, stamp: str) -> Look | None:
    try:
        values = read_json(kept)
        return Look(str(values["data"]), int(values["rows"])) if values["stamp"] == stamp else None
    except (StoreError, KeyError, TypeError, ValueError):
        return None


def nothing_new(context: Context, ledger: Ledger, before: Look | None, trained_on: "Seen") -> str | None:
    """Why a slot has nothing to do, by ``schedule.when``; None if it has.

    Args:
        before: the data of the schedule's last run; None before there is one.
        trained_on: what training saw of a version's sealed items.
    """
    when = context.recipe.schedule.when
    now = look_at(context)
    if before is not None:
        new = now.rows - before.rows
        if when.new_data and now.data == before.data:
            return "the data are those of the last run; schedule.when.new_data is true"
        if when.min_new_rows is not None and new < when.min_new_rows:
            return f"{max(new, 0)} new rows since the last run; schedule.when.min_new_rows is {when.min_new_rows}"
        if when.enough_rows and new <= 0:
            return "no new rows since the last run; schedule.when.enough_rows is true"
    return too_few(context, ledger, trained_on) if when.enough_rows else None


def too_few(context: Context, ledger: Ledger, trained_on: "Seen") -> str | None:
    """Why the gate could not detect ``gate.rules.target_effect`` on the next sealed fold; None if it could.

    Prepares the dataset version, which the run then takes from the store.
    """
    from ratchet.components.gate.folds import fold_left
    from ratchet.components.gate.forecast import forecast_power
    from ratchet.components.gate.power import shortfall
    from ratchet.components.stages.data import prepare_data

    data = prepare_data(context)
    choice = fold_left(context, ledger, data, trained_on(data))
    if choice.fold is None:
        return f"{choice.reason}; schedule.when.enough_rows is true"
    found = shortfall(forecast_power(context, ledger, None, None, trained_on).asked)
    return found and f"{found} schedule.when.enough_rows is true"
