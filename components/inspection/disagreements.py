"""Where MLflow's alias ``champion`` and the ledger disagree: moved by hand, a lost ledger, or a promotion cut short."""

from collections.abc import Callable, Iterable

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import CHAMPION, Registry, disagreement, pending
from ratchet.components.project.locks import Locks
from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_file, sqlite_url
from ratchet.components.text import redacted

Look = Callable[[Ledger, Registry, str], str | None]  # what is to be said of a model


def promotions_cut_short(home: Home, ledger: Ledger) -> dict[str, str]:
    """The promotions that MLflow's alias has yet to follow, with the remedy, by model; nothing if MLflow does not answer.

    Raises:
        RegistryError: as of :func:`disagreements`.
    """
    return disagreements(home, ledger, look=pending) or {}


def disagreements(home: Home, ledger: Ledger, models: Iterable[str] = (), look: Look = disagreement) -> dict[str, str] | None:
    """Why promotions are blocked, with the remedy, by model; None if MLflow does not answer. Neither is changed.

    Args:
        models: to be looked at besides the ledger's, and besides all that the project's own MLflow has. A server may have
            champions of other projects, of which this ledger rightly knows nothing.

    Raises:
        RegistryError: if MLflow's database cannot be read, it refuses the login, or the ledger was altered.
    """
    file = sqlite_file(home.tracking_uri) if home.tracking_uri.startswith("sqlite") else None
    if file is None:
        return _seen(home, ledger, models, look)
    if not file.exists():
        return {}
    with Locks(home.locks).held("mlflow", "another process is opening MLflow; waiting"):
        return _seen(home, ledger, models, look)


def _seen(home: Home, ledger: Ledger, models: Iterable[str], look: Look) -> dict[str, str] | None:
    from ratchet.components.registry.outage import ask, is_outage, refusal
    from ratchet.components.registry.versions import Versions

    try:
        ask(home.tracking_uri)
        registry = Versions(home.tracking_uri, home.artifacts)
        own = registry.aliased(CHAMPION) if home.tracking_uri == sqlite_url(home.mlflow_database) else ()
        names = sorted({*ledger.models(), *models, *own})
        return {model: said for model in names if (said := look(ledger, registry, model))}
    except RegistryError:
        raise
    except Exception as error:  # the database driver's and the HTTP client's errors have no common base
        if is_outage(error):
            return None
        if (refused := refusal(error, home.tracking_uri)) is not None:
            raise RegistryError(refused) from error
        said = redacted(f"cannot use MLflow at {home.tracking_uri}: {str(error).partition('[SQL: ')[0].strip()}")
        raise RegistryError(f"{said}. Check MLFLOW_TRACKING_URI; restore a damaged database from a backup.") from error
