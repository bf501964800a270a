"""The candidate: what makes it another one, when it may be judged, what training leaves, and an interruption."""

import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import ModelError, PausedError, RewardError, StoreError
from ratchet.components.policy.loading import Policy, load_policy
from ratchet.components.pretrained.template_date import dated
from ratchet.components.stages import loaded_training
from ratchet.components.stages.results import RewardStage
from ratchet.components.stages.stage import NotFinished
from ratchet.components.stages.train import TrainingFacts, TrainStage, trained_candidate
from ratchet.components.storage.files import model_weights, policy_digest, write_json, write_json_lines, write_text
from ratchet.components.storage.store import Finished
from ratchet.components.training import dev_evaluation
from ratchet.components.training.sentinel import ADVICE, NONFINITE, DevResult, Stop
from tests.policy.engines.vllm.fake_server import serving
from tests.stages.by_hand import Watching, context_of, data_stage, key_of_look, policy_stage, reward_stage, watching
from tests.stages.tiny_training import Training

FACTS = TrainingFacts("grpo", 4, 2, 4, None, None, True, {})


def finished(place: Path, **changes: Any) -> TrainStage:
    """A training that went as told."""
    write_json(place / "facts.json", asdict(replace(FACTS, **changes)))
    return TrainStage(Finished("train", "", place, {"files": {}}), True, 0.0)


@pytest.mark.parametrize("reason", ADVICE)
def test_a_stopped_candidate_is_judged_where_the_recipe_lets_it_but_never_after_nonfinite_updates(
    tmp_path: Path, reason: str
) -> None:
    stopped = finished(tmp_path, stopped=reason)
    assert stopped.may_be_judged(after_stop=True) == (reason != NONFINITE)
    assert not stopped.may_be_judged(after_stop=False)


def test_a_stopped_candidate_that_training_did_not_move_is_not_judged(tmp_path: Path) -> None:
    assert not finished(tmp_path, stopped="kl", best_step=0).may_be_judged(after_stop=True)


@pytest.mark.parametrize("after_stop", [True, False])
def test_a_candidate_that_was_not_stopped_is_judged(tmp_path: Path, after_stop: bool) -> None:
    assert finished(tmp_path, best_step=0).may_be_judged(after_stop)


def test_the_status_names_the_reason_of_a_stop_and_its_figures(tmp_path: Path) -> None:
    stop = Stop("kl", "kl", 9.0, 4.0, 3)
    stopped = finished(tmp_path / "stopped", stopped="kl", stop=stop._asdict())
    assert (stopped.status, stopped.stop) == ("stopped:kl", stop)
    whole = finished(tmp_path / "whole")
    assert (whole.status, whole.stop) == ("finished", None)


def test_figures_are_read_step_by_step(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "metrics.jsonl", [{"step": 0, "values": {"a": 1.0}}, {"step": 2, "values": {"b": 2.0}}])
    assert finished(tmp_path).points == [(0, {"a": 1.0}), (2, {"b": 2.0})]


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., str]:
    data, reward = data_stage(tmp_path / "version"), reward_stage(tmp_path / "reward")

    def look(*overrides: str, **inputs: Any) -> str:
        given = {"data": data, "start": policy_stage("start"), "reward": reward} | inputs
        return key_of_look(context_of(tmp_path, *overrides), lambda context: trained_candidate(context, **given))

    return look


def with_model(reward: RewardStage) -> RewardStage:
    """The same report, of a reward with a learned part."""
    files = {**reward.files, "model/model.safetensors": "weights"}
    return replace(reward, finished=replace(reward.finished, facts={"files": files}))


RELEVANT = (
    *("train.lr=1e-5", "train.sentinel.kl=3.0", "reward.verifier_weight=2.0", "policy.max_new_tokens=9", "seed=4"),
    *("evaluation.dev_items=9", "evaluation.sample_rows=9", "evaluation.temperature=0.5", "device=auto", "threads=2"),
    *("template_date=2026-01-02", "train.optimizer=adamw_8bit"),
)


@pytest.mark.parametrize("change", RELEVANT)
def test_what_shapes_training_is_in_its_key(key: Callable[..., str], change: str) -> None:
    assert key(change) != key()


