"""The files of a model's directory: which may be read, how large, and that weights are safetensors. Imports no torch."""

import json
from pathlib import Path

from ratchet.components.errors import ModelError

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy"}
LIMITS = {  # of the files that transformers reads whole, in MiB; about twice the largest of public models
    **dict.fromkeys(("*.jinja", "chat_template.json"), 1),
    **dict.fromkeys(("config.json", "generation_config.json", "calibration.json"), 4),
    **dict.fromkeys(("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"), 8),
    **dict.fromkeys(("tokenizer.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken", "*.safetensors.index.json"), 64),
}
UNMERGED = "an adapter, which does not contain the whole model. Merge it into its model and save the result."


def check_weights(path: Path) -> None:
    """Reject a directory whose weights are not safetensors.

    Raises:
        ModelError: naming the file and the remedy.
    """
    if (path / "adapter_config.json").exists() or list(path.glob("*.safetensors")):
        return  # an adapter has its own message
    pickles = [p.name for p in sorted(path.iterdir()) if p.suffix in PICKLE_SUFFIXES]
    if pickles:
        raise ModelError(f"{path} has only pickle weights ({pickles[0]}), which can run code. Save it as safetensors.")
    raise ModelError(f"{path} has no weights (*.safetensors). Save the model there with save_pretrained.")


def check_small_files(path: Path) -> None:
    """Refuse what would take minutes to read, run foreign code, or is not a whole model.

    Raises:
        ModelError: naming the file and the remedy.
    """
    if (path / "adapter_config.json").exists():
        raise ModelError(f"{path} holds {UNMERGED}")
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} has no config.json. Give the directory of a model saved with save_pretrained.")
    for pattern, most in LIMITS.items():
        for file in [*path.glob(pattern), *path.glob(f"additional_chat_templates/{pattern}")]:
            if file.is_file() and file.stat().st_size > most * 2**20:
                size = f"{file.stat().st_size / 2**20:.0f} MiB, and at most {most} MiB are allowed"
                raise ModelError(f"{file} has {size}: no model needs more. Save the model again.")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path / 'config.json'} is not JSON: {error}. Save the model again.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path / 'config.json'} is not a JSON object. Save the model again.")
    if "auto_map" in config:
        raise ModelError(f"{path / 'config.json'} asks for remote code (auto_map), which is refused. Use a built-in model.")
