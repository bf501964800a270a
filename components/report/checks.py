"""The checks of gold and reward in words for a reader who knows neither their names nor this software."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Unit = Literal["share", "number", "sd", "none"]
LIGHTS = {"failed": "bad", "waived": "warn", "not measured": "", "passed": "good"}  # the worst first


class Words(NamedTuple):
    """What a check is called, what it means, how its figure reads, and on which side of its threshold it must be."""

    title: str
    meaning: str
    unit: Unit = "share"
    asked: str = "at least"


WORDS = {
    "gold_references": Words("References are right", "The share of the data's own reference answers that the grader accepts."),
    "gold_planted": Words(
        "Wrong answers are caught",
        "Answers were made wrong on purpose, in several ways. This is the share that counted as right, in the worst way.",
        asked="at most",
    ),
    "gold_stable": Words(
        "The same grade twice",
        "The share of answers whose grade changes when they are graded again in another order.",
        asked="at most",
    ),
    "gold_alone": Words(
        "Company does not matter", "The share of answers whose grade depends on what else is graded with them.", asked="at most"
    ),
    "gold_faults": Words("The grader does not fail", "The share of answers that the grader failed to grade.", asked="at most"),
    "gold_parsed": Words(
        "Answers can be read", "The share of the untrained model's answers in which the grader finds an answer, right or wrong."
    ),
    "gold_signal": Words(
        "There is something to learn",
        "The untrained model's mean score: it must be right sometimes, but not always.",
        asked="limit",
    ),
    "identity": Words(
        "It is the reward that was checked", "The files that give the reward are those that were validated.", "none"
    ),
    "pair_accuracy": Words(
        "The better answer gets more",
        "Of two answers, how often the reward prefers the better one, on pairs kept aside for this.",
    ),
    "length_baseline": Words(
        "It is more than length", "How much more often that is right than a preference for the longer, or the shorter, answer."
    ),
    "short_chosen_accuracy": Words(
        "Short answers can win", "How often the reward prefers the better answer where that is the shorter one."
    ),
    "worst_subset": Words(
        "No part is left out",
        "How often the reward prefers the better answer, in the worst of the parts of the task that the recipe names.",
    ),
    "calibration": Words(
        "Its confidence is honest",
        "How far the reward model's stated confidence is from how often it is right.",
        asked="at most",
    ),
    "batch_invariance": Words(
        "Neighbours do not matter", "How much a score changes when other answers are scored beside it.", "sd", "at most"
    ),
    "padding_invariance": Words(
        "Padding does not matter", "How much a score changes when a much longer text is scored beside it.", "sd", "at most"
    ),
    "text_invariance": Words(
        "Spaces do not matter", "How much a score changes with trailing spaces, line ends or forms of Unicode.", "sd", "at most"
    ),
    "format_perturbation": Words(
        "Layout does not matter", "How often the better answer stops winning when both get another layout.", asked="at most"
    ),
    "hack_strings": Words(
        "Tricks do not pay",
        "Where empty, repeated or boasting answers rank among real ones: 0% is below all of them, 100% above.",
        asked="at most",
    ),
    "sycophancy": Words("Flattery does not pay", "What a wrong answer gains when the question suggests it.", "sd", "at most"),
    "finiteness": Words("Every reward is a number", "The share of rewards that are finite numbers."),
    "range": Words("Rewards differ", "The highest reward given, less the lowest.", "number", "more than"),
    "length_correlation": Words(
        "Length is not paid",
        "How strongly the reward follows length among answers that are equally right.",
        "number",
        "at most",
    ),
    "agreement": Words(
        "It agrees with the goal",
        "Of a right and a wrong answer to one question, how often the right one gets more. Chance is 50%.",
    ),
    "silent_groups": Words(
        "Answers get different rewards",
        "The share of questions whose sampled answers all get one reward, so that nothing is learned from them.",
        asked="at most",
    ),
    "noise": Words(
        "The reward repeats itself",
        "The share of the differences in reward that recurs when the same answers are scored again.",
    ),
    "best_of_n": Words(
        "Choosing by it does not backfire",
        "How much worse the goal gets when the reward chooses the best of more answers; below 0 it gets better.",
        asked="at most",
    ),
}


@dataclass(frozen=True)
class Shown:
    """A check as a page shows it."""

    title: str
    meaning: str
    state: str  # passed, failed, waived, not measured
    light: str
    measured: str  # "" if it has no figure
    asked: str
    detail: str
    remedy: str  # of a failure
    name: str  # by which a recipe may waive it
    empty: bool  # there was nothing to measure


def words_of(name: str) -> Words:
    """Those of a check that this release does not know are its name."""
    return WORDS.get(name, Words(name.replace("_", " ").capitalize(), "", "number", "limit"))


def titles(names: Sequence[str]) -> str:
    """Checks by their titles, as a list within a sentence."""
    return ", ".join(f"\N{LEFT DOUBLE QUOTATION MARK}{words_of(name).title}\N{RIGHT DOUBLE QUOTATION MARK}" for name in names)


def shown_checks(checks: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """Those that failed first, then those that were waived, then those that were not measured, then those that passed."""
    ranks = list(LIGHTS)
    return sorted(map(_shown, checks), key=lambda check: ranks.index(check.state))


def _shown(check: Mapping[str, Any]) -> Shown:
    words, state, measured = words_of(check["name"]), check["state"], ""
    if check["value"] is not None and words.unit != "none":
        measured = _figure(check["value"], words.unit)
        if check["low"] is not None:
            measured += f" ({_bare(check['low'], words.unit)} to {_bare(check['high'], words.unit)})"
    asked = "" if words.unit == "none" else f"{words.asked} {_figure(check['threshold'], words.unit)}"
    remedy = check["advice"] if state == "failed" else ""
    detail = check["waived"] if state == "waived" else check.get("detail", "")
    return Shown(
        words.title, words.meaning, state, LIGHTS[state], measured, asked, detail, remedy, check["name"], check["value"] is None
    )


def _figure(value: float, unit: Unit) -> str:
    return _bare(value, unit) + {"share": "%", "sd": " sd"}.get(unit, "")


def _bare(value: float, unit: Unit) -> str:
    if unit != "share":
        return f"{value:.3g}"
    said = f"{100 * value:.1f}"
    return said.removesuffix(".0")
