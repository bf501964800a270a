"""Ten steps of every preset on the toy task, and the numbers that they are known to give.

Regenerate them with ``python -m tests.training.golden`` (a minute or two) after a change that is meant to change them; the
difference of ``golden.json`` then shows what it changed.
"""

import json
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ratchet.components.policy.engines.engine import Completion, RolloutEngine, SamplingRequest
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.loading import Policy
from ratchet.components.randomness import uniforms
from ratchet.components.recipe.presets import PRESETS
from ratchet.components.training.loop import Trainer
from tests.training.toy import build, finish, policy_weights, setting, short, steps_of

GOLDEN = Path(__file__).with_name("golden.json")
COLUMNS = ("reward", "loss", "grad_norm", "entropy")
MARGIN = 5e-6  # other processors moved the cumulative probabilities by at most 2e-6 in ten steps

Trajectory = dict[str, list[float]]

_COMMON: dict[str, Any] = {
    "steps": 10,
    "evaluate_every": 10,
    "lr": 1e-3,
    "epochs": 1,
    "minibatches": 3,
    "critic": {"warmup_steps": 2},
}
RUNS: dict[str, dict[str, Any]] = {
    **{algorithm: {"algorithm": algorithm} for algorithm in PRESETS},
    "ppo, shared trunk": {"algorithm": "ppo", "critic": {"trunk": "shared", "warmup_steps": 2}},
    "grpo, adapter": {"algorithm": "grpo", "lora": {"rank": 4}},
}


def trained(name: str, seed: int, checkpoints: Path, engine: RolloutEngine = generate) -> tuple[Trainer, Trajectory]:
    """Run one of ``RUNS``: figures of each step that has them, and the sum of squares of the weights at the end."""
    train = short(**{**_COMMON, **RUNS[name]})
    trainer = build(setting(checkpoints, train, seed=seed, engine=engine))
    steps = steps_of(finish(trainer))
    trajectory = {column: [values[column] for values in steps if column in values] for column in COLUMNS}
    squares = sum(float(weight.double().square().sum()) for weight in policy_weights(trainer))
    return trainer, {**trajectory, "weights": [squares]}


class NearlyAnotherTokenError(Exception):
    """A draw that the last digits of a probability could turn."""


def careful(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
    """The usual engine, which refuses draws within ``MARGIN`` of the edge between two tokens.

    Raises:
        NearlyAnotherTokenError: then the run must have another seed, or it may go another way on another processor.
    """
    groups, seed = generate(policy, request), request.seed
    for prompt, item, group in zip(request.prompts, request.items, groups, strict=True):
        for sample, completion in enumerate(group):
            draws = uniforms(seed.seed, seed.purpose, seed.step, [item], [sample], len(completion.tokens))
            with torch.no_grad():
                logits = policy.model(input_ids=torch.tensor([[*prompt, *completion.tokens]])).logits[0, len(prompt) - 1 : -1]
            edges = logits.softmax(-1).double().cumsum(-1)[:, :-1]
            if (edges - torch.from_numpy(draws).T).abs().min() < MARGIN:
                raise NearlyAnotherTokenError
    return groups


def robust(name: str) -> dict[str, Any]:
    """The seed of the first run without such a draw, and its trajectory."""
    for seed in count():
        with tempfile.TemporaryDirectory() as folder:
            try:
                return {"seed": seed, **trained(name, seed, Path(folder), careful)[1]}
            except NearlyAnotherTokenError:
                continue
    raise AssertionError("there is always another seed")


def _text(runs: dict[str, dict[str, Any]]) -> str:
    """JSON with one line for each figure of a run."""
    parts = []
    for name, run in runs.items():
        rounded = {key: [float(f"{v:.7g}") for v in value] if isinstance(value, list) else value for key, value in run.items()}
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in rounded.items())
        parts.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    GOLDEN.write_text(_text({name: robust(name) for name in RUNS}), encoding="utf-8")
