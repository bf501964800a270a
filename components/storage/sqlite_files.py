"""SQLite files as SQLAlchemy's URLs, into which a path is quoted: a ``?`` in it would end the name of the file."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLAIN = re.compile(r"[\w/ .,+=@~-]+")


def sqlite_url(path: Path, driver: str = "pysqlite") -> str:
    """The URL of an absolute path; a name with other than plain characters as SQLite's own URI (https://sqlite.org/uri.html).

    Args:
        driver: SQLAlchemy's name of it; by default Python's own.
    """
    if driver == "pysqlite" and PLAIN.fullmatch(str(path)):
        return f"sqlite:///{path}"
    import sqlalchemy as sa  # takes a while, and most paths are plain

    # With a driver: MLflow reads what follows "sqlite:///" as a path, and creates its folder.
    url = sa.URL.create(f"sqlite+{driver}", database=path.as_uri().replace("file://", "file:", 1), query={"uri": "true"})
    return url.render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The file of a URL; None if it names another database, or one in memory.

    Raises:
        sqlalchemy.exc.ArgumentError: if the URL is malformed.
    """
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    if parsed.query.get("uri") == "true" and parsed.database.startswith("file:"):
        return Path(unquote(urlsplit(parsed.database).path))
    return Path(parsed.database)
