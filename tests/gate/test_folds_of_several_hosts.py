"""Hosts that share a ledger: whatever happens between the choice of a fold and the count of its use, the budget holds."""

import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.gate import judge as judge_module
from ratchet.components.gate.folds import Fold, Pair, choose_fold, count_use
from ratchet.components.gate.items import Trained
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.stage import Context
from tests.gate.staged import Project, ids

GROWN = [[*ids(0, 300), *ids(500, 10)], ids(1000, 300)]


def pair(name: str, rules: str = "r") -> Pair:
    return Pair(name, "start", rules)


def ruled(project: Project, **rules: Any) -> Context:
    """The project with other rules."""
    gate = project.context.recipe.gate
    gate = gate.model_copy(update={"rules": gate.rules.model_copy(update=rules)})
    return replace(project.context, recipe=project.context.recipe.model_copy(update={"gate": gate}))


def chosen(project: Project, who: Pair, context: Context | None = None) -> Fold:
    fold = choose_fold(context or project.context, project.ledger, project.data, who, Trained()).fold
    assert fold is not None
    return fold


def counted(project: Project, fold: Fold, who: Pair) -> Fold | None:
    return count_use(project.ledger, "m", fold, who, project.context.recipe.gate.rules)


def test_of_challengers_that_chose_at_once_the_uses_that_are_left_are_counted(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=3)
    project.judge("a", 150)
    project.data = project.dataset(GROWN)
    project.judge("b", 150)
    folds = {name: chosen(project, pair(name)) for name in "cde"}
    assert [fold.use for fold in folds.values()] == [3, 3, 3]
    uses = [counted(project, fold, pair(name)) for name, fold in folds.items()]
    assert [use and use.use for use in uses] == [3, None, None]
    assert len(project.ledger.past("m").uses) == 3


def test_a_use_has_the_number_that_it_was_counted_with(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=3)
    folds = {name: chosen(project, pair(name)) for name in "ab"}
    uses = [counted(project, fold, pair(name)) for name, fold in folds.items()]
    assert [use and use.use for use in uses] == [1, 2]


def test_a_killed_pair_keeps_its_number_in_the_epoch_of_several_versions(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=3)
    project.judge("a", 150)
    project.data = project.dataset(GROWN)
    counted(project, chosen(project, pair("b")), pair("b"))
    assert chosen(project, pair("b")).use == 2


@pytest.mark.parametrize("reason", ["promoted", "spent"])
def test_a_fold_that_was_retired_since_it_was_chosen_is_not_used(tmp_path: Path, reason: str) -> None:
    project = Project(tmp_path)
    fold = chosen(project, pair("a"))
    project.ledger.retire("m", fold.digest, reason)
    assert counted(project, fold, pair("a")) is None


def test_items_that_another_version_published_since_they_were_chosen_are_not_used(tmp_path: Path) -> None:
    project = Project(tmp_path)
    fold = chosen(project, pair("a"))
    project.data = project.dataset(GROWN)
    assert project.judge("b", 290).outcome is Outcome.PROMOTE
    project.ledger.retire("m", project.data.fold_digest("sealed_0"), "promoted")
    assert counted(project, fold, pair("a")) is None


def test_a_fold_that_said_yes_since_it_was_chosen_is_not_used(tmp_path: Path) -> None:
    project = Project(tmp_path)
    fold = chosen(project, pair("a"))
    assert project.judge("b", 290).outcome is Outcome.PROMOTE
    assert counted(project, fold, pair("a")) is None


def test_a_killed_pair_whose_fold_was_promoted_on_meanwhile_is_not_judged_on_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    counted(project, chosen(project, pair("a")), pair("a"))
    fold = chosen(project, pair("a"))
    project.ledger.retire("m", fold.digest, "promoted")
    assert counted(project, fold, pair("a")) is None


def test_a_use_without_a_verdict_yet_has_the_level_of_the_rules_it_was_counted_by(tmp_path: Path) -> None:
    project = Project(tmp_path, uses_per_epoch=1)
    counted(project, chosen(project, pair("a")), pair("a"))  # the whole of alpha_epoch
    many = ruled(project, uses_per_epoch=26)
    assert chosen(project, pair("b", "other rules"), many).name == "sealed_1"


def test_a_verdict_has_number_and_level_of_the_count_not_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, planned = Project(tmp_path), judge_module.plan_use

    def overtaken(*arguments: Any) -> Any:
        plan = planned(*arguments)
        counted(project, chosen(project, pair("faster")), pair("faster"))
        return plan

    monkeypatch.setattr(judge_module, "plan_use", overtaken)
    verdict = project.judge("a", 150)
    assert (verdict.use, verdict.alpha) == (2, pytest.approx(0.05 / 26))
    assert "(use 2 of 26)" in verdict.reasons[0]


class Simulation:
    """Hosts with several versions of the data and several rules, that choose, count, are judged or die in any order."""

    def __init__(self, path: Path, seed: int) -> None:
        self.draws = random.Random(seed)  # noqa: S311 - a simulation
        self.project = Project(path, uses_per_epoch=3)
        self.versions = [self.project.data, self.project.dataset(GROWN), self.project.dataset([ids(200, 300), ids(1000, 300)])]
        self.contexts = {f"rules of {uses}": ruled(self.project, uses_per_epoch=uses) for uses in (1, 3, 5)}
        self.waiting: list[tuple[Fold, Pair]] = []
        self.counts: dict[tuple[str, Pair], tuple[list[str], float]] = {}  # items and level
        self.refusals = 0

    def step(self, number: int) -> None:
        if not self.waiting or self.draws.random() < 0.5:
            rules = self.draws.choice(sorted(self.contexts))
            who = Pair(f"c{self.draws.randrange(number + 1)}", "start", rules)  # now and then one that was killed
            version = self.draws.choice(self.versions)
            fold = choose_fold(self.contexts[rules], self.project.ledger, version, who, Trained()).fold
            self.waiting += [(fold, who)] if fold else []
            return
        fold, who = self.waiting.pop(self.draws.randrange(len(self.waiting)))
        rules = self.contexts[who.rules].recipe.gate.rules
        use = count_use(self.project.ledger, "m", fold, who, rules)
        self.refusals += use is None
        if use is not None:
            self.counts[use.digest, who] = use.items, 0.05 / rules.uses_per_epoch
            if self.draws.random() < 0.7:
                self.judged(use, who)

    def judged(self, fold: Fold, who: Pair) -> None:
        promoted = self.draws.random() < 0.1
        verdict = Verdict(
            Outcome.PROMOTE if promoted else Outcome.REJECT, ["r"], *who, fold=fold.name, fold_digest=fold.digest,
            use=fold.use, alpha=fold.alpha, evidence="e",
        )  # fmt: skip
        self.project.ledger.record_verdict("m", verdict.as_json(), verdict.digest, "run")
        if promoted:
            self.project.ledger.retire("m", fold.digest, "promoted")

    def spent(self) -> float:
        """The levels that were spent on an item, of the item with the most."""
        spent: defaultdict[str, float] = defaultdict(float)
        for items, alpha in self.counts.values():
            for item in items:
                spent[item] += alpha
        return max(spent.values())


def test_no_interleaving_of_choices_and_counts_spends_more_than_an_epochs_level(tmp_path: Path) -> None:
    refusals = 0
    for seed in range(30):
        world = Simulation(tmp_path / str(seed), seed)
        for number in range(30):
            world.step(number)
        assert world.spent() <= 0.05 * (1 + 1e-9), f"seed {seed}"
        refusals += world.refusals
    assert refusals > 50, "the simulation has lost its teeth"
