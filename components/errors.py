"""Errors that a user can act on.

    RatchetError
    ├── RecipeError       the recipe is wrong (exit 2)
    ├── DataError         the data are not what the recipe or the pointer says
    ├── ModelError        a model directory cannot be used
    ├── MissingExtraError a library of an extra is not installed (exit 2)
    ├── EngineError       an engine outside of this process cannot be used, or draws from other weights
    ├── RewardError       a reward returned something that is not a reward
    ├── StoreError        a finished stage is damaged, or cannot be written
    │   └── BackupError         the file to restore is missing, or not a whole backup (exit 2)
    ├── StalledError      a phase of a training step took longer than it may
    ├── RankError         a rank of a training failed, was killed or fell silent
    ├── PausedError       a person or a limit ended the run after a checkpoint (exit 6)
    └── RegistryError     the ledger and the registry disagree, or cannot be reached
        ├── UnansweredError     MLflow did not answer for as long as a step waits for it
        ├── LedgerUnavailableError  the ledger's database is out of reach, locked or full, which may pass
        ├── PendingAliasError   MLflow's alias does not follow the ledger's champion yet
        ├── StaleChampionError  the champion changed since the verdict
        └── ClaimLostError      another process may continue this run, and this one may not

Every message names the file, key or value at fault and ends with the remedy.
"""


class RatchetError(ValueError):
    """Base of all errors shown to users without a traceback."""

    exit_code = 1


class RecipeError(RatchetError):
    """The recipe or an override is invalid."""

    exit_code = 2


class DataError(RatchetError):
    """Input data, a dataset version or its pointer is not usable."""


class ModelError(RatchetError):
    """A model directory or hub id cannot be loaded safely."""


class MissingExtraError(RatchetError):
    """A verb needs libraries that only an extra of the package installs."""

    exit_code = 2


class EngineError(RatchetError):
    """An engine outside of this process does not answer, breaks its protocol, or samples from other weights than ours."""


class RewardError(RatchetError):
    """A reward function broke its protocol."""


class StoreError(RatchetError):
    """The store of finished stages cannot be read or written."""


class BackupError(StoreError):
    """The file to restore is missing or not a whole backup."""

    exit_code = 2


class StalledError(RatchetError):
    """A phase of a training step took longer than ``limits.phase_hours``; the same command resumes from the last checkpoint."""


class RanksDifferError(RatchetError):
    """The ranks of a training no longer have the same weights or progress."""


class RankError(RatchetError):
    """A rank of a training failed, was killed or fell silent; the same command resumes from the last checkpoint."""


class PausedError(RatchetError):
    """A person or a limit ended the run after a checkpoint: its status is ``stopped``, and the same command resumes it."""

    exit_code = 6


class RegistryError(RatchetError):
    """The ledger, the registry, or their agreement is broken."""


class UnansweredError(RegistryError):
    """MLflow did not answer for as long as a step waits for it; the same command resumes the run."""


class LedgerUnavailableError(RegistryError):
    """The ledger's database is out of reach, locked or full: the same transaction may succeed later."""


class PendingAliasError(RegistryError):
    """The ledger has a champion, and MLflow did not move its alias there: the promotion counts, and is completed later."""

    def __init__(self, model: str, version: str, reason: str) -> None:
        super().__init__(
            f"version {version} of {model} is champion in the ledger, but MLflow's alias has not followed: {reason} "
            "Then `ratchet reconcile` moves it, as does the next run."
        )


class StaleChampionError(RegistryError):
    """The champion changed while a challenger was judged: its verdict is void, and it is judged again."""

    def __init__(self, model: str) -> None:
        super().__init__(f"the champion of {model} changed while this challenger was judged. Run again.")


class ClaimLostError(RegistryError):
    """This process may not continue its run: the claim expired, was taken over or is another process's."""
