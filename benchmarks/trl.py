"""TRL's GRPO with the settings that its comparisons share. Needs the extra ``bench``.

It runs as its users would run it for speed on one device: bf16 autocast on CUDA, fp32 on a CPU, no gradient checkpointing (its
default costs a third of the update), no KL term and so no reference model, its own fused AdamW and chunked log-probs (both are
its defaults), generation by transformers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Scores = Callable[..., list[float | None]]


def train_grpo(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    scores: Scores,
    *,
    folder: Path,
    device: torch.device,
    on_step_begin: Callable[[], None],
    on_step_end: Callable[[int], None],
    **settings: Any,
) -> None:
    """Train to the end of ``max_steps``.

    Args:
        scores: TRL's reward function.
        on_step_end: is given the number of steps done.
        settings: of ``GRPOConfig``, beside and over those that are shared.
    """
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            on_step_begin()

        def on_step_end(self, arguments: Any, state: Any, *_: Any, **__: Any) -> None:
            on_step_end(state.global_step)

    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=device.type == "cpu",
        bf16=device.type == "cuda",
        beta=0.0,
        loss_type="grpo",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        **settings,
    )
    data = Dataset.from_list([{"prompt": prompt} for prompt in prompts])
    GRPOTrainer(model, scores, config, data, processing_class=tokenizer, callbacks=[Clock()]).train()
