"""Both arms meet the same items with the same randomness, and a place holds what was measured there."""

from dataclasses import asdict
from pathlib import Path

import pytest

from ratchet.components.policy.loading import Policy
from ratchet.components.pretrained.template_date import dated
from ratchet.components.records import Arm, Decoding, ItemResult
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import PolicyStage
from ratchet.components.stages.scoring import Job, Models, configuration, score
from ratchet.components.storage.files import policy_digest, write_json, write_json_lines, write_text
from ratchet.components.storage.store import Finished
from tests.stages.by_hand import context_of, policy_stage, problem, reward_stage, saved_policy, watching

ROWS = [problem(n) for n in range(3)]
SHORT = "policy.max_new_tokens=4"


def test_without_a_reward_the_digest_of_none_is_empty(tmp_path: Path) -> None:
    challenger, incumbent, start = policy_stage("c"), policy_stage("i"), policy_stage("s")
    digests = {"challenger": "c", "incumbent": "i", "start": "s", "reward": ""}
    assert Models(challenger, incumbent, start).digests == digests
    reward = reward_stage(tmp_path)
    assert Models(challenger, incumbent, start, reward).digests == digests | {"reward": reward.digest}


def test_results_are_those_of_a_place_without_what_was_not_measured_there(tmp_path: Path) -> None:
    one = ItemResult("a", "p", "c", True, 1.0, 3, True, 0.0)
    (tmp_path / "guard").mkdir()
    write_json_lines(tmp_path / "challenger_sampled.jsonl", [asdict(one)])
    write_json_lines(tmp_path / "guard" / "incumbent_greedy.jsonl", [])
    write_json(tmp_path / "facts.json", {"challenger": "c", "incumbent": "i"})
    stage = EvaluateStage(Finished("evaluate", "", tmp_path, {"files": {}}), True, 0.0)
    assert stage.results() == {"challenger_sampled": [one]}
    assert stage.results("guard") == {"incumbent_greedy": []}
    assert stage.rows(Arm.CHALLENGER) == [asdict(one)]
    assert stage.scored == {"challenger": "c", "incumbent": "i"}


RELEVANT = (
    *("evaluation.temperature=0.5", "evaluation.samples=3", "evaluation.slices=[{name: long, prompt: long}]"),
    *("evaluation.benchmarks={b: b.jsonl}", "policy.max_new_tokens=9", "device=auto"),
    "template_date=2026-01-02",
)


@pytest.mark.parametrize("change", RELEVANT)
def test_what_shapes_answers_is_in_the_configuration(tmp_path: Path, change: str) -> None:
    assert configuration(context_of(tmp_path, change)) != configuration(context_of(tmp_path))


def test_what_only_training_and_reports_take_is_not_in_the_configuration(tmp_path: Path) -> None:
    other = ["evaluation.dev_items=9", "evaluation.sample_rows=9", "train.lr=1e-5", "gate.rules.floor=0.1", "seed=9"]
    assert configuration(context_of(tmp_path, *other)) == configuration(context_of(tmp_path))
    moved = [context_of(tmp_path, f"evaluation.benchmarks={{b: {file}}}") for file in ("b.jsonl", "moved.jsonl")]
    assert configuration(moved[0]) == configuration(moved[1])  # the file's content is an input


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """The incumbent is the starting policy."""
    start = saved_policy(tmp_path / "start", seed=0)
    return Models(saved_policy(tmp_path / "challenger", seed=1), start, start)


def test_rows_and_the_digests_of_what_answered_are_written_for_each_arm(tmp_path: Path, models: Models) -> None:
    context = context_of(tmp_path, SHORT, "evaluation.samples=2")
    jobs = [Job("", ROWS, decoding, "dev", 3) for decoding in Decoding] + [Job("a/b", ROWS[:1], Decoding.GREEDY, "b", 3)]
    results, digests = score(context, models, jobs, tmp_path / "out")
    assert digests == {"challenger": models.challenger.policy_digest, "incumbent": models.incumbent.policy_digest}
    stage = EvaluateStage(Finished("evaluate", "", tmp_path / "out", {"files": {}}), True, 0.0)
    for place in ("", "a/b"):
        assert stage.results(place) == {name: items for (where, name), items in results.items() if where == place}
    counts = {name: len(items) for name, items in stage.results().items()}
    assert counts == {f"{arm}_{how}": len(ROWS) * n for arm in Arm for how, n in (("sampled", 2), ("greedy", 1))}
    assert list(stage.results("a/b")) == ["challenger_greedy", "incumbent_greedy"]
    assert watching(context).steps == [("evaluate", n, 2) for n in range(3)]


