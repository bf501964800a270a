"""Which group size learns most from equally many samples, when the reward is noisy?

Usage: ``python -m benchmarks.group_size [--budget 10240] [--seeds 3] [--sizes 2 4 8 16] [--noises 0 0.2 0.4]``

Every run starts from the quickstart's warmed-up policy and draws 128 samples per step, as 128 / k prompts of k; the reward is
the verifier's, flipped with the stated probability, independently at each call. Dev accuracy is without noise. Finished runs
are kept under ``.ratchet/benchmarks/group_size`` and not run again. Prints a Markdown table, writes docs/group_size.svg.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.quickstart import Quickstart, kept, measured, prepared
from benchmarks.report import save, subplots
from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.randomness import stream

SAMPLES_PER_STEP = 128
Result = dict[str, Any]  # curve: [samples, accuracy] at each evaluation; seconds of training steps


class Flipped:
    """The verifier, whose verdict is flipped with a probability, independently at each call."""

    def __init__(self, noise: float, seed: int) -> None:
        self.noise, self.seed, self.calls = noise, seed, 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        flips = stream(self.seed, "reward_noise", self.calls).random(len(completions)) < self.noise
        self.calls += 1
        totals = [grade.score or 0.0 for grade in grade_numbers(prompts, completions, rows)]
        return [Grade(1 - total if flip else total, {}) for total, flip in zip(totals, flips, strict=True)]


def train(start: Quickstart, k: int, noise: float, seed: int, budget: int, folder: Path) -> Result:
    """One run up to the budget of samples."""
    recipe = start.recipe(
        "train.lr_warmup=0",
        "evaluation.dev_items=400",
        f"train.k={k}",
        f"train.prompts={SAMPLES_PER_STEP // k}",
        f"train.steps={budget // SAMPLES_PER_STEP}",
        f"seed={seed}",
    )
    reward: RewardFunction = Flipped(noise, seed)
    trainer = start.trainer(recipe, folder, reward)
    seconds, curve, silent = 0.0, [], []
    for samples, elapsed, values in measured(trainer):
        seconds = elapsed
        if "frac_reward_zero_std" in values:
            silent.append(values["frac_reward_zero_std"])
        if "eval_sampled_accuracy" in values:
            curve.append([samples, values["eval_sampled_accuracy"]])
    return {"curve": curve, "seconds": seconds, "silent": statistics.fmean(silent) if silent else 0.0}


def runs(
    start: Quickstart, sizes: Sequence[int], noises: Sequence[float], seeds: int, budget: int, folder: Path
) -> Iterator[tuple[int, float, Result]]:
    """Every run, from its file where it is finished; seeds are the outer loop, so that a part of the study is a whole."""
    for seed in range(1, seeds + 1):
        for noise in noises:
            for k in sizes:
                name = f"k{k}-noise{noise:g}-seed{seed}-{budget}"
                result = kept(folder / f"{name}.json", partial(train, start, k, noise, seed, budget, folder / name))
                print(f"k={k:<3} noise {noise:g} seed {seed}: {ends(result)}", flush=True)
                yield k, noise, result


def ends(result: Result) -> str:
    """``0.611 -> 0.842``."""
    return f"{result['curve'][0][1]:.3f} -> {result['curve'][-1][1]:.3f}"


Results = dict[tuple[int, float], list[Result]]


def finals(found: Sequence[Result]) -> list[float]:
    """Dev accuracy at the budget, each seed."""
    return [result["curve"][-1][1] for result in found]


def table(results: Results) -> str:
    """A row per noise, a column per group size: mean accuracy at the budget, its spread over the seeds, and zero variance."""
    sizes, noises = (sorted({key[i] for key in results}) for i in (0, 1))
    lines = [f"| noise | {' | '.join(f'k = {k}' for k in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for noise in noises:
        lines.append(f"| {noise:g} | {' | '.join(_cell(results.get((int(k), noise), [])) for k in sizes)} |")
    return "\n".join(lines)


def _cell(found: Sequence[Result]) -> str:
    if not found:
        return ""
    ended = finals(found)
    spread = f" ± {statistics.stdev(ended):.3f}" if len(ended) > 1 else ""
    return f"{statistics.fmean(ended):.3f}{spread} (silent {statistics.fmean(r['silent'] for r in found):.2f})"


def plot(results: Results, path: Path) -> None:
    """Accuracy at the budget by group size, a line per noise, with the seeds' standard deviation and the single seeds."""
    figure, axis = subplots(figsize=(7, 4.5))
    for number, noise in enumerate(sorted({noise for _, noise in results})):
        sizes = sorted(k for k, other in results if other == noise)
        ended = [finals(results[k, noise]) for k in sizes]
        places = [k * 1.03 ** (number - 1) for k in sizes]
        spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in ended]
        line = axis.errorbar(
            places, [statistics.fmean(v) for v in ended], spreads, capsize=3, marker="o", label=f"noise {noise:g}"
        )
        for place, values in zip(places, ended, strict=True):
            axis.plot([place] * len(values), values, ".", color=line[0].get_color(), alpha=0.4)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted({k for k, _ in results}), labels=[str(k) for k in sorted({k for k, _ in results})])
    axis.set(xlabel="samples per prompt (k), at equally many samples", ylabel="dev accuracy, sampled (mean, sd of the seeds)")
    axis.legend()
    save(figure, path)


def main() -> None:
    """Run, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=10_240, help="samples that a run may draw")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    parser.add_argument("--plot", type=Path, default=Path("docs/group_size.svg"))
    arguments = parser.parse_args()
    start = prepared(validated=False)
    folder = start.folder / "group_size"
    folder.mkdir(parents=True, exist_ok=True)
    results: Results = {}
    for k, noise, result in runs(start, arguments.sizes, arguments.noises, arguments.seeds, arguments.budget, folder):
        results.setdefault((k, noise), []).append(result)
    print(f"\nBudget: {arguments.budget:,} samples per run; {arguments.seeds} seeds; {start.machine()}\n")
    print(table(results))
    plot(results, arguments.plot)


if __name__ == "__main__":
    main()
