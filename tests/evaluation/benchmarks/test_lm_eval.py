"""The policy as a model of lm-eval, and tasks read as items."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.answers import Respondent
from ratchet.components.evaluation.benchmarks.lm_eval import PolicyLM, lm_eval_items
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import LmEval, Slice
from ratchet.components.records import ItemResult
from tests.evaluation.benchmarks.library_tasks import CHOOSING, ROWS, WRITING, lm_eval_folder
from tests.tiny_models import tiny_policy, tiny_tokenizer


def model(policy: Policy | None = None) -> PolicyLM:
    return PolicyLM(Respondent(policy or tiny_policy(), 7, "b"), max_new_tokens=8)


def request(kind: str, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0)


def items(folder: str, task: str, policy: Policy | None = None, **options: Any) -> list[ItemResult]:
    benchmark = LmEval(kind="lm_eval", task=task, tasks_folder=folder, **options)
    return lm_eval_items("b", benchmark, Respondent(policy or tiny_policy(), 7, "b"), max_new_tokens=8)


def log_probs(tokens: list[int], predicted: int) -> float:
    """Sum of the last ``predicted`` tokens' log-probs by the model's own forward pass."""
    scores = tiny_policy().model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
    places = range(len(tokens) - predicted, len(tokens))
    return sum(float(scores[place - 1, tokens[place]]) for place in places)


def test_a_continuation_is_scored_as_the_beginning_of_the_answer() -> None:
    policy = tiny_policy()
    prompt, rest = policy.encode_prompt("2 apples"), tiny_tokenizer()("four", add_special_tokens=False).input_ids
    ((score, _),) = model().loglikelihood([request("loglikelihood", "2 apples", " four")])
    assert score == pytest.approx(log_probs([*prompt, *rest], len(rest)), abs=1e-3)


def test_without_a_template_the_space_belongs_to_the_continuation() -> None:
    plain = tiny_tokenizer().__class__(tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="<eos>")
    policy = Policy(tiny_policy().model, plain)
    whole, prompt = plain("2 apples four").input_ids, plain("2 apples").input_ids
    scores = model(policy).loglikelihood(
        [request("loglikelihood", "2 apples", " four"), request("loglikelihood", "2 apples ", "four")]
    )
    expected = log_probs(whole, len(whole) - len(prompt))
    assert [score for score, _ in scores] == pytest.approx([expected, expected], abs=1e-3)


def test_an_empty_context_is_the_end_of_sequence() -> None:
    rest = tiny_tokenizer()("four", add_special_tokens=False).input_ids
    ((score, _),) = model().loglikelihood([request("loglikelihood", "", "four")])
    assert score == pytest.approx(log_probs([1, *rest], len(rest)), abs=1e-3)


def test_greedy_is_what_the_policy_would_say() -> None:
    likely = model().generate_until([request("generate_until", "2 apples", {"max_gen_toks": 1, "until": []})])[0]
    scored = model().loglikelihood([request("loglikelihood", "2 apples", text) for text in (likely, "zzz")])
    assert [greedy for _, greedy in scored] == [True, False]


def test_a_text_longer_than_the_context_is_scored_in_windows_each_token_once() -> None:
    policy, text = tiny_policy(), "Ann has 3 apples and buys 16 more. #### 19 Ann"
    policy.model.config.max_position_embeddings = 8
    tokens = tiny_tokenizer()(text, add_special_tokens=False).input_ids[:13]
    (total,) = model(policy).loglikelihood_rolling([request("loglikelihood_rolling", tiny_tokenizer().decode(tokens))])
    # The second window has the whole context of 8 tokens, and scores the 6 that the first left over.
    assert total == pytest.approx(log_probs([1, *tokens[:7]], 7) + log_probs(tokens[-8:], 6), abs=1e-3)


def test_until_temperature_and_most_tokens_come_from_the_request() -> None:
    options = {"until": ["a"], "max_gen_toks": 5}
    greedy, sampled = (
        model().generate_until([request("generate_until", "2 apples", {**options, **more})])[0]
        for more in ({}, {"do_sample": True, "temperature": 1.0})
    )
    assert "a" not in greedy
    assert greedy != sampled


def test_an_option_that_the_policy_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="generation_kwargs has num_beams"):
        model().generate_until([request("generate_until", "2", {"until": [], "num_beams": 4})])


class Saying(Policy):
    """Whatever it samples reads ``4``."""

    def decode(self, tokens: Any) -> str:
        return "4"


def test_a_task_that_has_the_model_write_gives_right_and_length(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", WRITING)
    results = items(folder, "sums", Saying(tiny_policy().model, tiny_tokenizer()))
    assert [r.passed for r in results] == [False, True, False]  # the answers are 2, 4 and 6
    assert [r.prompt for r in results] == [row["question"] for row in ROWS]
    assert {r.completion for r in results} == {"4"}
    assert all(1 <= (r.length or 0) <= 6 for r in results)
    assert {(r.fault, r.kl, r.answer, r.sample) for r in results} == {(None, None, None, 0)}
    assert sorted(path.name for path in Path(folder).iterdir()) == ["rows.jsonl", "sums.yaml"]


def test_a_choice_is_the_likelier_continuation_and_has_no_length(tmp_path: Path) -> None:
    results = items(lm_eval_folder(tmp_path / "tasks", "choices", CHOOSING), "choices")
    requests = [request("loglikelihood", row["question"], f" {choice}") for row in ROWS for choice in ("yes", "no")]
    scores = [score for score, _ in model().loglikelihood(requests)]
    assert [r.passed for r in results] == [scores[n] > scores[n + 1] for n in (0, 2, 4)]
    assert {(r.completion, r.length, r.finished) for r in results} == {("", None, None)}


def test_ids_are_of_the_document_and_of_two_equal_ones_the_first_counts(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", WRITING)
    first = [r.id for r in items(folder, "sums")]
    lm_eval_folder(tmp_path / "tasks", "sums", WRITING, [*ROWS[::-1], ROWS[0]])
    assert [r.id for r in items(folder, "sums")] == first[::-1]
    assert [r.id for r in items(folder, "sums", limit=1)] == first[2:]


def test_slices_are_by_the_documents_fields_or_the_prompt(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", WRITING)
    slices = [Slice(name="second", field="level", equals=2), Slice(name="three", prompt="3")]
    benchmark = LmEval(kind="lm_eval", task="sums", tasks_folder=folder)
    results = lm_eval_items("b", benchmark, Respondent(tiny_policy(), 7, "b"), max_new_tokens=8, slices=slices)
    assert [r.slices for r in results] == [[], ["second"], ["three"]]


@pytest.mark.parametrize(
    ("task", "options", "complaint"),
    [
        ("other", {}, "has no task 'other'"),
        ("sums", {"metric": "charm"}, "Use one of exact_match,none"),
        ("sums", {"metric": "exact_match,strict"}, "Use one of exact_match,none"),
        ("sums", {"num_fewshot": 2}, "takes no examples"),
    ],
)
def test_what_the_task_does_not_have_is_refused(tmp_path: Path, task: str, options: dict[str, Any], complaint: str) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", {**WRITING, "num_fewshot": 0})
    with pytest.raises(DataError, match=complaint):
        items(folder, task, **options)


def test_perplexity_says_neither_right_nor_wrong(tmp_path: Path) -> None:
    metrics = [{"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}]
    options = {"output_type": "loglikelihood_rolling", "doc_to_target": "{{question}}", "metric_list": metrics}
    with pytest.raises(DataError, match="lower word_perplexity is better"):
        items(lm_eval_folder(tmp_path / "tasks", "rolling", options), "rolling")


def test_examples_are_the_same_in_every_run(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", {**WRITING, "fewshot_split": "test"})
    first = [r.prompt for r in items(folder, "sums", num_fewshot=1)]
    assert first == [r.prompt for r in items(folder, "sums", num_fewshot=1)]
    assert all(prompt.count("=") == 2 for prompt in first)