def test_each_input_is_in_its_key(tmp_path: Path, key: Callable[..., str]) -> None:
    others = {
        "data": data_stage(tmp_path / "other version", version="f" * 32),
        "start": policy_stage("other"),
        "reward": with_model(reward_stage(tmp_path / "other reward")),
    }
    assert len({key(), *(key(**{name: other}) for name, other in others.items())}) == 4


def test_what_does_not_touch_training_is_not_in_its_key(key: Callable[..., str]) -> None:
    elsewhere = ["name=other", "data.seed=9", "policy.warmup.steps=9", "evaluation.samples=3", "gate.rules.floor=0.1"]
    assert key(*elsewhere, "reward.limits.seconds=9", "reward.failures.retries=9", "train.keep_checkpoints=9") == key()


def test_another_validation_of_the_same_reward_trains_no_other_policy(tmp_path: Path, key: Callable[..., str]) -> None:
    waived = reward_stage(tmp_path / "waived", waived={"length": "known"})
    validation = ("reward.validation.samples=9", "reward.validation.max_silent_groups=0.5")
    assert key(*validation, "reward.validation.waive={noise: known}", reward=waived) == key()


SERVER = "train.sampling.vllm={url: 'http://127.0.0.1:1', folder: /w}"


def test_the_engine_is_in_the_key_and_where_its_server_is_is_not(key: Callable[..., str]) -> None:
    vllm = key("train.sampling.engine=vllm", SERVER)
    assert vllm == key("train.sampling.engine=vllm", SERVER.replace("/w", "/elsewhere"))
    assert vllm != key() == key(SERVER)


def test_an_automatic_group_size_is_the_one_that_the_pilot_advises(key: Callable[..., str]) -> None:
    assert key("train.k=auto") == key("train.k=6") != key("train.k=4")


