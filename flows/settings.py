"""Settings of the libraries we use, applied before they are imported: no telemetry, no pickle, state below ours."""

import os
from pathlib import Path

from ratchet.components.storage.home import Home
from ratchet.components.storage.permissions import protect
from ratchet.components.storage.sqlite_files import PLAIN, sqlite_url

DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's 7 take minutes in silence; what waits for MLflow says so
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def apply_defaults() -> None:
    """Set variables of ``DEFAULTS`` that the environment does not."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def apply(home: Home) -> None:
    """Set variables that the user's environment does not; from here on, the state is its owner's alone."""
    protect((home.state, home.artifacts, home.mlflow_database))
    apply_defaults()
    prefect = home.state / "prefect"
    if os.environ.setdefault("PREFECT_HOME", str(prefect)) == str(prefect) and not PLAIN.fullmatch(str(prefect)):
        # Prefect would paste the path into the URL as it is.
        os.environ.setdefault("PREFECT_SERVER_DATABASE_CONNECTION_URL", sqlite_url(prefect / "prefect.db", "aiosqlite"))
    os.environ.setdefault("MLFLOW_TRACKING_URI", home.tracking_uri)


def make_prefect_home() -> None:
    """Called before Prefect is imported, which warns if it has to create the parent directory too."""
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True, mode=0o700)
