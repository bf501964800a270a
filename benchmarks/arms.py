"""One side of a comparison, in a process of its own: it takes a training step when it is told to, and says what that took."""

import json
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, Shape, score
from ratchet.components.training.device_memory import peak_bytes, reset_peak

LR = 1e-6


class Turns:
    """Waits for its turn, times it, and reports it with the memory so far."""

    def __init__(self, connection: Connection, device: torch.device) -> None:
        self.connection, self.device = connection, device
        self.baseline, self._started = reset_peak(device), 0.0

    def begin(self) -> None:
        assert self.connection.recv() == "step"
        self._started = time.monotonic()

    def end(self, figures: dict[str, float] | None = None) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - self._started
        memory = {"peak": peak_bytes(self.device), "baseline": self.baseline}
        self.connection.send({"seconds": seconds, **memory, "figures": figures or {}})


def work(arm: str, shape: str, folder: str, device: str, threads: int, steps: int, connection: Connection) -> None:
    """The process of an arm: ``steps`` turns, then the end."""
    os.dup2(2, 1)  # what libraries print is not the result
    torch.set_num_threads(threads)
    arguments = (SHAPES[shape], Path(folder), torch.device(device), steps, connection)
    if arm == "trl":
        trl(*arguments)
    else:
        ours(*arguments, **SETTINGS[arm])


def ours(shape: Shape, folder: Path, device: torch.device, steps: int, connection: Connection, **settings: Any) -> None:
    """The product's own training loop; its dev evaluation is left out.

    Args:
        settings: of the recipe's section ``train``, beside those of the shape.
    """
    from ratchet.components.graders.protocol import Grade
    from ratchet.components.policy.loading import Policy, pick_device
    from ratchet.components.training.actor import Actor
    from ratchet.components.training.events import StepMetrics
    from ratchet.components.training.loop import Trainer
    from ratchet.components.training.sentinel import dev_result
    from ratchet.components.training.setting import RewardedPrompts, Setting, Storage

    train = train_section(shape, **settings)
    pick_device(device.type, train.deterministic)  # sets what the product sets
    model, tokenizer, prompts = _loaded(folder)
    turns = Turns(connection, device)
    actor = Actor(Policy(model().to(device).eval(), tokenizer, train.precision), train, seed=7)

    def reward(_: Any, texts: Any, __: Any) -> list[Grade]:
        return [Grade(score(text), {}) for text in texts]

    rows = [{"id": str(i), "prompt": prompt, "answer": "1"} for i, prompt in enumerate(prompts)]
    setting = Setting(
        train=train,
        seed=7,
        task=RewardedPrompts(rows, shape.new_tokens, reward, gold=reward),  # nothing to grade twice
        evaluate=lambda _: dev_result({"eval_sampled_accuracy": 0.5}, [0.0, 1.0], [0.0, 1.0]),
        storage=Storage(folder / "checkpoints" / str(os.getpid())),
    )
    events = Trainer(actor, None, setting).run()
    next(events), next(events)  # the evaluation before training, and its checkpoint
    for _ in range(steps):
        turns.begin()
        event = next(events)
        assert isinstance(event, StepMetrics)
        turns.end(dict(event.values))


def train_section(shape: Shape, **settings: Any) -> Any:
    """The recipe's section of a shape: GRPO without a KL term, and no rule that could end training."""
    from ratchet.components.recipe import Train

    quiet = {"looks": [], "patience": 10**6, "gap": None, "gradient": None, "kl": None}
    section: dict[str, Any] = {"algorithm": "grpo", "kl": "none", "steps": 10**6, "evaluate_every": 10**6, "sentinel": quiet}
    return Train.model_validate({**section, "prompts": shape.prompts, "k": shape.k, "lr": LR, **settings})


def trl(shape: Shape, folder: Path, device: torch.device, steps: int, connection: Connection) -> None:
    """TRL's GRPO, with as many rows in a forward pass as the shape states."""
    from benchmarks.trl import train_grpo

    model, tokenizer, prompts = _loaded(folder)
    turns = Turns(connection, device)

    def scores(completions: list[str], **_: Any) -> list[float | None]:
        return [score(completion) for completion in completions]

    train_grpo(
        model(),
        tokenizer,
        prompts,
        scores,
        folder=folder / "trl",
        device=device,
        on_step_begin=turns.begin,
        on_step_end=lambda _: turns.end(),
        max_steps=steps,
        per_device_train_batch_size=shape.trl_rows,
        gradient_accumulation_steps=shape.prompts * shape.k // shape.trl_rows,
        num_generations=shape.k,
        max_completion_length=shape.new_tokens,
        temperature=1.0,
        learning_rate=LR,
    )


def _loaded(folder: Path) -> tuple[Callable[[], Any], Any, list[str]]:
    """How to load the model in fp32, the tokenizer, the prompts."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    path = folder / "model"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    prompts: list[str] = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    return lambda: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), tokenizer, prompts


SETTINGS: dict[str, dict[str, Any]] = {  # of the product's arms
    "ours": {},
    "ours_any_order": {"deterministic": False},
    "ours_bf16": {"precision": "bf16"},
    "ours_checkpointed": {"gradient_checkpointing": True},
    "ppo": {"algorithm": "ppo", "critic": {"warmup_steps": 0}},  # its own critic learns from the first step
}
