"""Load a model and its tokenizer by transformers: safetensors only, no remote code, every tensor complete and finite."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ratchet.components.errors import ModelError
from ratchet.components.pretrained.chat import HARMLESS, encode_prompt
from ratchet.components.pretrained.model_files import LIMITS, check_small_files, check_weights

TOKENIZERS = ("tokenizer*", "vocab.*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")  # any is a part of one
LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    place: str | Path  # a directory or a hub id
    revision: str | None
    what: str  # "the model", for messages
    remedy: str

    def load(self, kind: Any, new_head: bool = False, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model in fp32 and evaluation mode, and its tokenizer.

        Args:
            kind: an auto class of transformers.
            new_head: whether the model's head may be missing and initialised at random, and another head ignored.
            options: further arguments of ``kind.from_pretrained``.

        Raises:
            ModelError: if they cannot be loaded safely, a tensor is missing, unexpected, of another shape or not finite, or the
                chat template does not accept a prompt verbatim.
        """
        if Path(self.place).is_dir():
            check_weights(Path(self.place))
        check_small_files(self._small_files())
        if Path(self.place).is_dir():
            check_layers(Path(self.place))
            check_has_tokenizer(Path(self.place))
        hub: dict[str, Any] = {"revision": self.revision, "trust_remote_code": False}
        if kind is AutoModelForCausalLM:
            self._require_decoder(hub)
        tokenizer = self._call(AutoTokenizer.from_pretrained, **hub)
        # HF_HUB_OFFLINE sets it, and what is saved would record the variable: files of other digests, with the same tokens.
        tokenizer.init_kwargs["local_files_only"] = False
        try:
            encode_prompt(tokenizer, HARMLESS)
        except ModelError as error:
            raise ModelError(f"{self.place}: {error}") from error
        options |= hub | {"use_safetensors": True, "dtype": torch.float32}
        # Mismatched tensors are reported with the others; without this, transformers names none of them.
        model, report = self._call(kind.from_pretrained, output_loading_info=True, ignore_mismatched_sizes=True, **options)
        check_tensors(str(self.place), model, report, new_head, self.remedy)
        return model, tokenizer

    def _require_decoder(self, hub: Mapping[str, Any]) -> None:
        config = self._call(AutoConfig.from_pretrained, **hub)
        if config.is_encoder_decoder:
            family = f"an encoder-decoder model ({config.model_type})"
            raise ModelError(f"{self.place} is {family}, and those are not supported. Use a decoder-only language model.")

    def _small_files(self) -> Path:
        """The model's directory, or a copy of its hub files without the weights."""
        if Path(self.place).is_dir():
            return Path(self.place)
        return Path(self._call(snapshot_download, revision=self.revision, allow_patterns=["adapter_config.json", *LIMITS]))

    def _call(self, function: Any, **options: Any) -> Any:
        try:
            return function(self.place, **options)
        except Exception as error:  # third-party code on untrusted files: tokenizers raises bare exceptions
            first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" .:")
            raise ModelError(f"cannot load {self.what} {self.place}: {first}. {self.remedy}") from error


def check_layers(path: Path) -> None:
    """Reject a config with more layers than its weights have tensors, which transformers would build one by one.

    Raises:
        ModelError: naming both numbers.
    """
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    named = [part.get(name) for part in (config, config.get("text_config") or {}) for name in LAYERS]
    layers = max((number for number in named if isinstance(number, int)), default=0)
    tensors = 0
    for file in path.glob("*.safetensors"):
        with suppress(SafetensorError), safe_open(file, "pt") as opened:  # loading reports a damaged one
            tensors += len(opened.keys())
    if layers > max(tensors, 1000):
        raise ModelError(
            f"{path / 'config.json'} asks for {layers} layers; its weights have {tensors} tensors. Save the model again."
        )


def check_has_tokenizer(path: Path) -> None:
    """
    Raises:
        ModelError: if a directory has no file of a tokenizer.
    """
    if not any(any(path.glob(pattern)) for pattern in TOKENIZERS):
        raise ModelError(
            f"{path} has no tokenizer (tokenizer.json). Save the one that the model was trained with there (save_pretrained)."
        )


def check_tensors(place: str, model: PreTrainedModel, report: Mapping[str, Iterable[Any]], new_head: bool, remedy: str) -> None:
    """Reject weights that do not match the model: transformers initialises missing tensors and drops unknown ones.

    Args:
        report: transformers' loading info. Tied tensors that are stored once, and those that a family declares to be of no
            account, are not in it.
        new_head: whether tensors outside the trunk do not count.

    Raises:
        ModelError: naming the first tensor of each fault and how many there are.
    """
    trunk = {model.base_model_prefix, *(name for name, _ in model.base_model.named_children())}
    counts = lambda name: not new_head or name.split(".")[0] in trunk  # noqa: E731
    missing, unexpected = (sorted(filter(counts, report[f"{fault}_keys"])) for fault in ("missing", "unexpected"))
    reshaped = sorted(f"{name}: {list(found)}, not {list(wanted)}" for name, found, wanted in report["mismatched_keys"])
    faults = {"missing (would be random)": missing, "unexpected": unexpected, "of another shape": reshaped}
    found = [f"{len(names)} {fault}, the first {names[0]}" for fault, names in faults.items() if names]
    if found:
        raise ModelError(
            f"the weights of {place} do not match its config.json. Tensors: {'; '.join(found)}. "
            f"Save the whole model, not a wrapper around it, with save_pretrained. {remedy}"
        )
    wrong = not_finite(model.state_dict())
    if wrong:
        raise ModelError(
            f"the weights of {place} contain NaN or infinity in {len(wrong)} tensors, the first {wrong[0]}. "
            f"Use an earlier checkpoint, or download the model again. {remedy}"
        )


def not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that contain NaN or infinity; one pass over each, without a copy."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    return [name for name, tensor in floating.items() if not all(bound.isfinite() for bound in tensor.aminmax())]
