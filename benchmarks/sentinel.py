"""Does the sentinel end training before a bad reward has done its harm? The quickstart, with the sentinel and without.

Usage: ``python -m benchmarks.sentinel [--steps 140] [--only length model]``

Two rewards that can be hacked: ``length`` pays a completion's characters, ``model`` is the quickstart's reward model alone,
with no KL term. Gold is the verifier on the dev split, proxy the training reward on the same samples. Without: every rule
is off, and the run otherwise the same, draw by draw. Finished runs are kept under ``.ratchet/benchmarks/sentinel`` and not run
again. Prints a Markdown table and writes the curves to docs/sentinel.svg.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from benchmarks.quickstart import Quickstart, kept, prepared
from benchmarks.report import save, subplots
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import Sentinel

CASES: dict[str, list[str]] = {
    "length": ["train.kl=none"],
    "model": ["reward.kind=model", "train.kl=none"],
}
TITLES = {"length": "paid by length", "model": "reward model alone, no KL term"}
EVALUATE_EVERY = 10  # finer than the recipe's, for the curves

Result = dict[str, Any]  # curve: [step, gold, proxy] of each evaluation; stop, or None; best_step


def paid_by_length(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """A reward that should not be trained against."""
    return [Grade(len(text) / 100, {}) for text in completions]


def rules_off() -> list[str]:
    """Overrides that switch off every rule that can be."""
    return [
        f"train.sentinel.{n}=null" for n, field in Sentinel.model_fields.items() if type(None) in get_args(field.annotation)
    ]


def train(start: Quickstart, case: str, watched: bool, steps: int, folder: Path) -> Result:
    """One run to its end, or to where the sentinel ends it."""
    from ratchet.components.training.events import StepMetrics

    settings = [*CASES[case], f"train.steps={steps}", f"train.evaluate_every={EVALUATE_EVERY}"]
    recipe = start.recipe(*settings, *([] if watched else rules_off()))
    trainer = start.trainer(recipe, folder, paid_by_length if case == "length" else start.reward(recipe))
    evaluations = [e for e in trainer.run() if isinstance(e, StepMetrics) and "eval_proxy" in e.values]
    curve = [[e.step, e.values["eval_sampled_accuracy"], e.values["eval_proxy"]] for e in evaluations]
    stop = trainer.progress.stop
    return {"curve": curve, "stop": stop and stop._asdict(), "best_step": trainer.progress.best_step}


def runs(start: Quickstart, cases: Sequence[str], steps: int, folder: Path) -> dict[tuple[str, bool], Result]:
    """Every case with the sentinel and without, from its file where it is finished."""
    results = {}
    for case in cases:
        for watched in (True, False):
            path = folder / f"{case}-{'watched' if watched else 'unwatched'}-{steps}.json"
            results[case, watched] = kept(path, partial(train, start, case, watched, steps, path.with_suffix("")))
            print(f"{path.stem}: {results[case, watched]['stop']}", flush=True)
    return results


def table(results: Mapping[tuple[str, bool], Result]) -> str:
    """A row per run: where it ended and why, gold there, and gold of the checkpoint that it hands over."""
    lines = [
        "| reward | sentinel | ended at step | because of | gold at the start | gold at the end | proxy, start to end "
        "| gold of the checkpoint handed over (step) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (case, watched), result in results.items():
        curve, stop = result["curve"], result["stop"]
        best = next(gold for step, gold, _ in curve if step == result["best_step"])
        (_, first, low), (last_step, last, high) = curve[0], curve[-1]
        reason = stop["reason"] if stop else "its steps"
        lines.append(
            f"| {TITLES[case]} | {'on' if watched else 'off'} | {last_step} | {reason} | {first:.3f} "
            f"| {last:.3f} | {low:.2f} to {high:.2f} | {best:.3f} ({result['best_step']}) |"
        )
    return "\n".join(lines)


def plot(results: Mapping[tuple[str, bool], Result], path: Path) -> None:
    """A panel per case: gold and proxy of the whole run, and where the watched one ended."""
    cases = list(dict.fromkeys(case for case, _ in results))
    figure, panels = subplots(1, len(cases), figsize=(6 * len(cases), 4), squeeze=False)
    for axis, case in zip(panels[0], cases, strict=True):
        other = axis.twinx()
        for watched, style in ((False, {"alpha": 0.45}), (True, {"marker": "o", "markersize": 3})):
            steps, gold, proxy = zip(*results[case, watched]["curve"], strict=True)
            label = "with the sentinel" if watched else "without"
            axis.plot(steps, gold, color="#28508c", label=f"gold (accuracy), {label}", **style)
            other.plot(steps, proxy, color="#b3261e", linestyle="--", label=f"proxy (reward), {label}", **style)
        stop = results[case, True]["stop"]
        if stop:
            axis.axvline(stop["step"], color="black", linewidth=0.8)
            axis.set_title(f"{TITLES[case]}: stopped at {stop['step']}, {stop['reason']}", fontsize=10)
        axis.set(xlabel="training step", ylabel="gold: dev accuracy, sampled", ylim=(0, 1))
        other.set_ylabel("proxy: mean reward on dev")
        axis.legend(handles=[*axis.get_lines()[:2], *other.get_lines()], fontsize=7, loc="center right")
    save(figure, path)


def main() -> None:
    """Run, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=140)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--plot", type=Path, default=Path("docs/sentinel.svg"))
    arguments = parser.parse_args()
    start = prepared()
    folder = start.folder / "sentinel"
    folder.mkdir(parents=True, exist_ok=True)
    results = runs(start, arguments.only, arguments.steps, folder)
    print(f"\n{start.machine()}\n")
    print(table(results))
    plot(results, arguments.plot)


if __name__ == "__main__":
    main()
