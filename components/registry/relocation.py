"""A project that was moved or copied: MLflow records absolute places of artifacts, and they must be the project's own.

Before MLflow opens the project's database, one transaction replaces the beginning of every recorded place.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ratchet.components.errors import RegistryError
from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_url
from ratchet.components.text import redacted

PLACES = (  # tables and columns in which MLflow records places
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
OWN = "/mlflow/artifacts"  # how the place of an experiment that a project created ends
BUSY_SECONDS = 20


def settle(home: Home, say: Callable[[str], None]) -> None:
    """Make MLflow's records name the project's own artifacts, if it was moved or copied since they were written.

    Only the project's own database is changed; one that MLFLOW_TRACKING_URI names may belong to several projects.

    Args:
        say: called with what was changed.

    Raises:
        RegistryError: if artifacts at the earlier place were not copied along, or the database cannot be used. Nothing is
            changed then.
    """
    if home.tracking_uri != sqlite_url(home.mlflow_database) or not home.mlflow_database.exists():
        return
    engine = sa.create_engine(home.tracking_uri, connect_args={"timeout": BUSY_SECONDS})
    try:
        with engine.begin() as connection:
            for old in _earlier(connection, home.artifacts):
                count = _replace(connection, old, home)
                say(f"this project was at {_path(old).parent.parent}: {count} places in MLflow's records now name this folder")
    except DBAPIError as error:
        remedy = "Close the program that locks it, or restore a damaged database from a backup."
        raise RegistryError(redacted(f"cannot use MLflow at {home.tracking_uri}: {error.orig}. {remedy}")) from error
    finally:
        engine.dispose()


def _earlier(connection: sa.Connection, artifacts: Path) -> list[str]:
    """URIs of the artifact folders, elsewhere, of experiments that a project created."""
    if not sa.inspect(connection).has_table("experiments"):
        return []
    recorded = connection.execute(sa.text("SELECT DISTINCT artifact_location FROM experiments")).scalars()
    own = [uri for uri in recorded if uri is not None and uri.startswith("file:") and uri.endswith(OWN)]
    return sorted(uri for uri in own if not _same(_path(uri), artifacts))


def _replace(connection: sa.Connection, old: str, home: Home) -> int:
    """Replace ``old`` in every place at or below it; the number of places."""
    count, new = 0, home.artifacts.as_uri()
    for table, place, below in _columns(connection, old):
        recorded = connection.execute(sa.select(place).select_from(table).where(below).distinct()).scalars()
        _require_copied([uri.removeprefix(old) for uri in recorded], old, home)
        fresh = sa.literal(new) + sa.func.substr(place, len(old) + 1)
        count += connection.execute(sa.update(table).where(below).values({place.name: fresh})).rowcount
    return count


def _columns(
    connection: sa.Connection, old: str
) -> Iterator[tuple[sa.TableClause, sa.ColumnClause[str], sa.ColumnElement[bool]]]:
    """Table, column, and the condition that the column names ``old`` or something below it."""
    inspector = sa.inspect(connection)
    for table, name in PLACES:
        if name in {column["name"] for column in inspector.get_columns(table)}:
            place = sa.column(name, sa.String)
            below = sa.or_(place == old, sa.func.substr(place, 1, len(old) + 1) == f"{old}/")
            yield sa.table(table, place), place, below


def _require_copied(names: list[str], old: str, home: Home) -> None:
    """
    Raises:
        RegistryError: if something is still at the earlier place and is not at ours.
    """
    before = _path(old)
    for name in map(unquote, names):
        if Path(f"{before}{name}").exists() and not Path(f"{home.artifacts}{name}").exists():
            raise RegistryError(
                f"this project was copied without its artifacts: MLflow's records name {before}{name}. Copy {before} to "
                f"{home.artifacts}, or delete {home.mlflow_database} and {home.state} to begin without them."
            )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one folder, for example through a mount."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
