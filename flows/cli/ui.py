"""``ratchet ui``: MLflow and Prefect in the browser, on the loopback address."""

import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.components.text import redacted

if TYPE_CHECKING:
    from ratchet.components.storage.home import Home
    from ratchet.flows.servers.start import Process

LIGHT = {"MLFLOW_WORKERS": "1", "MLFLOW_UVICORN_OPTS": "--log-level warning"}  # for one person; MLflow's four take 1.4 GB


def ui(
    port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
    env: Annotated[
        bool, typer.Option("--env", help="Start nothing; print the environment that prefect commands need.")
    ] = False,
    browser: Annotated[bool, typer.Option("--browser", help="Open Prefect in the browser, signed in.")] = False,
) -> None:
    """Serve the MLflow and Prefect pages until stopped. The Prefect server that ratchet schedule runs there is used.

    If MLFLOW_TRACKING_URI or PREFECT_API_URL names a server, its address is printed instead.

    Example: ratchet ui --port 5001; in another shell, eval "$(ratchet ui --env)" and then prefect deployment ls
    """
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.supervision import after_signal
    from ratchet.flows.settings import apply

    if env:
        print_environment(prefect_port)
        return
    home = Home.here()
    apply(home)
    after_signal("the servers that it had started have ended, and `ratchet ui` starts them again")
    serve_pages(home, port, prefect_port, browser)


def print_environment(prefect_port: int) -> None:
    """A line for ``eval "$(...)"``, which does not see our exit code: after a failure, a line that fails in that shell.

    Raises:
        RatchetError: if no server of this project has the port.
    """
    from ratchet.components.storage.home import Home
    from ratchet.flows.servers import api_token
    from ratchet.flows.servers import start as servers
    from ratchet.flows.settings import apply

    try:
        home = Home.here()
        apply(home)
        named = servers.named_api(home, prefect_port)
        needed = {"PREFECT_API_URL": named} if named else servers.shell_environment(home, prefect_port)
        line = api_token.shell_line(needed)
    except Exception:
        typer.echo("false")  # nothing would succeed, and the next command talk to whatever server the shell knew before
        raise
    typer.echo(line)


def serve_pages(home: "Home", port: int, prefect_port: int, browser: bool) -> None:
    """Start what is not running yet, print the addresses, and wait until stopped.

    Raises:
        RatchetError: if a server does not start, or ends.
    """
    from ratchet.components.errors import RatchetError
    from ratchet.flows.servers import start as servers
    from ratchet.flows.servers.api_token import folder

    named = servers.named_api(home, prefect_port)
    remote = home.tracking_uri.startswith(("http:", "https:"))
    if not remote:
        servers.require_free(port, "--port")
    mlflow = home.tracking_uri if remote else f"http://{servers.HOST}:{port}"
    if remote and named:  # there is nothing to serve
        typer.echo(f"MLflow:  {redacted(mlflow)}\nPrefect: {page_of(named)}", err=True)
        return
    shared: AbstractContextManager[list[Process]] = nullcontext([]) if named else servers.shared_server(home, prefect_port)
    with shared as prefect:
        log = folder(home) / "mlflow.log"
        ours = [] if remote else [start_mlflow(home, port, log)]
        try:
            for server in ours:
                servers.wait_until_healthy(f"{mlflow}/health", server, f"in {log}")
            typer.echo(f"MLflow:  {mlflow}", err=True)
            if named:
                typer.echo(f"Prefect: {page_of(named)}", err=True)
            else:
                show_prefect(home, prefect_port, browser)
            while all(child.poll() is None for child in [*prefect, *ours]):
                time.sleep(1)
            raise RatchetError(
                f"a server ended. What MLflow said is in {log}, what Prefect said is above. Start ratchet ui again."
            )
        finally:
            for server in ours:
                servers.stop(server)


def page_of(api: str) -> str:
    """Where a server that the settings name has its page."""
    return redacted(api.rstrip("/").removesuffix("/api"))


def show_prefect(home: "Home", port: int, browser: bool) -> None:
    """Give the browser the token, through a file that only its owner can read."""
    import webbrowser

    from ratchet.flows.servers import api_token
    from ratchet.flows.servers import start as servers

    link = api_token.sign_in_file(home, servers.sign_in_url(port), api_token.token_of(home))
    typer.echo(f"Prefect: {link.as_uri()}   (signs this browser in to http://127.0.0.1:{port})", err=True)
    if browser:
        webbrowser.open(link.as_uri())


def start_mlflow(home: "Home", port: int, log: Path) -> "Process":
    """Start MLflow's server on the project's database; it may not answer yet. What it prints is in the log."""
    from ratchet.components.registry.relocation import settle
    from ratchet.flows.servers import start as servers

    settle(home, lambda text: typer.echo(text, err=True))
    home.artifacts.mkdir(parents=True, exist_ok=True)
    arguments = ["server", "--host", servers.HOST, "--port", str(port), "--default-artifact-root", home.artifacts.as_uri()]
    light = {name: os.environ.get(name, value) for name, value in LIGHT.items()}
    # Through the environment: every user of the machine can see arguments, and a database URL may contain a password.
    return servers.start("mlflow", arguments, log, MLFLOW_BACKEND_STORE_URI=home.tracking_uri, **light)
