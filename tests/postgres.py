"""A PostgreSQL server of a test session's own: the installed binaries, a scratch folder, a free port, passwords."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.abc import Query

from tests.commands import free_port

ADMIN, PASSWORD = "postgres", "admin's p@ss/word"  # as generated ones may be: it is to be quoted in a URL
PATIENCE_SECONDS = 60
SETTINGS = {  # nothing here outlives the session
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
}


def binaries() -> Path | None:
    """The folder of ``initdb``, on the path or where Debian keeps it; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


class Postgres:
    """A server that can be stopped and started again; its databases are those that :meth:`database` made."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        """
        Args:
            user: who runs it, if this process is root, as which PostgreSQL does not start.
        """
        self.programs, self.folder, self.user, self.port = programs, folder, user, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Create the server's files."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.user is not None:
            for path in (self.folder, secret):
                shutil.chown(path, self.user)
        command = [
            str(self.programs / "initdb"),
            "--pgdata",
            str(self.folder / "data"),
            "--username",
            ADMIN,
            "--pwfile",
            str(secret),
        ]
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*command, *options], user=self.user, cwd=self.folder, check=True, capture_output=True, timeout=120)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, user=self.user, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from error
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server at once; open connections break."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_SECONDS)
            self.process.kill()
            self.process.wait()
            self.process = None

    def execute(self, statement: Query, database: str = "postgres") -> None:
        """One statement of the administrator's."""
        place = psycopg.conninfo.make_conninfo(host="127.0.0.1", port=self.port, dbname=database, connect_timeout=10)
        with psycopg.connect(place, user=ADMIN, password=PASSWORD, autocommit=True) as connection:
            connection.execute(statement)

    def database(self, name: str, *extensions: str) -> str:
        """Create a database, its owner of the same name and extensions; returns its URL, ``postgresql://`` without a driver."""
        owner = sql.Identifier(name)
        self.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, sql.Literal(f"{name}'s secret")))
        self.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(owner, owner))
        for extension in extensions:
            self.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)), name)
        return f"postgresql://{name}:{name}%27s%20secret@127.0.0.1:{self.port}/{name}"

    def drop(self, name: str) -> None:
        """Drop a database; connections to it end."""
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def postgres_server(programs: Path) -> Iterator[Postgres]:
    """A running server in a folder of its own, both gone after the block."""
    user = _ordinary_user() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:  # that the user may enter
        server = Postgres(programs, Path(folder), user)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _ordinary_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
