"""A Bradley-Terry reward model: train it on preference pairs, score texts with it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from components.chat import encode_prompt
from components.errors import ModelError
from components.randomness import batch_indices, stream, torch_seed
from components.rewards.protocol import Score

ROWS_AT_ONCE = 256


class RewardStep(NamedTuple):
    """One training step's figures."""

    step: int
    loss: float
    accuracy: float


class RewardModel:
    """A sequence classifier with one label, and its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_trunk(cls, source: str | Path, seed: int, device: torch.device) -> "RewardModel":
        """Warm start from a causal language model's trunk; the score head is drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "reward_head"))
            return cls.load(source, device)

    @classmethod
    def load(cls, source: str | Path, device: torch.device) -> "RewardModel":
        """Load a model directory (safetensors only).

        Raises:
            ModelError: if it cannot be loaded.
        """
        options: dict[str, Any] = {"trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model = AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=1, use_safetensors=True, dtype=torch.float32, **options
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(f"cannot load the reward model {source}: {first}. Check reward.model.base.") from error
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
        return cls(model.to(device).eval(), tokenizer)

    def save(self, path: Path) -> None:
        """Save weights as safetensors, and the tokenizer."""
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)

    def encode(self, prompt: str, completion: str) -> list[int]:
        """Token ids of a prompt in the model's template, the completion, and end-of-sequence."""
        answer = self.tokenizer(completion, add_special_tokens=False, split_special_tokens=True).input_ids
        return [*encode_prompt(self.tokenizer, prompt), *answer, self.tokenizer.eos_token_id]

    def forward(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Scores [B] of token sequences."""
        width, pad = max(map(len, sequences)), self.tokenizer.pad_token_id
        ids = torch.tensor([list(s) + [pad] * (width - len(s)) for s in sequences], device=self.model.device)
        mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences], device=self.model.device)
        scores: Tensor = self.model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return scores.float()

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Raw scores. Equal texts are scored once, so that they get equal scores whatever batch they stand in."""
        texts = list(dict.fromkeys(zip(prompts, completions, strict=True)))
        encoded = [self.encode(*text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: (len(encoded[i]), i))
        scores: dict[tuple[str, str], float] = {}
        with torch.inference_mode():
            for start in range(0, len(order), ROWS_AT_ONCE):
                chunk = order[start : start + ROWS_AT_ONCE]
                values = self.forward([encoded[i] for i in chunk]).tolist()
                scores.update({texts[i]: value for i, value in zip(chunk, values, strict=True)})
        return [scores[text] for text in zip(prompts, completions, strict=True)]

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        """The reward protocol."""
        return [Score(value, {"model": value}) for value in self.score(prompts, completions)]


def train_reward_model(
    reward_model: RewardModel,
    pairs: Sequence[Mapping[str, Any]],
    *,
    steps: int,
    batch: int,
    lr: float,
    label_noise: float,
    seed: int,
) -> Iterator[RewardStep]:
    """Minimise -log sigmoid(r_chosen - r_rejected) (Bradley-Terry).

    Args:
        pairs: rows with prompt, chosen, rejected.
        label_noise: share of these pairs whose labels are flipped before training.

    The learning rate ramps up over 20 steps and decays linearly to a tenth.
    """
    flips = stream(seed, "label_noise").random(len(pairs)) < label_noise
    encoded = []
    for row, flip in zip(pairs, flips, strict=True):
        chosen, rejected = (row["rejected"], row["chosen"]) if flip else (row["chosen"], row["rejected"])
        encoded.append((reward_model.encode(row["prompt"], chosen), reward_model.encode(row["prompt"], rejected)))
    model = reward_model.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    factor = lambda s: min(1.0, (s + 1) / 20) * max(0.1, 1 - s / steps)  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    for step in range(steps):
        chosen, rejected = zip(*(encoded[i] for i in batch_indices(seed, "pairs", step, batch, len(encoded))), strict=True)
        scores = reward_model.forward([*chosen, *rejected])
        margin = scores[: len(chosen)] - scores[len(chosen) :]
        loss = -torch.nn.functional.logsigmoid(margin).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield RewardStep(step, loss.item(), float((margin > 0).float().mean()))
    model.eval()
