"""What only an extra of the package installs.

A base installation has neither torch nor transformers (``train``): it checks recipes, rows and graders without. Nor has it the
drivers of servers (``server``), nor Ray (``ray``), nor torchao (``adamw-8bit``).
"""

from importlib.util import find_spec

from ratchet.components.errors import MissingExtraError

TRAIN = ("torch", "transformers", "safetensors")


def require_train() -> None:
    """Reject a run before it begins.

    Raises:
        MissingExtraError: if a library that runs models is not installed.
    """
    absent = [name for name in TRAIN if find_spec(name) is None]
    if absent:
        raise missing_train(" and ".join(absent))


def missing_train(what: str) -> MissingExtraError:
    """The error that names what is missing, and how to install it."""
    return MissingExtraError(
        f"this needs {what}, which a base installation does not have. Run: pip install 'ratchet-rl[train]'."
    )


def missing_server(what: str) -> MissingExtraError:
    """The error that names what is missing to use a server, and how to install it."""
    return MissingExtraError(
        f"this needs {what}, which only the extra `server` installs. Run: pip install 'ratchet-rl[server]'."
    )


def require_optimizer(name: str) -> None:
    """Reject a training before it begins.

    Raises:
        MissingExtraError: if the library of ``train.optimizer`` is not installed.
    """
    if name == "adamw_8bit" and find_spec("torchao") is None:
        raise MissingExtraError(
            "train.optimizer: adamw_8bit needs torchao, which only the extra `adamw-8bit` installs. "
            "Run: pip install 'ratchet-rl[adamw-8bit]'."
        )


def missing_ray() -> MissingExtraError:
    """The error that says how to install what ``launch.kind: ray`` needs."""
    return MissingExtraError(
        "launch.kind: ray needs Ray, which only the extra `ray` installs. Run: pip install 'ratchet-rl[ray]'."
    )
