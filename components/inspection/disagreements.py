"""Where MLflow's alias ``champion`` and the ledger disagree: the alias was moved by hand, or the ledger was lost."""

from collections.abc import Iterable

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import CHAMPION, disagreement
from ratchet.components.project.locks import Locks
from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_file, sqlite_url
from ratchet.components.text import redacted


def disagreements(home: Home, ledger: Ledger, models: Iterable[str] = ()) -> dict[str, str] | None:
    """Why promotions are blocked, with the remedy, by model; None if MLflow does not answer. Neither is changed.

    Args:
        models: to be looked at besides the ledger's, and besides all that the project's own MLflow has. A server may have
            champions of other projects, of which this ledger rightly knows nothing.

    Raises:
        RegistryError: if MLflow's database cannot be read, or the ledger was altered.
    """
    file = sqlite_file(home.tracking_uri) if home.tracking_uri.startswith("sqlite") else None
    if file is None:
        return _seen(home, ledger, models)
    if not file.exists():
        return {}
    with Locks(home.locks).held("mlflow", "another process is opening MLflow; waiting"):
        return _seen(home, ledger, models)


def _seen(home: Home, ledger: Ledger, models: Iterable[str]) -> dict[str, str] | None:
    from ratchet.components.registry.outage import ask, is_outage
    from ratchet.components.registry.versions import Versions

    try:
        ask(home.tracking_uri)
        registry = Versions(home.tracking_uri, home.artifacts)
        own = registry.aliased(CHAMPION) if home.tracking_uri == sqlite_url(home.mlflow_database) else ()
        names = sorted({*ledger.models(), *models, *own})
        return {model: said for model in names if (said := disagreement(ledger, registry, model))}
    except RegistryError:
        raise
    except Exception as error:  # the database driver's and the HTTP client's errors have no common base
        if is_outage(error):
            return None
        said = redacted(f"cannot use MLflow at {home.tracking_uri}: {str(error).partition('[SQL: ')[0].strip()}")
        raise RegistryError(f"{said}. Check MLFLOW_TRACKING_URI; restore a damaged database from a backup.") from error
