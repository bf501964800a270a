"""A comparison from its sides to its figures: seeds, order, budget, resuming, refusals. The last tests really train."""

from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.compare import compare
from ratchet.components.compare.compare import Comparison, compare_sides
from ratchet.components.compare.draw import write_report
from ratchet.components.compare.figures import CurvePoint, Item, Measured
from ratchet.components.compare.measured_training import PROCESSES, WantedTraining, measured_training, train_and_measure
from ratchet.components.compare.sides import side_of
from ratchet.components.errors import RatchetError, RecipeError, RewardError
from ratchet.components.project.locks import silent
from ratchet.components.stages.results import DataStage, RewardStage
from ratchet.components.stages.stage import SILENT, Observer
from ratchet.components.storage.files import write_text
from ratchet.components.storage.home import Home
from tests.places import MICRO
from tests.stages.by_hand import REPORT, context_of, data_stage, gold_stage, reward_stage, saved_policy

VERIFIER = ("reward.kind=verifier", "reward.verifier={type: exact}", "seed=3", "policy.max_new_tokens=4")


class Trained:
    """Trainings that take no time: accuracy 0.5, and of PPO 0.1 more."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, int, int]] = []

    def __call__(self, order: WantedTraining, observer: Observer, prefix: str) -> Measured:
        train, seed = order.recipe.train, order.recipe.run_seed
        self.orders.append((train.algorithm, seed, train.steps))
        accuracy = 0.5 + 0.1 * (train.algorithm == "ppo") + 0.01 * seed
        drawn = float(train.steps * train.prompts * train.group_size)
        curve = [CurvePoint(0, 0, 0, 0.4, 0.4, 0.0), CurvePoint(train.steps, drawn, 2, accuracy, 0.6, 1.0)]
        return Measured(seed, {"accuracy": accuracy, "samples": drawn}, [Item("a", None, 1.0, None, None, None)], curve)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    fake = Trained()
    monkeypatch.setattr(compare, "measured_training", fake)
    return fake


@pytest.fixture
def reward(tmp_path: Path) -> RewardStage:
    return reward_stage(tmp_path / "reward")


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: RewardStage) -> DataStage:
    """Stages before training that are made by hand."""
    data = data_stage(tmp_path / "version", train=40, dev=6)
    start, gold = saved_policy(tmp_path / "start"), gold_stage(tmp_path / "gold")
    monkeypatch.setattr(compare, "prepare_data", lambda context: data)
    monkeypatch.setattr(compare, "validated_gold", lambda context, data: gold)
    monkeypatch.setattr(compare, "policy_of", lambda project, context, data, version: (start, ""))
    monkeypatch.setattr(compare, "validated_reward", lambda context, data, start, gold: reward)
    return data


def compared(place: Path, *texts: str, seeds: int = 2, budget: str | None = None) -> Comparison:
    home = Home(place, place / ".ratchet")
    first, second = (side_of(text, MICRO, VERIFIER, MICRO.parent) for text in texts)
    return compare_sides((first, second), seeds, budget, home, SILENT, silent)


def test_both_sides_train_with_the_same_seeds_and_take_turns_in_going_first(tmp_path: Path, trained: Trained) -> None:
    found = compared(tmp_path, "grpo", "ppo", seeds=3)
    assert [(name, seed) for name, seed, _ in trained.orders] == [
        *(("grpo", 3), ("ppo", 3)),
        *(("ppo", 4), ("grpo", 4)),
        *(("grpo", 5), ("ppo", 5)),
    ]
    assert [run.seed for run in found.first.runs] == [run.seed for run in found.second.runs] == [3, 4, 5]
    row = found.figure("accuracy")
    assert row is not None and row.difference is not None
    assert row.difference[:3] == pytest.approx((0.1, 0.1, 0.1))


def test_the_budget_of_the_smaller_side_is_both_sides(tmp_path: Path, trained: Trained) -> None:
    found = compared(tmp_path, "grpo@train.steps=6", "ppo@train.k=8", seeds=1)
    assert trained.orders == [("grpo", 3, 6), ("ppo", 3, 3)]
    assert found.task["budget"] == "384 completions"


def test_what_was_trained_is_not_trained_again_and_more_seeds_add_to_it(tmp_path: Path, trained: Trained) -> None:
    first = compared(tmp_path, "grpo", "ppo", seeds=1)
    again = compared(tmp_path, "grpo", "ppo", seeds=2)
    assert len(trained.orders) == 4 and first.id == again.id
    assert first.first.runs[0] == again.first.runs[0]
    assert compared(tmp_path, "grpo", "ppo@train.lr=1e-5", seeds=1).id != first.id


def test_a_comparison_that_was_interrupted_resumes(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(order: WantedTraining, observer: Observer, prefix: str) -> Measured:
        if trained.orders:
            raise KeyboardInterrupt
        return trained(order, observer, prefix)

    monkeypatch.setattr(compare, "measured_training", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, "grpo", "ppo", seeds=1)
    monkeypatch.setattr(compare, "measured_training", trained)
    compared(tmp_path, "grpo", "ppo", seeds=1)
    assert [name for name, _, _ in trained.orders] == ["grpo", "ppo"]


def test_nothing_is_recorded(tmp_path: Path, trained: Trained) -> None:
    compared(tmp_path, "grpo", "ppo", seeds=1)
    written = {path.name for path in (tmp_path / ".ratchet").iterdir()}
    assert written == {"compare", "locks"}
    assert not (tmp_path / "mlflow").exists()


def test_a_refused_reward_is_not_trained_against(tmp_path: Path, trained: Trained, reward: RewardStage) -> None:
    reward.__dict__["report"] = replace(REPORT, passed=False, failed=["noise"])
    with pytest.raises(RewardError, match=r"grpo: the reward or its gold is refused \(noise\)"):
        compared(tmp_path, "grpo", "ppo")
    assert trained.orders == []


def test_sides_that_do_not_compare_are_refused_before_anything_is_made(tmp_path: Path, trained: Trained) -> None:
    with pytest.raises(RecipeError, match="differ in data"):
        compared(tmp_path, "grpo", "ppo@data.seed=9")


def test_notes_say_what_the_figures_do_not(tmp_path: Path, trained: Trained) -> None:
    found = compared(tmp_path, "grpo", "ppo@train.k=8", seeds=1, budget="steps=2")
    assert "grpo drew 128 completions in all and ppo@train.k=8 256" in found.notes


def test_another_grader_of_the_same_name_is_another_comparison(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compared(tmp_path, "grpo", "ppo", seeds=1)
    monkeypatch.setattr(compare, "judging_digests", lambda recipe: {"gold": "another"})
    assert compared(tmp_path, "grpo", "ppo", seeds=1).id != first.id
    assert len(trained.orders) == 4


def test_sides_that_start_from_different_policies_say_so(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = {"grpo": saved_policy(tmp_path / "one", 1), "ppo": saved_policy(tmp_path / "two", 2)}
    monkeypatch.setattr(compare, "policy_of", lambda project, context, *_: (starts[context.recipe.train.algorithm], ""))
    assert any("start from different policies" in note for note in compared(tmp_path, "grpo", "ppo", seeds=1).notes)
    assert not any("different" in note for note in compared(tmp_path, "grpo", "grpo@train.lr=1e-5", seeds=1).notes)


def test_the_report_is_a_page_a_picture_and_figures(tmp_path: Path, trained: Trained) -> None:
    found = compared(tmp_path, "grpo", "ppo")
    home = Home(tmp_path, tmp_path / ".ratchet")
    page = write_report(found, home, tmp_path / "out.html")
    text = page.read_text()
    assert page == tmp_path / "out.html" and "ppo is better than grpo by 0.100" in text
    assert text.count('<svg role="img"') == 4 and "<script" not in text and "://" not in text
    folder = home.comparisons / found.id
    assert {path.name for path in folder.iterdir()} >= {"comparison.html", "comparison.svg", "comparison.json"}
    assert (tmp_path / "out.svg").read_text() == (folder / "comparison.svg").read_text()


def order_of(place: Path, data: DataStage, reward: RewardStage) -> WantedTraining:
    sizes = ("train.steps=1", "train.prompts=2", "train.k=2", "train.evaluate_every=1", "evaluation.dev_items=4")
    context = context_of(place, *VERIFIER, *sizes)
    return WantedTraining(context.recipe, context.home, data, saved_policy(place / "policy"), reward)


def test_a_training_is_measured_by_its_last_policy_on_dev(tmp_path: Path, made: DataStage, reward: RewardStage) -> None:
    order = order_of(tmp_path, made, reward)
    found = train_and_measure(order, SILENT)
    assert [item.id for item in found.items] == [row["id"] for row in made.table("dev")[:4]]
    assert found.seed == 3 and found.figures["samples"] == 4 and not found.reused
    assert {"accuracy", "reward", "kl", "seconds", "memory", "silent"} <= found.figures.keys()
    again = train_and_measure(order, SILENT)
    assert again.reused and again.items == found.items


@pytest.mark.slow
def test_a_training_has_a_process_of_its_own(tmp_path: Path, made: DataStage, reward: RewardStage) -> None:
    order = order_of(tmp_path, made, reward)
    told: list[str] = []
    before = PROCESSES.active_children()  # other tests keep processes of theirs in this one

    class Listening(type(SILENT)):  # type: ignore[misc]
        def progress(self, stage: str, done: int, total: int, note: str) -> None:
            told.append(note)

    found = measured_training(order, Listening(), "grpo, seed 3")
    assert found.figures["samples"] == 4 and told and told[-1].startswith("grpo, seed 3: ")
    broken = replace(order, start=replace(order.start, finished=replace(order.start.finished, path=tmp_path / "gone")))
    write_text(tmp_path / "gone" / "model" / "config.json", "{}")
    with pytest.raises(RatchetError, match=r"ppo: .*the same command resumes"):
        measured_training(broken, SILENT, "ppo")
    assert set(PROCESSES.active_children()) <= set(before)
