"""A reward model: a sequence classifier with one label, loaded safely, that scores texts."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from ratchet.components.errors import ModelError
from ratchet.components.graders.protocol import Grade
from ratchet.components.pretrained.chat import encode_messages, encode_prompt, end_of_turn
from ratchet.components.pretrained.loading import Source
from ratchet.components.pretrained.template_date import date_tokenizer
from ratchet.components.randomness import torch_seed
from ratchet.components.rewards.learned.packed_scores import can_pack, packed_scores
from ratchet.components.rewards.learned.perturbations import plain
from ratchet.components.storage.files import read_json, write_json

ROWS_AT_ONCE = 256
PROBED = 4  # short sequences by which a model shows, with a long one, that it can be packed
PROMPTS_KEPT = 2**15  # as tokens: checks score one prompt with many completions
CALIBRATION = "calibration.json"
REMEDY = "Check reward.model.base and reward.model.pretrained."

Asked = str | tuple[tuple[str, str], ...]  # what a completion answers: a prompt, or the turns (role, text) of a conversation


def asked_of(row: Mapping[str, Any], prompt: str | None = None) -> Asked:
    """What a row asks: its ``messages``, if it has such, else its prompt or the one given."""
    if row.get("messages"):
        return tuple((turn["role"], turn["content"]) for turn in row["messages"])
    return row["prompt"] if prompt is None else prompt


def _encode_asked(tokenizer: PreTrainedTokenizerBase, asked: Asked) -> list[int]:
    if isinstance(asked, str):
        return encode_prompt(tokenizer, asked)
    return encode_messages(tokenizer, [{"role": role, "content": text} for role, text in asked])


class RewardModel:
    """A sequence classifier with one label, and its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, temperature: float = 1.0) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._prompt_tokens = lru_cache(PROMPTS_KEPT)(partial(_encode_asked, tokenizer))
        self.temperature = temperature  # scores are logits divided by this, so that sigmoid(difference) is a probability
        self._packs: bool | None = None  # unknown until there are sequences that begin alike

    @classmethod
    def from_trunk(
        cls,
        source: str | Path,
        seed: int,
        device: torch.device,
        revision: str | None = None,
        template_date: str | None = None,
    ) -> "RewardModel":
        """Warm start from a causal language model's trunk; the score head is initialised from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "reward_head"))
            return cls.load(source, device, revision, new_head=True, template_date=template_date)

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: torch.device,
        revision: str | None = None,
        new_head: bool = False,
        template_date: str | None = None,
    ) -> "RewardModel":
        """Load a directory or hub id of a sequence classifier with one label (safetensors only, no remote code).

        Args:
            new_head: whether the score head may be missing and initialised at random.
            template_date: as for :func:`ratchet.components.policy.loading.load_policy`.

        Raises:
            ModelError: if it cannot be loaded safely, its weights are incomplete or not finite, or its head has several labels.
        """
        origin = Source(source, revision, "the reward model", REMEDY)
        model, tokenizer = origin.load(AutoModelForSequenceClassification, new_head, num_labels=1)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.eos_token_id is None:
            raise ModelError(f"the tokenizer of {source} has no end-of-sequence token. Set one and save it again.")
        model.config.pad_token_id = tokenizer.pad_token_id
        if template_date is not None:
            date_tokenizer(tokenizer, template_date)
        return cls(model.to(device).eval(), tokenizer, _temperature(source))

    def save(self, path: Path) -> None:
        """Save weights as safetensors, the tokenizer, and the temperature in ``calibration.json``."""
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        write_json(path / CALIBRATION, {"temperature": self.temperature})

    def encode(self, prompts: Sequence[Asked], completions: Sequence[str]) -> list[list[int]]:
        """Token ids of what was asked in the model's template, its completion, and the end of its turn, B.

        A completion is tokenized separately, as a policy writes it: no token spans the end of the prompt. What a reader cannot
        see is removed first, so that it cannot change a score.
        """
        if not completions:
            return []
        texts = [plain(completion) for completion in completions]
        answers = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids
        end = self._end_of_turn()
        return [[*self._prompt_tokens(prompt), *answer, end] for prompt, answer in zip(prompts, answers, strict=True)]

    def _end_of_turn(self) -> int:
        """The special token with which the template ends an assistant's turn; end-of-sequence if it writes none."""
        special = {*self.tokenizer.all_special_ids} - {self.tokenizer.unk_token_id}
        return end_of_turn(self.tokenizer, [int(self.tokenizer.eos_token_id), *special])

    def forward(self, sequences: Sequence[Sequence[int]], together: int = ROWS_AT_ONCE) -> Tensor:
        """Logits [B] of token sequences: packed if the model can be, so that what they share is computed once.

        Else at most ``together`` of similar length per pass, so that little of it is padding.
        """
        if min(map(len, sequences)) > 1 and self._can_pack(sequences):
            return packed_scores(self.model, sequences, self.tokenizer.pad_token_id)
        order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
        chunks = [order[start : start + together] for start in range(0, len(order), together)]
        found = torch.cat([self._padded([sequences[i] for i in chunk]) for chunk in chunks])
        # The argsort of a permutation is its inverse: back to the order of the caller.
        return found[torch.tensor(order, device=found.device).argsort()]

    def _can_pack(self, sequences: Sequence[Sequence[int]]) -> bool:
        if self._packs is None:
            by_length = sorted(sequences, key=len)
            example = [*by_length[:PROBED], by_length[-1]]
            training = self.model.training
            with torch.no_grad():
                self.model.eval()  # dropout would differ
                self._packs = can_pack(self.model, self._padded(example), example, self.tokenizer.pad_token_id)
                self.model.train(training)
        return self._packs

    def _padded(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        width, pad = max(map(len, sequences)), self.tokenizer.pad_token_id
        ids = torch.tensor([list(s) + [pad] * (width - len(s)) for s in sequences], device=self.model.device)
        mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences], device=self.model.device)
        scores: Tensor = self.model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return scores.float()

    def score(self, prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        """Calibrated scores. Equal texts are scored once, so that they get equal scores in any batch."""
        texts = list(dict.fromkeys(zip(prompts, completions, strict=True)))
        if not texts:
            return []
        with torch.inference_mode():
            values = (self.forward(self.encode(*zip(*texts, strict=True))) / self.temperature).tolist()
        scores = dict(zip(texts, values, strict=True))
        return [scores[text] for text in zip(prompts, completions, strict=True)]

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        """The reward protocol; a conversation is read with its roles."""
        asked = [asked_of(row, prompt) for prompt, row in zip(prompts, rows, strict=True)]
        return [Grade(value, {"model": value}) for value in self.score(asked, completions)]


def _temperature(source: str | Path) -> float:
    """The temperature stored with the weights; 1 if there is none."""
    path = Path(source) / CALIBRATION
    if not path.is_file():
        return 1.0
    value = read_json(path).get("temperature")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
        raise ModelError(f"{path} contains temperature {value!r}. Train the reward model again, or delete that file.")
    return float(value)


def add_lora(reward_model: RewardModel, rank: int, alpha: int, seed: int) -> RewardModel:
    """The reward model with adapters on every linear layer; only they and the score head are trainable.

    Raises:
        ModelError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError(
            "reward.model.lora needs peft, which is not installed. Run: pip install 'ratchet-rl[lora]'."
        ) from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped: Any = get_peft_model(reward_model.model, config)
    return RewardModel(wrapped, reward_model.tokenizer, reward_model.temperature)


def merge_lora(reward_model: RewardModel) -> RewardModel:
    """The reward model with the adapters merged into its weights and removed."""
    model: Any = reward_model.model
    return RewardModel(model.merge_and_unload().eval(), reward_model.tokenizer, reward_model.temperature)
