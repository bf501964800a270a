"""Stage *champion*: the champion's policy, from the registry into the store, verified against the ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path

from ratchet.components.errors import RegistryError
from ratchet.components.stages.results import ChampionStage
from ratchet.components.stages.stage import Context, finish
from ratchet.components.storage.files import model_weights, policy_digest


def fetched_policy(context: Context, promoted: str, fetch: Callable[[Path], Path]) -> ChampionStage:
    """A registered policy as a stage: ``model/``, which must be the one that was promoted. It is the key: no code shapes it.

    Args:
        promoted: its digest in the ledger; of its weights alone, if an earlier release promoted it.
        fetch: downloads the policy below a directory and returns where it is.

    Raises:
        RegistryError: if the fetched policy is not the one in the ledger.
    """

    def write(path: Path) -> None:
        scratch = path / "download"
        fetch(scratch).rename(path / "model")
        shutil.rmtree(scratch)
        found = policy_digest(path / "model")
        # Before the commit, so that a restored artifact is fetched again.
        if promoted not in (found, model_weights(path / "model")):
            raise RegistryError(f"the champion's policy is {found}, the ledger says {promoted}. Restore its files.")

    return finish(context, ChampionStage, promoted[:32], write)
