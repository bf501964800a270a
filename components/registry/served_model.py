"""The model that MLflow serves (models-from-code: this file is logged, and nothing is pickled).

It needs torch, transformers and mlflow, and nothing of Ratchet, so that it loads on a serving machine. It hashes every file
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
    """The manifest, if every file that it lists has its hash and no weights lie beside them.

    Raises:
        ValueError: naming the file that differs.
    """
    recorded: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    for name, expected in recorded["files"].items():
        place = model / name
        actual = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else "missing"
        if actual != expected:
            raise ValueError(f"{name} of this model is not what was promoted ({actual[:12]}, manifest says {expected[:12]}).")
    listed = set(recorded["files"])
    for place in model.rglob("*.safetensors"):
        if place.relative_to(model).as_posix() not in listed:
            raise ValueError(f"{place.name} is not in the manifest of this model. Restore the promoted artifact.")
    return recorded


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
        """Verify the files, then load the policy."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = Path(context.artifacts["model"])
        self.settings = verify(path, Path(context.artifacts["manifest"]))
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, padding_side="left")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options = {"trust_remote_code": False, "use_safetensors": True}
        self.model = AutoModelForCausalLM.from_pretrained(path, **options).to(self.device).eval()

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

        templated = self.tokenizer.chat_template is not None
        texts = [self._render(prompt) for prompt in prompts] if templated else prompts
        batch = self.tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=not templated, return_token_type_ids=False
        ).to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(
                **batch,
                do_sample=False,
                max_new_tokens=self.settings["max_new_tokens"],
                pad_token_id=self.tokenizer.pad_token_id,
            )
        width = batch["input_ids"].shape[1]
        return list(self.tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True))

    def _render(self, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


mlflow.models.set_model(ServedPolicy())