def test_an_edit_of_the_users_own_reward_function_is_another_key(
    tmp_path: Path, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "code" / "ratchet_test_paying.py"
    write_text(source, "def pay(): ...\n")
    monkeypatch.syspath_prepend(source.parent)
    importlib.invalidate_caches()
    custom = ("reward.kind=custom", "reward.function=ratchet_test_paying:pay")
    before = key(*custom)
    write_text(source, "def pay(): ...  # edited\n")
    assert key(*custom) != before
    assert source.stem not in sys.modules


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_a_training_of_a_servers_completions_is_not_exact_and_says_whose_they_were(tmp_path: Path) -> None:
    training = Training(tmp_path)
    with serving(policy=load_policy(training.start.model, torch.device("cpu"))) as fake:
        server = f"train.sampling={{engine: vllm, vllm: {{url: '{fake.url}', folder: {tmp_path / 'weights'}}}}}"
        made = training.run(training.context(server))
    assert (made.facts.engine, made.facts.exact, made.facts.steps) == ("vllm 0.31.0", False, 2)
    assert max(values.get("mismatch/log_prob_mean_abs", 0.0) for _, values in made.points) < 1e-4


PHASES = {"dev evaluation", "rollout", "reward", "reference", "values", "figures", "update", "save"}


def test_training_leaves_a_policy_its_figures_and_its_facts_and_reports_what_is_durable(training: Training) -> None:
    context = training.context()
    made = training.run(context)
    assert made.weights == model_weights(made.model)
    assert {"metrics.jsonl", "samples.jsonl", "facts.json"} < set(made.files)
    facts = made.facts
    assert (facts.algorithm, facts.k, facts.steps, facts.stopped, facts.exact) == ("grpo", 4, 2, None, True)
    assert [step for step, _ in made.points] == [step for step, _ in watching(context).points]
    assert watching(context).steps[-1] == ("train", 2, 2)
    assert set(watching(context).phases) == PHASES
    assert not context.store.work("train", made.key).exists()


def test_the_candidate_has_the_date_of_its_prompts_in_its_template(training: Training) -> None:
    template = "{{ strftime_now('%Y') }}: {{ messages[0].content }}"
    write_text(training.start.model / "chat_template.jinja", template)
    made = training.run(training.context("template_date=2026-01-02"))
    assert (made.model / "chat_template.jinja").read_text("utf-8") == dated(template, "2026-01-02")


def test_the_divergence_from_the_start_is_measured_only_where_something_uses_it(training: Training) -> None:
    unused = training.run(training.context("train.kl=none", "train.sentinel.kl=null"))
    assert not any("kl" in name.split("_") for _, values in unused.points for name in values if name.startswith("eval_"))
    limited = training.run(training.context("train.kl=none"))
    assert limited.figures(0)["eval_kl"] == 0.0  # of the start from itself
    assert limited.weights == unused.weights


def test_a_finished_training_is_found_without_loading_a_model(training: Training) -> None:
    made = training.run(training.context())
    (training.start.model / "model.safetensors").unlink()
    found = training.run(replace(training.context(), compute=False))
    assert (found.cached, found.digest) == (True, made.digest)


@pytest.fixture
def improving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dev evaluation finds the policy better than the one before."""
    counter = itertools.count()

    def evaluate(_: Policy) -> DevResult:
        return DevResult({"eval_sampled_accuracy": next(counter) / 100})

    monkeypatch.setattr(dev_evaluation, "dev_evaluation", lambda *_, **__: evaluate)


def test_the_candidate_is_the_best_on_dev_which_may_be_the_start(training: Training) -> None:
    made = training.run(training.context())  # no answer of a random policy is right
    assert (made.facts.steps, made.facts.best_step, made.weights) == (2, 0, training.start.weights)


def test_faults_a_training_that_dev_does_not_prefer_keeps_its_best_and_its_last_policy(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter((0.9, 0.5, 0.4, 0.3))
    monkeypatch.setattr(
        dev_evaluation, "dev_evaluation", lambda *_, **__: lambda _: DevResult({"eval_sampled_accuracy": next(scores)})
    )
    made = training.run(training.context("train.steps=3", "train.keep_checkpoints=2"))
    assert (made.facts.best_step, made.weights) == (0, training.start.weights)
    assert [(kept.step, kept.figures["eval_sampled_accuracy"]) for kept in made.kept] == [(1, 0.5), (3, 0.3)]
    for kept in made.kept:
        model = made.path / kept.folder / "model"
        assert (kept.policy, kept.weights) == (policy_digest(model), model_weights(model))
    assert len({made.weights, *(kept.weights for kept in made.kept)}) == 3


@pytest.mark.parametrize(("damaged", "best"), [([1], 2), ([1, 2], 3), ([1, 2, 3], None)])
def test_faults_a_damaged_best_checkpoint_leaves_the_best_that_is_whole(
    training: Training, monkeypatch: pytest.MonkeyPatch, damaged: list[int], best: int | None
) -> None:
    scores, save = iter((0.1, 0.9, 0.5, 0.3)), loaded_training.Training.save
    monkeypatch.setattr(
        dev_evaluation, "dev_evaluation", lambda *_, **__: lambda _: DevResult({"eval_sampled_accuracy": next(scores)})
    )

    def damaging(self: loaded_training.Training, path: Path) -> loaded_training.TrainingFacts:
        for step in damaged:
            write_text(self.trainer.setting.storage.checkpoints / f"step_{step:06d}" / "policy.safetensors", "bad")
        return save(self, path)

    monkeypatch.setattr(loaded_training.Training, "save", damaging)
    run = partial(training.run, training.context("train.steps=3", "train.keep_checkpoints=2"))
    if best is None:
        with pytest.raises(StoreError, match=r"no evaluated checkpoint in .* is whole\. Delete that directory to train from"):
            run()
        return
    made = run()
    assert (made.facts.best_step, made.facts.lost, made.facts.exact) == (best, damaged, False)
    assert made.weights != training.start.weights


@pytest.mark.usefixtures("improving")
def test_a_candidate_that_is_the_best_and_the_last_is_kept_once(training: Training) -> None:
    made = training.run(training.context())
    assert [(kept.step, kept.folder, kept.weights) for kept in made.kept] == [(2, "", made.weights)]
    assert not (made.path / "checkpoints").exists()


def test_with_lora_a_kept_policy_is_whole(training: Training) -> None:
    made = training.run(training.context("train.lora={rank: 2, alpha: 4}"))
    (kept,) = made.kept[-1:]
    assert kept.folder == "checkpoints/step_000002"
    assert load_policy(made.path / kept.folder / "model", torch.device("cpu")).model.num_parameters() == (
        load_policy(made.model, torch.device("cpu")).model.num_parameters()
    )
    assert kept.weights != training.start.weights


@pytest.mark.usefixtures("improving")
def test_the_candidate_is_the_last_step_where_each_was_better(training: Training) -> None:
    made = training.run(training.context())
    assert made.facts.best_step == 2
    assert made.weights != training.start.weights


def test_with_lora_the_adapter_is_kept_beside_a_whole_policy(training: Training) -> None:
    made = training.run(training.context("train.lora={rank: 2, alpha: 4}"))
    assert "adapter/adapter_model.safetensors" in made.files
    assert made.weights == model_weights(made.model)


class Terminating(Watching):
    """Sends this process SIGTERM when the first step is reported."""

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        super().metrics(stage, points)
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("improving")
def test_an_interrupted_training_is_not_finished_and_resumes_to_the_same_candidate(
    training: Training,
) -> None:
    delivered: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: delivered.append(number))
    try:
        with pytest.raises(PausedError, match=r"interrupted after a checkpoint.* Run it again"):
            training.run(replace(training.context(), observer=Terminating()))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert delivered == [signal.SIGTERM]
    with pytest.raises(NotFinished):
        training.run(replace(training.context(), compute=False))
    again = training.context()
    resumed = training.run(again)
    assert [step for step, _ in watching(again).repeated] == [1, 1]  # what the last checkpoint covers, and nothing else
    assert watching(again).points[0][0] == 2
    assert watching(again).tables[0] == 1
    assert not any("nan" in note for note in watching(again).notes)
    whole = training.run(Training(training.place / "whole").context())
    assert resumed.weights == whole.weights != training.start.weights
    assert (resumed.facts, [step for step, _ in resumed.points]) == (whole.facts, [step for step, _ in whole.points])


@pytest.mark.usefixtures("improving")
def test_a_training_that_ended_for_now_resumes_to_the_same_candidate(training: Training) -> None:
    with pytest.raises(PausedError, match="interrupted after a checkpoint"):
        training.run(replace(training.context(), pause=lambda: "ann asked for it"))  # after a step
    drawn = training.context("limits.samples=1")
    with pytest.raises(PausedError, match=r"limits\.samples: \d+ completions were drawn, and the limit is 1; raise it"):
        training.run(drawn)
    assert watching(drawn).points == []  # no step was taken
    resumed, whole = training.run(training.context()), training.run(Training(training.place / "whole").context())
    assert resumed.weights == whole.weights != training.start.weights
    assert (resumed.key, resumed.facts) == (whole.key, whole.facts)


def test_after_a_damaged_checkpoint_steps_that_are_made_again_are_told_as_figures_that_may_be_known(training: Training) -> None:
    with pytest.raises(PausedError, match="interrupted after a checkpoint"):
        training.run(replace(training.context(), pause=lambda: "ann asked for it"))  # after the first of two steps
    (state,) = training.place.glob(".ratchet/store/train/.work.*/step_000001/state.json")
    state.write_text("damaged")
    again = training.context()
    made = training.run(again)
    assert [step for step, _ in watching(again).repeated] == [0, 1, 1]  # step 1 and its dev evaluation
    assert [step for step, _ in watching(again).points] == [2, 2]
    assert [step for step, _ in made.points] == [0, 1, 1, 2, 2]


def test_a_prompt_that_does_not_fit_the_models_context_is_refused_before_training(training: Training) -> None:
    with pytest.raises(ModelError, match=r"policy\.max_new_tokens=127 .* context of 128"):
        training.run(training.context("policy.max_new_tokens=127"))


def test_a_reward_model_that_is_not_the_validated_one_is_refused(training: Training) -> None:
    training.reward = reward_stage(training.place / "learned", identity={"model/model.safetensors": "validated"})
    write_text(training.reward.model / "model.safetensors", "exchanged")
    with pytest.raises(RewardError, match=r"model/model\.safetensors of the reward model is not .* validated"):
        training.run(training.context("reward.kind=model"))
    assert not list(training.data.path.parent.glob(".ratchet/store/train/[!.]*"))


def test_facts_of_an_earlier_release_are_those_of_our_own_engine(tmp_path: Path) -> None:
    write_json(tmp_path / "facts.json", {name: value for name, value in asdict(FACTS).items() if name != "engine"})
    assert TrainStage(Finished("train", "", tmp_path, {"files": {}}), True, 0.0).facts == FACTS
