"""Stage *champion*: the champion's policy, from the registry into the store, verified against the ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path

from ratchet.components.errors import RegistryError
from ratchet.components.files import model_weights
from ratchet.components.stages.results import ChampionStage
from ratchet.components.stages.stage import Context, finish


def fetched_policy(context: Context, weights: str, fetch: Callable[[Path], Path]) -> ChampionStage:
    """A registered policy as a stage: ``model/``, whose weights digest must be ``weights``. It is the key: no code shapes it.

    Args:
        fetch: downloads the policy below a directory and returns where it is.

    Raises:
        RegistryError: if the fetched policy is not the one in the ledger.
    """

    def write(path: Path) -> None:
        scratch = path / "download"
        fetch(scratch).rename(path / "model")
        shutil.rmtree(scratch)
        fetched = model_weights(path / "model")
        if fetched != weights:  # before the commit, so that a restored artifact is fetched again
            raise RegistryError(f"the champion's weights are {fetched}, the ledger says {weights}. Restore it.")

    return finish(context, ChampionStage, weights[:32], write)
