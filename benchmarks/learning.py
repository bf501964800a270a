"""Does every preset learn? Sampled dev accuracy on the quickstart within one budget of samples, beside TRL's GRPO.

Usage: ``python -m benchmarks.learning [--budget 25600] [--seeds 3] [--only grpo ppo trl_grpo]``

All runs start from the same warmed-up policy, see the same prompts' distribution, reward and learning rate, and are scored
on the same dev items; seconds are those of training steps, without the evaluations. Finished runs are kept under
``.ratchet/benchmarks/learning`` and not run again. Prints a Markdown table and writes the curves to docs/learning.svg.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.quickstart import Quickstart, kept, measured, prepared
from benchmarks.report import save, subplots
from ratchet.components.recipe.presets import PRESETS

if TYPE_CHECKING:
    from ratchet.components.policy.loading import Policy

PEER = "trl_grpo"
EVALUATE_EVERY = 20
RAISE = 0.2  # the goal
SAME = ("train.lr_warmup=0", "train.sentinel.looks=[]", "evaluation.dev_items=400")  # for presets and peer


Result = dict[str, Any]  # curve: [samples, seconds, accuracy] at each evaluation; stopped; PPO's explained_variance


def train_preset(start: Quickstart, algorithm: str, seed: int, budget: int, folder: Path) -> Result:
    """One run of ours up to the budget of samples."""
    steps = budget // start.samples_per_step
    recipe = start.recipe(*SAME, f"train.algorithm={algorithm}", f"train.steps={steps}", f"seed={seed}")
    trainer = start.trainer(recipe, folder)
    curve, explained = [], []
    for samples, seconds, values in measured(trainer):
        if "explained_variance" in values:
            explained.append(values["explained_variance"])
        if "eval_sampled_accuracy" in values:
            curve.append([samples, seconds, values["eval_sampled_accuracy"]])
            if samples >= budget:
                break
    final = {"explained_variance": statistics.mean(explained[-20:])} if explained else {}
    return {"curve": curve, "stopped": trainer.progress.stopped, **final}


def train_trl(start: Quickstart, seed: int, budget: int, folder: Path) -> Result:
    """TRL's GRPO with the same model, prompts, reward and optimiser settings; loss_type grpo, no KL term."""
    import torch

    from benchmarks.trl import train_grpo

    recipe = start.recipe(*SAME, f"seed={seed}")
    train, policy, reward = recipe.train, start.policy(), start.reward(recipe)
    by_prompt = {policy.tokenizer.decode(policy.encode_prompt(row["prompt"])): row for row in start.rows("train")}

    def scores(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
        matched = [by_prompt[prompt] for prompt in prompts]
        return [s.score for s in reward([row["prompt"] for row in matched], completions, matched)]

    clock = _Clock(policy, start.evaluation(recipe), start.samples_per_step)
    clock.evaluate(0)
    train_grpo(
        policy.model,
        policy.tokenizer,
        list(by_prompt),
        scores,
        folder=folder,
        device=torch.device("cpu"),
        on_step_begin=clock.begin,
        on_step_end=clock.end,
        seed=seed,
        max_steps=budget // start.samples_per_step,
        per_device_train_batch_size=start.samples_per_step,
        num_generations=train.group_size,
        max_completion_length=recipe.policy.max_new_tokens,
        temperature=train.sampling.temperature,
        learning_rate=train.lr,
        lr_scheduler_type="linear",
        adam_beta2=0.98,
        max_grad_norm=train.max_grad_norm,
    )
    return {"curve": clock.curve, "stopped": None}


class _Clock:
    """Seconds of the peer's steps, and its dev accuracy now and then."""

    def __init__(self, policy: "Policy", evaluate: Callable[["Policy"], Any], samples_per_step: int) -> None:
        self.policy, self.evaluation, self.samples_per_step = policy, evaluate, samples_per_step
        self.seconds, self.began = 0.0, 0.0
        self.curve: list[list[float]] = []

    def begin(self) -> None:
        self.began = time.monotonic()

    def end(self, step: int) -> None:
        self.seconds += time.monotonic() - self.began
        if step % EVALUATE_EVERY == 0:
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        """In evaluation mode, as ours are; the trainer's mode comes back afterwards."""
        training = self.policy.model.training
        self.policy.model.eval()
        accuracy = self.evaluation(self.policy).figures["eval_sampled_accuracy"]
        self.curve.append([step * self.samples_per_step, self.seconds, accuracy])
        self.policy.model.train(training)


def runs(start: Quickstart, names: Sequence[str], seeds: int, budget: int, folder: Path) -> Iterator[tuple[str, Result]]:
    """Every run, from its file where it is finished; seeds are the outer loop, so that all meet the machine's busy hours."""
    for seed in range(1, seeds + 1):
        for name in names:
            path = folder / f"{name}-{seed}-{budget}.json"
            given = (seed, budget, path.with_suffix(""))
            result = kept(
                path, partial(train_trl, start, *given) if name == PEER else partial(train_preset, start, name, *given)
            )
            print(f"{name:14} seed {seed}: {result['curve'][0][2]:.3f} -> {result['curve'][-1][2]:.3f}", flush=True)
            yield name, result


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """A row per preset, best first: accuracy at the budget over the seeds, and what it cost to get 0.2 up."""
    lines = [
        "| preset | dev accuracy at the budget, each seed | median raise | samples to +0.2 | seconds to +0.2 | seconds in all "
        "| explained variance |",
        "|---|---|---|---|---|---|---|",
    ]
    ranked = sorted(results, key=lambda name: -_median(results[name], lambda r: r["curve"][-1][2]))
    for name in ranked:
        found = results[name]
        ends = ", ".join(f"{r['curve'][-1][2]:.3f}" for r in found)
        raised = _median(found, lambda r: r["curve"][-1][2] - r["curve"][0][2])
        samples, seconds = (_median(found, lambda r, i=i: _reached(r["curve"], i)) for i in (0, 1))
        whole = _median(found, lambda r: r["curve"][-1][1])
        explained = f"{_median(found, lambda r: r['explained_variance']):.2f}" if "explained_variance" in found[0] else ""
        lines.append(f"| {name} | {ends} | {raised:+.3f} | {samples:,.0f} | {seconds:.0f} | {whole:.0f} | {explained} |")
    return "\n".join(lines)


def _median(results: list[dict[str, Any]], figure: Callable[..., float]) -> float:
    return statistics.median(figure(result) for result in results)


def _reached(curve: list[list[float]], column: int) -> float:
    """Samples (0) or seconds (1) at the first evaluation that is RAISE above the first; infinity if none is."""
    return next((point[column] for point in curve if point[2] >= curve[0][2] + RAISE), float("inf"))


def plot(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Median accuracy over the seeds, by samples and by seconds."""
    figure, axes = subplots(1, 2, figsize=(12, 4.5), sharey=True)
    for name, found in results.items():
        length = min(len(r["curve"]) for r in found)
        columns = [[statistics.median(r["curve"][i][c] for r in found) for i in range(length)] for c in range(3)]
        style = {"color": "black", "linestyle": "--", "label": "TRL GRPO"} if name == PEER else {"label": name}
        for axis, column in zip(axes, columns[:2], strict=True):
            axis.plot(column, columns[2], linewidth=1.6, **style)
    axes[0].set(xlabel="samples drawn", ylabel="dev accuracy, sampled (median of the seeds)")
    axes[1].set(xlabel="seconds of training steps")
    axes[1].legend(loc="lower right", fontsize=8)
    save(figure, path)


def main() -> None:
    """Run, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=25_600, help="samples that a run may draw")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*PRESETS, PEER], default=[*PRESETS, PEER])
    parser.add_argument("--plot", type=Path, default=Path("docs/learning.svg"))
    arguments = parser.parse_args()
    start = prepared()
    folder = start.folder / "learning"
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, result in runs(start, arguments.only, arguments.seeds, arguments.budget, folder):
        results.setdefault(name, []).append(result)
    print(f"\nBudget: {arguments.budget:,} samples per run; {arguments.seeds} seeds; {start.machine()}\n")
    print(table(results))
    plot(results, arguments.plot)


if __name__ == "__main__":
    main()