def test_the_digests_are_of_the_files_that_were_loaded_and_not_of_what_the_stage_says(tmp_path: Path, models: Models) -> None:
    exchanged = saved_policy(tmp_path / "exchanged", seed=2)
    (exchanged.model / "model.safetensors").replace(models.challenger.model / "model.safetensors")
    _, digests = score(context_of(tmp_path, SHORT), models, [], tmp_path / "out")
    assert digests["challenger"] == policy_digest(models.challenger.model) != models.challenger.policy_digest


def test_all_policies_are_prompted_with_the_recipes_date(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{{ strftime_now('%Y') }}: {{ messages[0].content }}"
    for stage, saved in ((models.challenger, dated(template, "2026-11-26")), (models.incumbent, template)):
        write_text(stage.model / "chat_template.jinja", saved)
    prompts: list[str] = []

    def answer(policy: Policy, *others: object) -> list[ItemResult]:
        prompts.append(policy.decode(policy.encode_prompt("Ann")))
        return []

    monkeypatch.setattr("ratchet.components.evaluation.evaluate.evaluate_items", answer)
    score(context_of(tmp_path, SHORT, "template_date=2027-01-02"), models, [Job("", ROWS, Decoding.GREEDY, "dev", 3)], tmp_path)
    assert prompts == ["2027: Ann", "2027: Ann"]


def test_the_same_policy_on_both_arms_gives_the_same_answers(tmp_path: Path, models: Models) -> None:
    same = Models(models.incumbent, models.incumbent, models.incumbent)
    results, _ = score(context_of(tmp_path, SHORT), same, [Job("", ROWS, Decoding.SAMPLED, "dev", 3)], tmp_path)
    ours, theirs = results["", "challenger_sampled"], results["", "incumbent_sampled"]
    assert [item.completion for item in ours] == [item.completion for item in theirs]
    assert [item.kl for item in ours] == [0.0] * len(ROWS)


def test_kl_to_the_incumbent_is_measured_of_the_challenger_alone_and_is_that_to_the_start_it_is(
    tmp_path: Path, models: Models
) -> None:
    results, _ = score(context_of(tmp_path, SHORT), models, [Job("", ROWS, Decoding.SAMPLED, "dev", 3)], tmp_path)
    ours = results["", "challenger_sampled"]
    assert [item.kl_incumbent for item in ours] == [item.kl for item in ours]
    assert all(item.kl for item in ours)
    assert {item.kl_incumbent for item in results["", "incumbent_sampled"]} == {None}


def test_an_incumbent_of_its_own_has_a_kl_of_its_own(tmp_path: Path, models: Models) -> None:
    third = Models(models.challenger, models.challenger, models.start)
    results, _ = score(context_of(tmp_path, SHORT), third, [Job("", ROWS, Decoding.SAMPLED, "dev", 3)], tmp_path)
    ours = results["", "challenger_sampled"]
    assert all(item.kl for item in ours)
    assert [item.kl_incumbent for item in ours] == [0.0] * len(ROWS)


def test_the_recipes_reward_is_measured_where_there_is_one(tmp_path: Path, models: Models) -> None:
    job, verifier = Job("", ROWS, Decoding.GREEDY, "dev", 3), context_of(tmp_path, SHORT, "reward.kind=verifier")
    rewarded = Models(models.challenger, models.incumbent, models.start, reward_stage(tmp_path / "reward"))
    for given, measured in ((models, False), (rewarded, True)):
        results, _ = score(verifier, given, [job], tmp_path / "out")
        assert all(("reward" in item.rewards) is measured for items in results.values() for item in items)


def test_arms_of_two_vocabularies_are_compared(tmp_path: Path) -> None:
    start, champion = saved_policy(tmp_path / "start"), saved_policy(tmp_path / "champion", vocabulary=280)
    models = Models(saved_policy(tmp_path / "challenger", seed=1), champion, start)
    results, _ = score(context_of(tmp_path, SHORT), models, [Job("", ROWS, Decoding.SAMPLED, "dev", 3)], tmp_path / "out")
    challenger, incumbent = results["", "challenger_sampled"], results["", "incumbent_sampled"]
    assert all(r.kl is not None and r.kl_incumbent is not None for r in challenger)
    assert [r.kl for r in challenger] == [r.kl_incumbent for r in _against(tmp_path / "same", models.challenger, start)]
    assert all(r.kl is not None and r.kl_incumbent is None for r in incumbent)


def _against(path: Path, challenger: PolicyStage, start: PolicyStage) -> list[ItemResult]:
    """Rows of a challenger whose incumbent is the start."""
    context, models = context_of(path, SHORT), Models(challenger, start, start)
    return score(context, models, [Job("", ROWS, Decoding.SAMPLED, "dev", 3)], path / "out")[0]["", "challenger_sampled"]
