"""How a run ended, in words: every figure in them is a figure of the verdict or of dev, and nothing sealed is told."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Primary
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Ending, Run
from ratchet.components.run.told import KEPT, Compared, brief, told_of
from tests.run.runs import make_stages, new_run

FIGURES = {
    "challenger_accuracy": 0.94, "incumbent_accuracy": 0.61, "gain": 0.33, "gain_low": 0.2412, "gain_high": 0.4188,
    "items": 100.0, "p_value": 1e-9,
}  # fmt: skip
VERDICT = Verdict(Outcome.PROMOTE, [], "c" * 64, "i" * 64, fold="sealed_0", fold_digest="f0", items=100, figures=FIGURES)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    monkeypatch.setattr(Ledger, "champion", lambda *_: SimpleNamespace(version="2"))
    return found


def told(run: Run, status: Status, outcome: Outcome = Outcome.PROMOTE, previous: str | None = "2"):  # type: ignore[no-untyped-def]
    run.ending = Ending(status, replace(VERDICT, outcome=outcome), previous)
    return told_of(run, RunResult(status, version="3", previous=previous))


def test_a_promotion_says_how_many_more_unseen_examples_are_right(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.components.run.told.is_retired", lambda *_: True)
    found = told(run, Status.PROMOTED)
    assert found.sentence == "Version 3 answers 94 of 100 unseen examples right (sampled); version 2 answered 61."
    assert found.effect == "The gain is 33.0 percentage points (95% interval: 24.1 to 41.9)."
    assert found.verdict.endswith("It is champion in place of version 2.")
    assert f"models:/{run.recipe.name}@champion" in found.next


@pytest.mark.parametrize(
    ("sampled", "greedy", "said"),
    [
        ((0.6, 0.9), (1.0, 1.0), "(1.000, before 1.000)."),
        ((0.6, 0.9), (0.98, 0.97), "(0.970, before 0.980)."),
        ((0.6, 0.9), (0.98, 0.99), ""),
        ((0.6, 0.6), (0.98, 0.98), ""),
        ((0.6, 0.9), (0.98, None), ""),
    ],
)
def test_a_gain_of_sampled_answers_alone_is_told_as_such(
    run: Run, monkeypatch: pytest.MonkeyPatch, sampled: tuple[float, float], greedy: tuple[float, float | None], said: str
) -> None:
    monkeypatch.setattr("ratchet.components.run.told.is_retired", lambda *_: True)
    figures = {"sampled": sampled, "greedy": greedy}
    assert run.made.dev is not None
    run.made.dev.__dict__["summary"] = {
        f"{arm}_{decoding}": {"accuracy": {"value": figures[decoding][number], "low": None, "high": None}}
        for number, arm in enumerate(("incumbent", "challenger"))
        for decoding in ("sampled", "greedy")
    }
    effect = told(run, Status.PROMOTED).effect
    sentence = "Greedy answers, which a served model gives, did not get better on the development split "
    assert (f" {sentence}{said}" in effect) if said else (sentence not in effect)
    rules = run.recipe.gate.rules.model_copy(update={"primary": Primary(measure="greedy_accuracy")})
    run.project.recipe = run.recipe.model_copy(update={"gate": run.recipe.gate.model_copy(update={"rules": rules})})
    assert sentence not in told(run, Status.PROMOTED).effect  # the gate judged these very answers


def test_answers_that_the_gate_judged_greedily_are_called_so() -> None:
    names = {"challenger_greedy_accuracy": 0.94, "incumbent_greedy_accuracy": 0.61}
    compared = Compared.of(replace(VERDICT, figures={**FIGURES, **names}), "greedy_accuracy", several=False)
    assert compared is not None
    assert compared.sentence("Version 3", "it").startswith("Version 3 answers 94 of 100 unseen examples right (greedy);")


def test_a_first_champion_is_compared_with_the_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.components.run.told.is_retired", lambda *_: True)
    found = told(run, Status.PROMOTED, previous=None)
    assert found.sentence.endswith("the model that training started from answered 61.")
    assert found.verdict.endswith("It is champion.")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(Status.REFUSED, Outcome.REJECT), (Status.REFUSED, Outcome.UNDERPOWERED), (Status.PROMOTED, Outcome.PROMOTE)],
)
def test_no_figure_of_a_fold_in_use_is_told(run: Run, status: Status, outcome: Outcome) -> None:
    text = told(run, status, outcome).text
    assert not any(figure in text for figure in ("94", "61", "33.0", "0.24", "0.33"))


def test_a_refusal_tells_dev_and_who_stays(run: Run) -> None:
    found = told(run, Status.REFUSED, Outcome.REJECT)
    assert found.sentence == "Version 3 did not pass every rule of the gate."
    assert "0.500 (0.400 to 0.600), that of version 2 0.500" in found.effect
    assert found.verdict.endswith("Version 2 stays champion.")


def test_a_model_that_is_the_incumbent_itself_is_not_told_to_have_been_tested(run: Run) -> None:
    why = ["no checkpoint was better on dev than the incumbent itself"]
    verdict = Verdict(Outcome.REJECT, why, "i" * 64, "i" * 64)
    run.ending = Ending(Status.REFUSED, verdict, "2")
    found = told_of(run, RunResult(Status.REFUSED, version="3", previous="2"))
    assert found.sentence == "Version 3 is the same model as version 2."
    assert found.effect == "No checkpoint was better on dev than the incumbent itself."
    assert found.verdict == "Refused before the test: no unseen example was used. Version 2 stays champion."
    assert not verdict.tested


ASKED = (
    "Refused on unseen examples. The gate asks for better accuracy than the model that training started from, accuracy above "
    "0.5 (the floor) and no worse length and kl than its guards allow."
)
HELD = "primary: exact McNemar, p = 1.4e-14 against alpha 0.00192"


@pytest.mark.parametrize("retired", [False, True])
def test_a_first_refusal_names_all_that_was_asked_and_what_failed_once_that_may_be_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, retired: bool
) -> None:
    """46 wins and no loss, and the floor failed."""
    monkeypatch.setattr("ratchet.components.run.told.is_retired", lambda *_: retired)
    reasons = [f"{HELD}: held", "floor: accuracy above 0.5 (bound 0.476): failed"]
    verdict = replace(VERDICT, outcome=Outcome.REJECT, first_champion=True, sealed_reasons=reasons)
    rules = run.recipe.gate.rules.model_copy(update={"floor": 0.5})
    run.project.recipe = run.recipe.model_copy(update={"gate": run.recipe.gate.model_copy(update={"rules": rules})})
    run.ending = Ending(Status.REFUSED, verdict, None)
    found = told_of(run, RunResult(Status.REFUSED, version="3"))
    assert found.sentence == "Version 3 did not pass every rule of the gate."
    assert found.verdict.startswith(ASKED)
    assert ("Failed: floor: accuracy above 0.5 (bound 0.476)." in found.verdict) is retired
    assert HELD not in found.text
    assert "or lower gate.rules.floor." in found.next


@pytest.mark.parametrize(("retired", "high", "worse"), [(True, -0.046, True), (True, 0.01, False), (False, -0.046, False)])
def test_a_loss_is_called_so_only_where_the_sealed_figures_may_be_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, retired: bool, high: float, worse: bool
) -> None:
    monkeypatch.setattr("ratchet.components.run.told.is_retired", lambda *_: retired)
    figures = {"challenger_accuracy": 0.48, "incumbent_accuracy": 0.615, "gain_low": -0.224, "gain_high": high, "items": 200.0}
    run.ending = Ending(Status.REFUSED, replace(VERDICT, outcome=Outcome.REJECT, figures=figures), "2")
    found = told_of(run, RunResult(Status.REFUSED, version="3", previous="2"))
    assert (
        found.sentence == "Version 3 is worse: it answers 96 of 200 unseen examples right (sampled); version 2 answered 123."
    ) is worse
    assert (found.effect == "It loses 13.5 percentage points (95% interval: 4.6 to 22.4).") is worse
    if not worse:
        assert found.sentence == "Version 3 did not pass every rule of the gate."
    assert "the floor" not in found.text  # there is a champion
    assert "seed: slot" in found.next


def test_a_refused_reward_is_listed_with_what_failed(run: Run) -> None:
    run.ending = Ending(Status.REWARD_REFUSED, failed_checks=["gold_signal"])
    result = run.result()
    assert (
        brief(told_of(run, result), result)
        == "The grader or the reward cannot be trusted yet. Failed: “There is something to learn”."
    )
    unknown = RunResult(Status.REWARD_REFUSED)
    assert brief(told_of(run, unknown), unknown) == "The grader or the reward cannot be trusted yet."


def test_a_passed_gate_without_approval(run: Run) -> None:
    assert told(run, Status.REFUSED, Outcome.PROMOTE).sentence == "The gate passed version 3, but it was not approved."


def test_measures_that_are_not_counts() -> None:
    figures = {"challenger_macro_f1": 0.8124, "incumbent_macro_f1": 0.5, "gain_low": 0.2, "gain_high": 0.4, "items": 1500.0}
    compared = Compared.of(replace(VERDICT, figures=figures), "macro_f1", several=False)
    assert compared is not None
    said = "Version 3 reaches 0.812 in macro-F1 (sampled) on 1,500 unseen examples; version 2 reached 0.500."
    assert compared.sentence("Version 3", "version 2") == said
    several = replace(VERDICT, samples=4, figures={**FIGURES, "gain_low_accuracy": 0.1, "gain_high_accuracy": 0.5})
    found = Compared.of(several, "accuracy", several=True)
    assert found is not None
    assert "reaches 0.940 in accuracy" in found.sentence("Version 3", "it")
    assert "(95% interval: 10.0 to 50.0)" in found.effect
    assert Compared.of(VERDICT, "gold", several=False) is None  # not measured, or a verdict of an earlier release


@pytest.mark.parametrize(
    ("result", "sentence", "also"),
    [
        (
            RunResult(Status.REWARD_REFUSED, failed_checks=["gold_signal", "margin"]),
            "cannot be trusted",
            "“There is something to learn”, “Margin”",
        ),
        (RunResult(Status.INVALID, reasons=["no fold is left"]), "could not judge", "No fold is left."),
        (RunResult(Status.STOPPED, stopped="ann asked for it"), "stopped before its end", "Ann asked for it."),
        (
            RunResult(Status.STOPPED, stopped="limits.samples: 8 were drawn"),
            "stopped before its end",
            "limits.samples: 8 were drawn.",
        ),
        (RunResult(Status.STOPPED, reasons=["KL exploded."]), "no checkpoint may be judged", "Version 2 stays champion."),
        (RunResult(Status.UNCHANGED, version="2", previous="1"), "Nothing has changed", "Version 2 stays champion."),
        (RunResult(Status.UNCHANGED, previous="2", reasons=[KEPT]), "Training found no", "Version 2 stays champion."),
        (RunResult(Status.FINISHED), "asked for.", "ratchet run"),
        (RunResult(Status.FINISHED, stages=[{"name": "data"}, {"name": "gold"}]), "asked for: gold.", "ratchet run"),
        (RunResult(Status.ERROR, error="disk full"), "failed", "Disk full."),
    ],
)
def test_other_endings(run: Run, result: RunResult, sentence: str, also: str) -> None:
    found = told_of(run, result)
    assert sentence in found.sentence
    assert also in found.text
