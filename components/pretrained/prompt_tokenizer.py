"""A model's tokenizer without transformers: its ``tokenizer.json`` and chat template, for showing and counting prompts.

Training, evaluation and the served model use transformers' tokenizer. For a class of transformers that builds its tokenizer
from the vocabulary (``Qwen2Tokenizer``, ``LlamaTokenizer``), this one is what the file says, as every other program reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from ratchet.components.errors import ModelError
from ratchet.components.pretrained.model_files import LIMITS, check_small_files

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
EXTRA = ("extra_special_tokens", "additional_special_tokens")


class Encoded(NamedTuple):
    """Token ids, named as transformers names them."""

    input_ids: list[int]


def folder_of(model: str, revision: str | None = None) -> Path:
    """A model's directory, or the small files of a downloaded hub id; nothing is downloaded.

    Raises:
        ModelError: if the model is not here.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=[*LIMITS], local_files_only=True))
    except Exception as error:  # of the hub's client, and of names that are none
        raise ModelError(f"{model} is not downloaded: its prompts cannot be shown. A run downloads it.") from error


@dataclass(frozen=True, eq=False)
class PromptTokenizer:
    """What ``chat`` asks of a tokenizer."""

    backend_tokenizer: Tokenizer
    special_tokens_map: Mapping[str, str]
    chat_template: str | dict[str, str] | None

    @classmethod
    def of_model(cls, model: str, revision: str | None = None) -> "PromptTokenizer":
        """The tokenizer of a model's directory or of a downloaded hub id; nothing is downloaded.

        Raises:
            ModelError: if the model is not here, or its tokenizer needs transformers.
        """
        return cls.load(folder_of(model, revision))

    @classmethod
    def load(cls, path: Path) -> "PromptTokenizer":
        """The tokenizer of a model's directory.

        Raises:
            ModelError: if a file is not what a tokenizer has, or there is no ``tokenizer.json``.
        """
        check_small_files(path)
        file = path / "tokenizer.json"
        if not file.is_file():
            raise ModelError(
                f"{path} has no tokenizer.json: its tokenizer needs transformers. Run: pip install 'ratchet-rl[train]'; "
                "or save the tokenizer there with save_pretrained."
            )
        settings = _object(path / "tokenizer_config.json") | _legacy(path)
        try:
            backend = Tokenizer.from_file(str(file))
            backend.no_truncation()
            backend.no_padding()
            _add(backend, settings)
        except Exception as error:  # the library raises bare exceptions
            raise ModelError(f"{file} is not a tokenizer: {error}. Save the model again.") from error
        named = {name: text for name in NAMED if (text := _text(settings.get(name))) is not None}
        return cls(backend, named, _templates(path, settings))

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def __call__(self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False) -> Encoded:
        self.backend_tokenizer.encode_special_tokens = split_special_tokens
        return Encoded(self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    @cached_property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        return dict(self.backend_tokenizer.get_added_tokens_decoder())

    @property
    def unk_token(self) -> str | None:
        return self.special_tokens_map.get("unk_token")

    @property
    def unk_token_id(self) -> int | None:
        return self._id("unk_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._id("eos_token")

    def _id(self, name: str) -> int | None:
        token = self.special_tokens_map.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def get_chat_template(self) -> str:
        """The default template.

        Raises:
            ValueError: if there are several, and none is the default.
        """
        if isinstance(self.chat_template, str):
            return self.chat_template
        templates = self.chat_template or {}
        if "default" not in templates:
            raise ValueError(f"there are {', '.join(sorted(templates)) or 'none'}, and none is the default")
        return templates["default"]

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [str(self.backend_tokenizer.id_to_token(i)) for i in ids]


def _object(file: Path) -> dict[str, Any]:
    """A file's JSON object; empty if there is no file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not JSON: {error}. Save the model again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} is not a JSON object. Save the model again.")
    return found


def _legacy(path: Path) -> dict[str, Any]:
    """Special tokens in a file of their own, which counts where the settings do not list the added tokens."""
    if "added_tokens_decoder" in _object(path / "tokenizer_config.json"):
        return {}
    return _object(path / "special_tokens_map.json")


def _text(token: Any) -> str | None:
    """A special token's text, which settings have alone or with its options."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _add(backend: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Add the tokens that the settings have and the file has not, those with numbers in their order."""
    numbered = sorted((settings.get("added_tokens_decoder") or {}).items(), key=lambda one: int(one[0]))
    extra = next((settings[name] for name in EXTRA if settings.get(name)), ())
    special = [*(settings.get(name) for name in NAMED), *(extra.values() if isinstance(extra, dict) else extra)]
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    wanted = [(_text(token), token) for token in (*(token for _, token in numbered), *special)]
    names = {_text(token) for token in special}
    for text, token in wanted:
        if text is not None and text not in known:
            known.add(text)
            backend.add_tokens([_added(text, token, text in names)])


def _added(text: str, token: Any, special: bool) -> AddedToken:
    given = token if isinstance(token, dict) else {}
    options = {name: bool(given[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in given}
    return AddedToken(text, special=special or bool(given.get("special")), **options)


def _templates(path: Path, settings: Mapping[str, Any]) -> str | dict[str, str] | None:
    """The chat template, or several by name: from files of their own, else from the settings."""
    files = {file.stem: file for file in sorted((path / "additional_chat_templates").glob("*.jinja"))}
    if (default := path / "chat_template.jinja").is_file():
        files = {"default": default, **files}
    found: Any = {name: _read(file) for name, file in files.items()} or settings.get("chat_template")
    if not found or isinstance(found, str):
        return found or None
    if isinstance(found, list):
        found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise ModelError(f"{path / 'tokenizer_config.json'} has a chat_template that is not text. Save the model again.")
    templates: dict[str, str] = found
    return templates["default"] if set(templates) == {"default"} else templates


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except ValueError as error:
        raise ModelError(f"{file} is not UTF-8 text. Save the model again.") from error
