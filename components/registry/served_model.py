"""The model that MLflow serves (models-from-code: this file is logged, and nothing is pickled).

It needs torch, transformers and mlflow, but not Ratchet, so that it loads on a serving machine. It hashes every file
of the policy against the manifest before loading any, and refuses on a mismatch.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

ROWS_AT_ONCE = 64


def verify(model: Path, manifest: Path) -> dict[str, Any]:
    """The manifest, if every file that it lists has its hash and there are no other weights.

    Raises:
        ValueError: naming the file that differs.
    """
    recorded: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    for name, expected in recorded["files"].items():
        place = model / name
        actual = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else "missing"
        if actual != expected:
            raise ValueError(
                f"{name} of this model differs from the promoted file ({actual[:12]}, manifest says {expected[:12]})."
            )
    listed = set(recorded["files"])
    for place in model.rglob("*.safetensors"):
        if place.relative_to(model).as_posix() not in listed:
            raise ValueError(f"{place.name} is not in the manifest of this model. Restore the promoted artifact.")
    return recorded


def check_tensors(tensors: dict[str, Any], report: dict[str, Any]) -> None:
    """Reject a model for which transformers initialised or dropped a tensor, or whose weights are not finite.

    Raises:
        ValueError: naming the first tensor.
    """
    strangers = sorted({*report["missing_keys"], *report["unexpected_keys"]})
    if strangers:
        raise ValueError(f"{len(strangers)} tensors are missing or unexpected, the first {strangers[0]}.")
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    wrong = [name for name, tensor in floating.items() if not all(bound.isfinite() for bound in tensor.aminmax())]
    if wrong:
        raise ValueError(
            f"{len(wrong)} tensors contain NaN or infinity, the first {wrong[0]}. Roll back to an earlier version."
        )


def prompts_of(model_input: Any) -> list[str]:
    """Raw prompts from a list of strings or a frame with a column ``prompt``.

    Raises:
        ValueError: on anything else.
    """
    if hasattr(model_input, "columns"):
        names = list(model_input.columns)
        # MLflow turns a plain list into a frame with one unnamed column.
        if "prompt" not in names and names != [0]:
            raise ValueError(f"the input frame has columns {names}, not 'prompt'. Send a column named prompt.")
        model_input = model_input["prompt" if "prompt" in names else 0].tolist()
    prompts = list(model_input)
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError("every prompt must be a string.")
    return prompts


class ServedPolicy(PythonModel):  # type: ignore[misc]
    """Greedy completions of raw prompts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify the files, then load the policy.

        Raises:
            ValueError: if a file differs from the promoted one, or this model's tensors are not complete and finite.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = Path(context.artifacts["model"])
        self.settings = verify(path, Path(context.artifacts["manifest"]))
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, padding_side="left")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options = {"trust_remote_code": False, "use_safetensors": True}
        model, report = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, **options)
        check_tensors(model.state_dict(), report)
        self.model = model.to(self.device).eval()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as a schema
        """Completions of raw prompts, in their order.

        Args:
            model_input: a list of strings, or a frame with a column ``prompt``.
        """
        prompts = prompts_of(model_input)
        completions: list[str] = []
        for start in range(0, len(prompts), ROWS_AT_ONCE):
            completions += self._complete(prompts[start : start + ROWS_AT_ONCE])
        return completions

    def _complete(self, prompts: list[str]) -> list[str]:
        import torch

        encoded = {"input_ids": [self._encode(prompt) for prompt in prompts]}
        batch = self.tokenizer.pad(encoded, padding_side="left", return_tensors="pt").to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(
                **batch,
                do_sample=False,
                max_new_tokens=self.settings["max_new_tokens"],
                pad_token_id=self.tokenizer.pad_token_id,
            )
        width = batch["input_ids"].shape[1]
        return [self._decode(row) for row in tokens[:, width:].tolist()]

    def _decode(self, tokens: list[int]) -> str:
        """A completion's text up to the first token that ends it, which need not be a special token of the tokenizer."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        return str(self.tokenizer.decode(tokens[:length], skip_special_tokens=True))

    def _encode(self, prompt: str) -> list[int]:
        """Tokens of a prompt in the template, as in training: names of special tokens in the user's text are text."""
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(prompt, split_special_tokens=True).input_ids)
        messages = [{"role": "user", "content": prompt}]
        options = {"add_generation_prompt": True, "sanitize_control_tokens": True, "return_dict": False}
        return list(self.tokenizer.apply_chat_template(messages, **options))


mlflow.models.set_model(ServedPolicy())
