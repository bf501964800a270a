"""What can be known to fail before a run begins: unwritable places, full disks, links out of a model."""

from pathlib import Path

from ratchet.components.recipe import Recipe
from ratchet.components.storage.disk import FLOOR, require_space
from ratchet.components.storage.files import require_inner_links
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import check_writable


def check_before_run(home: Home, recipe: Recipe) -> None:
    """Takes milliseconds and starts nothing.

    Raises:
        StoreError: naming the place and the remedy.
    """
    for model in model_folders(recipe):
        require_inner_links(model)
    copies = 2 if recipe.policy.tuning is None else 3  # as it is, fine-tuned, and the candidate
    require_space(home.state, FLOOR + copies * model_bytes(recipe))
    require_space(home.project, FLOOR)
    check_writable(home.state)


def model_folders(recipe: Recipe) -> list[Path]:
    """The folders of models that a recipe names; hub ids are not among them."""
    learned = recipe.reward.model
    return [Path(name) for name in (recipe.policy.model, learned.base, learned.pretrained) if name and Path(name).is_dir()]


def model_bytes(recipe: Recipe) -> int:
    """Bytes of the starting policy's weights if it is a folder."""
    place = Path(recipe.policy.model) if recipe.policy.model else None
    return sum(file.stat().st_size for file in place.glob("*.safetensors")) if place is not None and place.is_dir() else 0
