"""Serve the champion with MLflow's own server, and restart it after each promotion or rollback.

    MLFLOW_TRACKING_URI=http://mlflow:5000 python follow_champion.py quickstart --port 5002 --every 30

Needs mlflow, torch and transformers on the serving machine, and nothing of Ratchet. The alias is polled; a new version is
loaded once beside the old server, which hashes its files, and only then takes its place. A version that does not load is
tried again after some minutes, and a registry that is down changes nothing.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

LOAD = "import sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1])"
GRACE_SECONDS = 30
AGAIN_SECONDS = 300  # after which a version that did not load is tried again: its store may have been away


class Follower:
    """One server, of the version that the alias names."""

    def __init__(
        self,
        champion: Callable[[], str | None],
        loads: Callable[[str], bool],
        start: Callable[[str], "subprocess.Popen[bytes]"],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            champion: the version that the alias names; None where it cannot be told.
            loads: whether a version's files are as its manifest says, and it loads.
            start: a server of a version.
        """
        self.champion, self.loads, self.start, self.clock = champion, loads, start, clock
        self.version: str | None = None
        self.refused: str | None = None
        self.again = 0.0  # when that version is tried again
        self.server: subprocess.Popen[bytes] | None = None

    def step(self) -> None:
        """Look at the alias once, and at the server."""
        wanted = self.champion()
        waiting = wanted == self.refused and self.clock() < self.again
        if wanted is not None and wanted != self.version and not waiting:
            self._change(wanted)
        elif self.version is not None and self.server is not None and self.server.poll() is not None:
            say(f"the server of version {self.version} ended with code {self.server.returncode}; starting it again")
            self.server = self.start(self.version)

    def _change(self, wanted: str) -> None:
        if not self.loads(wanted):
            say(f"version {wanted} does not load; version {self.version or 'none'} stays. Trying again in {AGAIN_SECONDS} s")
            self.refused, self.again = wanted, self.clock() + AGAIN_SECONDS
            return
        self.stop()
        say(f"serving version {wanted} (before: {self.version or 'none'})")
        self.server, self.version, self.refused = self.start(wanted), wanted, None

    def stop(self) -> None:
        """End the server."""
        if self.server is None:
            return
        end(self.server)
        self.server = None


def end(server: "subprocess.Popen[bytes]") -> None:
    """End a server and the processes that it started: they are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(GRACE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def champion_of(name: str, alias: str) -> Callable[[], str | None]:
    """Look an alias up; None while the registry cannot be reached."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()

    def look_up() -> str | None:
        try:
            return str(client.get_model_version_by_alias(name, alias).version)
        except Exception as error:  # a registry that is down: the version being served stays
            say(f"cannot look up {name}@{alias}: {error}")
            return None

    return look_up


def loads(name: str) -> Callable[[str], bool]:
    """Load a version in a process of its own; loading hashes every file against the manifest."""
    return lambda version: (
        subprocess.run([sys.executable, "-c", LOAD, f"models:/{name}/{version}"], check=False).returncode == 0
    )


def server_of(name: str, host: str, port: int) -> Callable[[str], "subprocess.Popen[bytes]"]:
    """Start MLflow's server of one version."""
    arguments = ["--env-manager", "local", "--host", host, "--port", str(port)]

    def start(version: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{name}/{version}", *arguments]
        return subprocess.Popen(command, start_new_session=True)

    return start


def say(text: str) -> None:
    """One line for the log."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Poll until stopped."""
    parser = argparse.ArgumentParser(description="Serve a model's champion, and follow its alias.")
    parser.add_argument("name", help="registered model")
    parser.add_argument("--alias", default="champion")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5002)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two looks at the alias")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    follower = Follower(champion_of(given.name, given.alias), loads(given.name), server_of(given.name, given.host, given.port))
    try:
        while True:
            follower.step()
            time.sleep(given.every)
    finally:
        follower.stop()


if __name__ == "__main__":
    main()
