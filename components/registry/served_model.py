"""The model that MLflow serves (models-from-code: this file is logged, and nothing is pickled).

It needs torch, transformers and mlflow, but not Ratchet, so that it loads on a serving machine. It hashes every file
of the policy against the manifest before loading any, and refuses on a mismatch.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

ROWS_AT_ONCE = 64
AS_THE_ROW_SAYS: dict[str, Any] = {"role": "user", "literals": ["", ""], "paths": [["prompt"]]}


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


def inputs_of(model_input: Any) -> list[Any]:
    """What is asked, each a text, a conversation or a row, from all that MLflow and its server make of a request."""
    if hasattr(model_input, "columns"):
        if list(model_input.columns) == [0]:  # made of a plain list
            return list(_plain(model_input[0]))
        return _as_written(_plain(model_input.to_dict("records")))
    given = _plain(model_input)
    if isinstance(given, str):
        return [given]
    if not isinstance(given, dict):
        return list(given)
    columns = all(isinstance(value, list) for value in given.values()) and not _is_conversation(given.get("messages"))
    return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)] if columns else [given]


def _as_written(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a frame with 1990 for 1990.0 in a column of whole numbers that pandas made floats because a row lacks one."""
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    whole = {name for name, values in columns.items() if not all(map(_known, values)) and all(map(_whole_or_nan, values))}
    return [{name: int(value) if name in whole and _known(value) else value for name, value in row.items()} for row in rows]


def _whole_or_nan(value: Any) -> bool:
    return isinstance(value, float) and (value.is_integer() or not _known(value))


def _plain(value: Any) -> Any:
    """Data without numpy's and pandas' types."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


class Task:
    """How the gate asked: the templates of the recipe's ``task``, as the manifest has them.

    A turn is {role, literals, paths}; the fields at the paths stand between the literals.
    """

    def __init__(self, turns: list[dict[str, Any]] | None) -> None:
        """
        Args:
            turns: empty if the rows said themselves what is asked; None if a template was not known any more.
        """
        self.turns = [AS_THE_ROW_SAYS] if turns == [] else turns or []
        paths: list[list[str | int]] = [path for turn in self.turns for path in turn["paths"]]
        self.paths = [path for number, path in enumerate(paths) if path not in paths[:number]]

    def conversation(self, given: Any) -> list[dict[str, str]]:
        """The messages {role, content} that an input stands for.

        Args:
            given: messages, which are asked as they are; or a row, or the text of its one field, which the templates ask.

        Raises:
            ValueError: on anything else.
        """
        if isinstance(given, list):
            return _messages(given)
        if isinstance(given, str):
            return self._of_text(given)
        if not isinstance(given, dict):
            raise ValueError(f"an input is a text, a list of messages or a row, not {given!r:.60}.")
        if self.turns and all(_known(given.get(path[0])) for path in self.paths):
            return self._filled(given)
        if _known(given.get("messages")):
            return _messages(given["messages"])
        if isinstance(given.get("prompt"), str):
            return self._of_text(given["prompt"])
        there = ", ".join(str(name) for name, value in given.items() if _known(value))
        raise ValueError(f"a row has {there:.200}. {self._wanted}")

    @property
    def _wanted(self) -> str:
        names = " and ".join(map(_written, self.paths))
        rows = f"rows with {names}, or " if self.turns else ""
        return f"Send {rows}messages, each {{role, content}}, in a column named messages."

    def _of_text(self, text: str) -> list[dict[str, str]]:
        if len(self.paths) != 1:
            why = f"reads {len(self.paths)} fields" if self.turns else "is not known: its file changed during the run"
            raise ValueError(f"a text alone is not enough, because this model's task {why}. {self._wanted}")
        row: Any = text
        for step in reversed(self.paths[0]):
            row = [row] * (step + 1) if isinstance(step, int) else {step: row}
        return self._filled(row)

    def _filled(self, row: dict[str, Any]) -> list[dict[str, str]]:
        messages = [{"role": turn["role"], "content": _content(turn, row)} for turn in self.turns]
        if [message["role"] for message in messages] == ["user"]:  # of such rows a dataset has the prompt alone, stripped
            messages[0]["content"] = messages[0]["content"].strip()
        return messages


def _content(turn: dict[str, Any], row: dict[str, Any]) -> str:
    texts = [_field(path, row) for path in turn["paths"]]
    return str(turn["literals"][0] + "".join(text + after for text, after in zip(texts, turn["literals"][1:], strict=True)))


def _field(path: list[str | int], row: dict[str, Any]) -> str:
    """A field as a template shows it: texts as they are, everything else as JSON."""
    value: Any = row
    for step in path:
        kind = list if isinstance(step, int) else dict
        there = isinstance(value, kind) and (step < len(value) if isinstance(step, int) else step in value)
        value = value[step] if there else None
    if not _known(value):
        raise ValueError(f"a row has no {_written(path)}, which this model's task reads.")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _known(value: Any) -> bool:
    return value is not None and value == value  # a frame has NaN where a row lacks a column


def _written(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _messages(given: Any) -> list[dict[str, str]]:
    if not _is_conversation(given):
        raise ValueError(f"messages are a list of {{role, content}}, not {given!r:.60}.")
    messages = [{"role": one.get("role"), "content": one.get("content")} for one in given]
    if not all(isinstance(text, str) for message in messages for text in message.values()):
        raise ValueError("every message needs a role and a content, both texts.")
    if messages[-1]["role"] == "assistant":
        raise ValueError("the last message is the assistant's, so there is nothing to answer. End with a user's.")
    return messages


class ServedPolicy(PythonModel):  # type: ignore[misc]
    """Greedy completions of what is asked as the gate asked it."""

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
        """Completions, in the order of the inputs.

        Args:
            model_input: texts, rows with the fields that the task reads, or conversations; a list, or a frame with a column
                ``prompt``, with these fields, or with a column ``messages``.
        """
        task = Task(self.settings.get("turns", []))
        conversations = [task.conversation(given) for given in inputs_of(model_input)]
        completions: list[str] = []
        for start in range(0, len(conversations), ROWS_AT_ONCE):
            completions += self._complete(conversations[start : start + ROWS_AT_ONCE])
        return completions

    def _complete(self, conversations: list[list[dict[str, str]]]) -> list[str]:
        import torch

        encoded = {"input_ids": [self._encode(messages) for messages in conversations]}
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

    def _encode(self, messages: list[dict[str, str]]) -> list[int]:
        """Tokens of a conversation in the template, as in training: names of special tokens in its texts are text."""
        if not self.tokenizer.chat_template:
            ids = list(self.tokenizer(_transcript(messages), split_special_tokens=True).input_ids)
            return ids[: len(ids) - appended(self.tokenizer)]
        options = {"add_generation_prompt": True, "sanitize_control_tokens": True, "return_dict": False}
        return list(self.tokenizer.apply_chat_template(messages, **options))


def appended(tokenizer: Any) -> int:
    """Tokens that the tokenizer puts after every text, such as an end of sequence, but that no prompt had in training."""
    whole, bare = (list(tokenizer("a", add_special_tokens=special).input_ids) for special in (True, False))
    starts = [start for start in range(len(whole)) if bare and whole[start : start + len(bare)] == bare]
    return len(whole) - starts[0] - len(bare) if starts else 0


def _transcript(messages: list[dict[str, str]]) -> str:
    if [message["role"] for message in messages] == ["user"]:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


mlflow.models.set_model(ServedPolicy())
