"""What can be known to fail before a run begins: missing libraries, unwritable places, full disks, links out of a model."""

from pathlib import Path

from ratchet.components.disk import FLOOR, require_space
from ratchet.components.extras import require_train
from ratchet.components.files import require_inner_links
from ratchet.components.home import Home
from ratchet.components.recipe import Recipe
from ratchet.components.store import check_writable


def check_before_run(home: Home, recipe: Recipe) -> None:
    """Takes milliseconds and starts nothing.

    Raises:
        MissingExtraError: if the libraries that run models are not installed.
        StoreError: naming the place and the remedy.
    """
    require_train()
    for model in model_folders(recipe):
        require_inner_links(model)
    require_space(home.state, FLOOR + 2 * model_bytes(recipe))
    require_space(home.project, FLOOR)
    check_writable(home.state)


def model_folders(recipe: Recipe) -> list[Path]:
    """The folders of models that a recipe names; hub ids are not among them."""
    learned = recipe.reward.model
    return [Path(name) for name in (recipe.policy.model, learned.base, learned.pretrained) if name and Path(name).is_dir()]


def model_bytes(recipe: Recipe) -> int:
    """Bytes of the starting policy's weights if it is a folder: a run writes it and the candidate, each at least once."""
    place = Path(recipe.policy.model) if recipe.policy.model else None
    return sum(file.stat().st_size for file in place.glob("*.safetensors")) if place is not None and place.is_dir() else 0
