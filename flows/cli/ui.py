"""``ratchet ui``: MLflow and Prefect in the browser, on the loopback address."""

import time
from typing import Annotated

import typer


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
    servers.require_free(port, "--port")
    children = []
    if not servers.is_healthy(f"http://{servers.HOST}:{prefect_port}/api/health"):
        children.append(servers.prefect_server(prefect_port))
    arguments = ["server", "--host", servers.HOST, "--port", str(port), "--backend-store-uri", home.tracking_uri]
    home.artifacts.mkdir(parents=True, exist_ok=True)
    children.append(servers.start("mlflow", [*arguments, "--default-artifact-root", home.artifacts.as_uri()]))
    try:
        servers.wait_until_healthy(f"http://{servers.HOST}:{port}/health", children[-1])
        typer.echo(f"MLflow:  http://{servers.HOST}:{port}\nPrefect: http://{servers.HOST}:{prefect_port}", err=True)
        while all(child.poll() is None for child in children):
            time.sleep(1)
    finally:
        for child in children:
            servers.stop(child)
