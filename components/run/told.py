"""How a run ended, in sentences for a reader who knows neither this software nor its names."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ratchet.components.evaluation.comparison import GREEDY
from ratchet.components.gate.unsealing import is_retired
from ratchet.components.recipe import Rules, headline, kind_of
from ratchet.components.records import Arm, Decoding, Outcome, Verdict, rows_name
from ratchet.components.report.checks import titles
from ratchet.components.report.effect import Effect
from ratchet.components.report.run import LABELS, interval_text
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.statistics.intervals import Interval, share_interval

if TYPE_CHECKING:
    from ratchet.components.run.record import Run

START = "the model that training started from"
KEPT = "no checkpoint was better on dev than the champion, which training started from; nothing was registered, no use counted"
NO_TRAINING = "A model that is trained on it would learn to please a wrong grader, so that nothing was trained."
AFTER_REFUSAL = (
    "Nothing has to be done. To train another candidate, change the seed, the data or the recipe: the same run again ends as "
    "unchanged. With `seed: slot`, every scheduled run trains another. If this repeats, compare the answers on the development "
    "split, under “Answers side by side” in the report: those that got worse, if any, come first."
)
FLOOR = (
    "The floor counts until there is a champion: if the figure on the development split is not well above {floor:g}, train "
    "longer, start from a better policy, or lower gate.rules.floor."
)
SAME_COMMAND = "Run the same command again to resume where it stopped."


class Told(NamedTuple):
    """Each is a sentence or more, or empty if there is nothing to say."""

    sentence: str  # what happened
    effect: str  # by how much, and how sure that is
    verdict: str  # what was decided, and why
    next: str  # what to do now

    @property
    def text(self) -> str:
        """A line each."""
        return "\n".join(part for part in self if part)


def brief(told: Told, result: RunResult) -> str:
    """How the run ended for a list of runs; with the failed checks of a refused reward."""
    return f"{told.sentence} {told.effect}".rstrip() if result.status is Status.REWARD_REFUSED else told.sentence


class Compared(NamedTuple):
    """One measure of the challenger and of the incumbent on sealed items, with the 95% interval of the gain."""

    measure: str
    ours: float
    theirs: float
    low: float
    high: float
    items: int
    counts: bool  # one answer per item, right or wrong: a share is a number of items

    @classmethod
    def of(cls, verdict: Verdict, measure: str, several: bool) -> "Compared | None":
        """None if the measure has no figures, as in verdicts of some earlier releases.

        Args:
            several: whether the gate has several primary measures, whose figures then have names of their own.
        """
        own = f"_{measure}" if several else ""
        names = [*(f"{arm}_{measure}" for arm in (Arm.CHALLENGER, Arm.INCUMBENT)), f"gain_low{own}", f"gain_high{own}", "items"]
        figures = [verdict.figures.get(name, math.nan) for name in names]
        if not all(math.isfinite(figure) for figure in figures):
            return None
        ours, theirs, low, high, items = figures
        return cls(measure, ours, theirs, low, high, int(items), kind_of(measure).binary and verdict.samples == 1)

    @property
    def decoding(self) -> Decoding:
        """How the answers were drawn that the measure is of."""
        return Decoding.GREEDY if self.measure == GREEDY else Decoding.SAMPLED

    @property
    def worse(self) -> bool:
        """Whether the whole interval of the gain is below 0."""
        return self.high < 0

    def sentence(self, version: str, rival: str) -> str:
        """Both arms on the same items."""
        unseen, begins = f"{self.items:,} unseen examples", f"{version} is worse: it" if self.worse else version
        if self.counts:
            ours, theirs = (round(value * self.items) for value in (self.ours, self.theirs))
            return f"{begins} answers {ours:,} of {unseen} right ({self.decoding}); {rival} answered {theirs:,}."
        label = LABELS.get(self.measure, self.measure)
        return f"{begins} reaches {self.ours:.3f} in {label} ({self.decoding}) on {unseen}; {rival} reached {self.theirs:.3f}."

    @property
    def effect(self) -> str:
        """The gain with its interval."""
        scale, unit = (100, " percentage points") if kind_of(self.measure).share else (1, "")
        gain, low, high = (scale * value for value in (self.ours - self.theirs, self.low, self.high))
        digits, said = 1 if scale == 100 else 3, "The gain is"
        if self.worse:
            said, gain, low, high = "It loses", -gain, -high, -low
        return f"{said} {gain:.{digits}f}{unit} (95% interval: {low:.{digits}f} to {high:.{digits}f})."


def told_of(run: "Run", result: RunResult) -> Told:
    """The end of a run. The figures of a sealed fold are told only once it is retired; before, those on dev."""
    verdict = run.ending.verdict if run.ending is not None else None
    rival = f"version {result.previous}" if result.previous else START
    retired = verdict is not None and is_retired(run.ledger, run.recipe.name, verdict)
    sealed = sealed_compared(run, verdict) if verdict is not None and retired else None
    champion = run.ledger.champion(run.recipe.name)
    stays = f"Version {champion.version} stays champion." if champion else "There is no champion yet."
    dev = run.made.dev.summary if run.made.dev else None
    if result.status is Status.PROMOTED:
        told = _promoted(result, sealed, rival, run.recipe.name)
    elif result.status is Status.REFUSED:
        told = _refused(result, verdict, sealed, _on_dev(dev, rival) if dev else "", rival, stays)
        if verdict is not None and verdict.tested and verdict.outcome is Outcome.REJECT:
            rules = run.recipe.gate.rules
            advice = f" {FLOOR.format(floor=rules.floor)}" if verdict.first_champion else ""
            told = told._replace(verdict=f"{_judged(rules, verdict, rival, retired)} {stays}", next=told.next + advice)
    else:
        return _without_verdict(result, stays)
    by_greedy = any(primary.measure == GREEDY for primary in run.recipe.gate.rules.primaries)
    greedy = _greedy_alike(dev) if dev is not None and not by_greedy else ""
    return told._replace(effect=" ".join(filter(None, [told.effect, greedy])))


def sealed_compared(run: "Run", verdict: Verdict) -> Compared | None:
    """The first primary measure on the sealed fold; None if it was not measured."""
    primaries = run.recipe.gate.rules.primaries
    return Compared.of(verdict, primaries[0].measure, len(primaries) > 1)


def effect_of(run: "Run") -> Effect | None:
    """The first picture of the report: on the sealed fold once it is retired, else on dev; None before an evaluation."""
    verdict = run.ending.verdict if run.ending is not None else None
    if verdict is not None and is_retired(run.ledger, run.recipe.name, verdict):
        found = sealed_compared(run, verdict)
        if found is not None and found.counts:
            return _sealed_effect(found, run.recipe.gate.rules.primaries[0].min_effect)
    if run.made.dev is None:
        return None
    arms = (run.made.dev.summary[rows_name(arm, Decoding.SAMPLED)] for arm in (Arm.INCUMBENT, Arm.CHALLENGER))
    before, after = (Interval(**{key: arm[headline(arm)][key] for key in ("value", "low", "high", "n")}) for arm in arms)
    name = headline(run.made.dev.summary[rows_name(Arm.CHALLENGER, Decoding.SAMPLED)])
    return Effect(
        LABELS[name],
        "of sampled answers on the development split, which training looked at",
        before,
        after,
        kind_of(name).share,
    )


def _sealed_effect(found: Compared, asked: float) -> Effect:
    before, after = (share_interval(round(value * found.items), found.items) for value in (found.theirs, found.ours))
    gain = Interval(found.ours - found.theirs, found.low, found.high, found.items)
    measure, where = f"{found.decoding} answers that are right", f"on {found.items:,} unseen examples"
    return Effect(measure, where, before, after, True, gain, asked)


def _promoted(result: RunResult, sealed: Compared | None, rival: str, model: str) -> Told:
    version, before = f"Version {result.version}", f" in place of version {result.previous}" if result.previous else ""
    return Told(
        sealed.sentence(version, rival) if sealed else f"{version} is better than {rival}.",
        sealed.effect if sealed else "",
        f"Promoted: it passed every rule of the gate on examples that training never saw. It is champion{before}.",
        f"Serve it as models:/{model}@champion (docs/serving.md); `ratchet rollback` undoes the promotion.",
    )


def _refused(result: RunResult, verdict: Verdict | None, sealed: Compared | None, on_dev: str, rival: str, stays: str) -> Told:
    outcome, version = verdict and verdict.outcome, f"version {result.version}"
    effect = on_dev if sealed is None else sealed.effect
    if outcome is Outcome.PROMOTE:  # a person refused, or did not answer
        return Told(f"The gate passed {version}, but it was not approved.", effect, stays, "Run again to ask again.")
    if outcome is Outcome.UNDERPOWERED:
        return Told(
            f"{version.capitalize()} was not tested: a gain of the size that the recipe asks for needs more unseen examples.",
            effect,
            f"Refused before the test. {stays}",
            "Add data, or ask for a larger gain (gate.rules.target_effect); `ratchet gate power` says how many suffice.",
        )
    if verdict is not None and not verdict.tested:
        return Told(
            f"{version.capitalize()} is the same model as {rival}.",
            " ".join(_sentence(reason) for reason in verdict.reasons),
            f"Refused before the test: no unseen example was used. {stays}",
            "Look at the training curves in the report, and train longer or change the recipe.",
        )
    return Told(
        sealed.sentence(version.capitalize(), rival)
        if sealed is not None and sealed.worse
        else f"{version.capitalize()} did not pass every rule of the gate.",
        effect,
        f"Refused on unseen examples. {stays}",
        AFTER_REFUSAL,
    )


def _judged(rules: Rules, verdict: Verdict, rival: str, retired: bool) -> str:
    """What the gate asked, and which of it failed where that may be told: before, it would tell of the sealed items."""
    failed = [reason.removesuffix(": failed") for reason in verdict.sealed_reasons if reason.endswith(": failed")]
    which = "Which of these failed stays sealed with the examples (docs/gates.md)."
    which = f"Failed: {'; '.join(failed)}." if retired and failed else which
    return f"Refused on unseen examples. The gate asks for {_asked(rules, verdict.first_champion, rival)}. {which}"


def _asked(rules: Rules, first_champion: bool, rival: str) -> str:
    """What must hold, in words."""
    measures = " and ".join(one.measure for one in rules.primaries)
    parts = [f"better {measures} than {rival}"]
    if first_champion:
        parts.append(f"{measures} above {rules.floor:g} (the floor)")
    if rules.guards:
        guards = dict.fromkeys(
            guard.measure if guard.slice is None else f"{guard.measure} ({guard.slice})" for guard in rules.guards
        )
        parts.append(f"no worse {' and '.join(guards)} than its guards allow")
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]


def _without_verdict(result: RunResult, stays: str) -> Told:
    why = " ".join(_sentence(reason) for reason in result.reasons)
    match result.status:
        case Status.REWARD_REFUSED:
            failed = f"Failed: {titles(result.failed_checks)}." if result.failed_checks else ""
            now = "Correct what failed, and run again; each failed check says how."
            return Told("The grader or the reward cannot be trusted yet.", failed, NO_TRAINING, now)
        case Status.INVALID:
            return Told("The gate could not judge.", why, stays, "Correct the cause, and run again.")
        case Status.STOPPED if result.stopped is not None:
            return Told("The run was stopped before its end.", _sentence(result.stopped), "Nothing is lost.", SAME_COMMAND)
        case Status.STOPPED:
            now = "Look at the training curves in the report, and change the recipe."
            return Told("Training was stopped, and no checkpoint may be judged.", why, stays, now)
        case Status.UNCHANGED if KEPT in result.reasons:
            now = "Look at the training curves in the report: train longer, or change the recipe or the data."
            return Told(f"Training found no checkpoint that is better than version {result.previous}.", why, stays, now)
        case Status.UNCHANGED:
            return Told("Nothing has changed since the last verdict.", why, stays, "")
        case Status.FINISHED:
            last = f": {result.stages[-1]['name']}" if result.stages else ""
            return Told(
                f"The run ended after the stage that was asked for{last}.", why, "", "`ratchet run` continues to the end."
            )
        case _:
            return Told("The run failed.", _sentence(result.error or ""), "", "")


def _on_dev(summary: Mapping[str, Mapping[str, Any]], rival: str) -> str:
    """Both arms on dev, on which the checkpoint was chosen."""
    ours, theirs = (summary[rows_name(arm, Decoding.SAMPLED)] for arm in (Arm.CHALLENGER, Arm.INCUMBENT))
    name = headline(ours)
    before, after = interval_text(theirs[headline(theirs)]), interval_text(ours[name])
    said = f"its {LABELS[name]}, sampled, is {after}, that of {rival} {before}"
    return f"On the development split {said} (with 95% intervals)."


def _greedy_alike(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """That greedy answers, which a served model gives, did not get better on dev while sampled ones did; empty if not so."""
    figures = {}
    for decoding in Decoding:
        after, before = (summary[rows_name(arm, decoding)] for arm in (Arm.CHALLENGER, Arm.INCUMBENT))
        figures[decoding] = after[headline(after)]["value"], before[headline(before)]["value"]
    if any(value is None for pair in figures.values() for value in pair):
        return ""
    sampled, (ours, theirs) = figures[Decoding.SAMPLED], figures[Decoding.GREEDY]
    if ours > theirs or sampled[0] <= sampled[1]:
        return ""
    was = f"{ours:.3f}, before {theirs:.3f}"
    return f"Greedy answers, which a served model gives, did not get better on the development split ({was})."


def _sentence(text: str) -> str:
    """A remark as a sentence."""
    text = text.strip()
    if not text:
        return ""
    is_key = "." in text.split()[0].rstrip(".,:;")
    return (text if is_key else f"{text[0].upper()}{text[1:]}") + ("" if text.endswith((".", "!", "?")) else ".")
