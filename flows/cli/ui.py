"""``ratchet ui``: MLflow and Prefect in the browser, on the loopback address."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from subprocess import Popen

    from components.home import Home


def ui(
    port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Serve the MLflow and Prefect pages until stopped. A Prefect server that already runs there is used.

    Example: ratchet ui --port 5001
    """
    from components.home import Home
    from flows.cli import servers
    from flows.settings import apply

    home = Home.here()
    apply(home)
    remote = home.tracking_uri.startswith(("http:", "https:"))
    if not remote:
        servers.require_free(port, "--port")
    children = []
    if not servers.is_healthy(f"http://{servers.HOST}:{prefect_port}/api/health"):
        children.append(servers.prefect_server(prefect_port))
    mlflow = home.tracking_uri if remote else f"http://{servers.HOST}:{port}"
    try:
        if not remote:
            children.append(start_mlflow(home, port))
        typer.echo(f"MLflow:  {mlflow}\nPrefect: http://{servers.HOST}:{prefect_port}", err=True)
        while all(child.poll() is None for child in children):
            time.sleep(1)
    finally:
        for child in children:
            servers.stop(child)


def start_mlflow(home: "Home", port: int) -> "Popen[bytes]":
    """MLflow's server over the project's own database."""
    from flows.cli import servers

    home.artifacts.mkdir(parents=True, exist_ok=True)
    arguments = ["server", "--host", servers.HOST, "--port", str(port), "--default-artifact-root", home.artifacts.as_uri()]
    # By the environment: arguments are shown to every user of the machine, and a database's address may hold a password.
    process = servers.start("mlflow", arguments, MLFLOW_BACKEND_STORE_URI=home.tracking_uri)
    servers.wait_until_healthy(f"http://{servers.HOST}:{port}/health", process)
    return process
