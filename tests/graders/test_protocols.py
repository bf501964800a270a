"""Users' functions, unchanged: which protocol a signature is, what the function then gets, and what its values mean."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ratchet.components.errors import RecipeError, RewardError
from ratchet.components.graders.protocols import serve
from ratchet.components.graders.worker.child import answered

ROW = {"id": "r1", "prompt": "2 + 2?", "answer": "4", "item": {"answer": "4", "level": 2, "solution": "$4$"}}
ANY = 10**6  # threads: those of other tests, too, run in this process
CALLS = [{"prompt": "2 + 2?", "completion": text, "row": ROW} for text in ("4", "5")]


def taken(function: Callable[..., Any], **options: Any) -> str:
    return str(serve(function, options)[2]["protocol"])


def graded(function: Callable[..., Any], calls: list[Any] = CALLS, **options: Any) -> list[Any]:
    """What the pipeline gets: (score, parts) of each completion, or the name of its fault."""
    answer, batch, _ = serve(function, options)
    replies = [answered(answer, part, ANY) for part in ([calls] if batch else [[call] for call in calls])]
    grades = [grade for reply in replies for grade in reply.get("grades", [reply])]
    return [grade.get("fault") or (grade["score"], grade.get("parts", {})) for grade in grades]


# --- detection: the signature alone


def openai(sample, item): ...  # type: ignore[no-untyped-def]
def openai_more(sample, item, strict=True): ...  # type: ignore[no-untyped-def]
def trl(completions, **kwargs): ...  # type: ignore[no-untyped-def]
def trl_columns(prompts, completions, solution): ...  # type: ignore[no-untyped-def]
async def trl_async(prompts, completions, **kwargs): ...  # type: ignore[no-untyped-def]
def together(prediction: str, target: str) -> float: ...  # type: ignore[empty-body]
def ours(prompts, completions, rows): ...  # type: ignore[no-untyped-def]
def lambda_handler(event, context): ...  # type: ignore[no-untyped-def]
def names(prompt, completion, example): ...  # type: ignore[no-untyped-def]
def names_open(completion, *, level, **columns): ...  # type: ignore[no-untyped-def]
async def score(state, target): ...  # type: ignore[no-untyped-def]


class Instance:
    def __call__(self, sample: Any, item: Any) -> float:
        raise AssertionError("called to find out")


@pytest.mark.parametrize(
    ("function", "protocol"),
    [
        (openai, "openai"),
        (openai_more, "openai"),
        (Instance(), "openai"),
        (functools.partial(openai_more, strict=False), "openai"),
        (trl, "trl"),
        (trl_columns, "trl"),
        (trl_async, "trl"),
        (together, "target"),
        (ours, "ratchet"),
        (lambda_handler, "lambda"),
        (names, "names"),
        (names_open, "names"),
        (score, "inspect"),
    ],
)
def test_the_protocol_is_read_from_the_signature(function: Callable[..., Any], protocol: str) -> None:
    assert taken(function) == protocol


def anything(*args, **kwargs): ...  # type: ignore[no-untyped-def]
def item_sample(item, sample): ...  # type: ignore[no-untyped-def]
def three(sample, item, model): ...  # type: ignore[no-untyped-def]
def nothing(): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize("function", [anything, item_sample, three, nothing, max])
def test_protocol_faults_a_wrong_signature_is_refused_with_the_forms_that_are_known(function: Callable[..., Any]) -> None:
    with pytest.raises(RewardError, match=r"function of no known protocol\. Write one of openai|has no signature"):
        taken(function)


def both(completion, completions): ...  # type: ignore[no-untyped-def]


def test_protocol_faults_an_ambiguous_signature_names_the_key() -> None:
    with pytest.raises(
        RecipeError, match=r"both\(completion, completions\) is ambiguous: it fits trl and names.*key protocol: trl"
    ):
        taken(both)
    assert taken(both, protocol="names") == "names"


def test_protocol_faults_a_protocol_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"openai\(sample, item\) is not called as protocol: trl calls"):
        taken(openai, protocol="trl")


def ids(prompts, completions, completion_ids): ...  # type: ignore[no-untyped-def]


def test_protocol_faults_token_ids_cannot_be_given() -> None:
    with pytest.raises(RecipeError, match=r"needs completion_ids, and a grader gets texts"):
        taken(ids)


# --- what each gets, and what its values mean


def test_openai_gets_a_sample_and_the_row() -> None:
    def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
        assert sample["choices"][0]["message"]["content"] == sample["output_text"]
        assert sample.get("output_json") in (4, 5)
        assert item == {"id": "r1", "prompt": "2 + 2?", "answer": "4", "level": 2, "solution": "$4$"}
        return 1.0 if sample["output_text"] == item["answer"] else 0.25

    assert graded(grade) == [(1.0, {}), (0.25, {})]


def test_a_function_may_be_async() -> None:
    async def grade(sample: Any, item: Any) -> bool:
        return bool(sample["output_text"] == item["answer"])

    async def reward(completions: list[str], **kwargs: Any) -> list[float]:
        return [float(text == "4") for text in completions]

    assert graded(grade) == [(1.0, {}), (0.0, {})]
    assert graded(reward) == [(1.0, {}), (0.0, {})]


def test_trl_gets_lists_by_name_and_every_column() -> None:
    def reward(prompts, completions, solution, level, trainer_state, **kwargs):  # type: ignore[no-untyped-def]
        assert (prompts, completions) == (["2 + 2?"] * 2, ["4", "5"])
        assert (solution, level, kwargs["answer"]) == (["$4$"] * 2, [2, 2], ["4"] * 2)
        assert trainer_state.global_step == 0
        kwargs["log_metric"]("accuracy", 0.5)
        kwargs["log_extra"]("length", [1, 2])
        kwargs["log_extra"]("text", ["a", "b"])
        return [1.0, None]

    assert graded(reward) == [(1.0, {"length": 1.0}), (None, {"length": 2.0})]


def test_trl_gets_only_what_it_names_and_nan_is_no_score() -> None:
    def reward(completions, level):  # type: ignore[no-untyped-def]
        return [float(level[0]), math.nan]

    assert graded(reward) == [(2.0, {}), (None, {})]


def test_trl_gets_messages_where_the_rows_have_them() -> None:
    def reward(prompts, completions, **kwargs):  # type: ignore[no-untyped-def]
        return [
            float(prompt[-1]["content"] == "hi" and one[0]["content"] == "4")
            for prompt, one in zip(prompts, completions, strict=True)
        ]

    talk = {**ROW, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]}
    assert graded(reward, [{**call, "row": talk} for call in CALLS]) == [(1.0, {}), (0.0, {})]


def test_all_rows_of_a_conversational_table_are_conversations_to_trl() -> None:
    data_utils = pytest.importorskip("trl.data_utils", reason="TRL is not installed")

    def reward(prompts, completions, **kwargs):  # type: ignore[no-untyped-def]
        both = [{"prompt": p, "completion": c} for p, c in zip(prompts, completions, strict=True)]
        assert [one["prompt"] for one in both] == [talk, [{"role": "user", "content": CALLS[1]["prompt"]}]]
        return [float(data_utils.is_conversational(one)) for one in both]

    talk = [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]
    calls = [{**CALLS[0], "row": {**ROW, "messages": talk}}, {**CALLS[1], "row": {**ROW, "messages": None}}]
    assert graded(reward, calls) == [(1.0, {}), (1.0, {})]
    assert graded(lambda prompts, completions, **_: [float(isinstance(one, str)) for one in prompts]) == [(1.0, {})] * 2


def test_trls_own_reward_runs_unchanged() -> None:
    rewards = pytest.importorskip("trl.rewards", reason="TRL is not installed")
    calls = [{**CALLS[0], "completion": text} for text in ("<think>\nso\n</think>\n4", "4")]
    theirs = rewards.think_format_reward([[{"role": "assistant", "content": call["completion"]}] for call in calls])
    assert graded(rewards.think_format_reward, calls, form="messages") == [(value, {}) for value in theirs]
    assert theirs == [1.0, 0.0]


def test_together_gets_the_completion_and_the_reference() -> None:
    def reward(prediction: str, target: Any) -> float:
        return float(prediction == str(target)) / 2

    assert graded(reward) == [(0.5, {}), (0.0, {})]
    assert graded(reward, [{**CALLS[0], "completion": "2"}], reference="{{item.level}}") == [(0.5, {})]


def test_ours_gets_prompts_completions_and_rows() -> None:
    def reward(prompts: Any, completions: Any, rows: Any) -> list[Any]:
        return [{"score": float(text == row["answer"]), "parts": {"n": 1}} for text, row in zip(completions, rows, strict=True)]

    assert graded(reward) == [(1.0, {"n": 1.0}), (0.0, {"n": 1.0})]


def test_a_lambda_gets_one_element_and_answers_with_its_id() -> None:
    def handler(event: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        assert context.get_remaining_time_in_millis() > 0
        (one,) = event
        assert [message["role"] for message in one["messages"]] == ["user", "assistant"]
        right = float(one["messages"][-1]["content"] == one["reference_answer"])
        metrics = [{"name": "level", "value": one["metadata"]["level"], "type": "Metric"}]
        return [{"id": one["id"], "aggregate_reward_score": right, "metrics_list": metrics}]

    assert graded(handler) == [(1.0, {"level": 2.0}), (0.0, {"level": 2.0})]
    assert graded(lambda event, context: [{"id": "other", "aggregate_reward_score": 1}]) == ["protocol", "protocol"]
    assert graded(lambda event, context: []) == ["protocol", "protocol"]


def test_names_get_the_columns_that_they_name() -> None:
    assert graded(lambda completion, level: level if completion == "4" else 0) == [(2.0, {}), (0.0, {})]
    assert graded(lambda prompt, completion, example: float(completion == example["answer"])) == [(1.0, {}), (0.0, {})]
    assert graded(lambda completion, nowhere: 1.0) == ["raised", "raised"]


def test_values_are_read_as_their_kind_says() -> None:
    valued = {"score": 0.5, "metrics": {"a": 1, "b": "text"}, "reason": "so"}
    assert graded(lambda sample, item: valued)[0] == (0.5, {"a": 1.0})
    assert graded(lambda sample, item: {"score": 1.0, "is_score_valid": False})[0] == (None, {})
    assert graded(lambda sample, item: None)[0] == (None, {})


async def _late() -> float:
    return 1.0


@pytest.mark.parametrize(
    "value", ["1.0", "", math.nan, math.inf, 10**400, [1.0], {}, {"label": "good"}, 1j, object(), b"1"]
)  # fmt: skip
def test_protocol_faults_what_is_not_a_number_is_a_fault_and_never_a_zero(value: Any) -> None:
    assert graded(lambda sample, item: value) == ["protocol", "protocol"]


def test_protocol_faults_a_coroutine_that_nobody_awaits_is_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert graded(lambda completions, **kwargs: [_late() for _ in completions]) == ["protocol", "protocol"]


@pytest.mark.parametrize("values", [1.0, [1.0], [1.0] * 3, "11", {"a": 1, "b": 2}, None])
def test_protocol_faults_a_wrong_count_is_one(values: Any) -> None:
    assert graded(lambda completions, **kwargs: values) == ["protocol"]


def test_the_facts_show_one_calls_real_arguments() -> None:
    _, batch, facts = serve(together, {"example": CALLS[0]})
    assert (batch, facts["signature"]) == (False, "together(prediction: str, target: str) -> float")
    assert facts["arguments"] == {"positional": ["4", "4"], "named": {}}
    _, batch, facts = serve(trl, {"example": CALLS[0]})
    assert batch
    assert facts["arguments"]["named"]["solution"] == ["$4$"]
    assert facts["arguments"]["named"]["trainer_state"] == "<SimpleNamespace>"


# --- Python in a JSON grader


def test_a_source_text_defines_the_function() -> None:
    source = "import re\nLIMIT = 4\ndef grade(sample, item):\n    return float(int(sample['output_text']) <= LIMIT)\n"
    assert graded(openai, source=source) == [(1.0, {}), (0.0, {})]


@pytest.mark.parametrize(("source", "message"), [("def grade(", "is not Python"), ("x = 1", "defines no function grade")])
def test_protocol_faults_a_source_that_does_not_define_it_is_refused(source: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        taken(openai, source=source)


# --- inspect_ai


def test_a_scorer_of_inspect_runs_unchanged() -> None:
    scorers = pytest.importorskip("inspect_ai.scorer", reason="inspect_ai is not installed")
    assert graded(scorers.exact) == [(1.0, {}), (0.0, {})]
    assert graded(scorers.match) == [(1.0, {}), (0.0, {})]

    @scorers.scorer(metrics=[scorers.mean()])
    def half():  # type: ignore[no-untyped-def]
        async def score(state, target):  # type: ignore[no-untyped-def]
            assert state.metadata["level"] == 2
            return scorers.Score(value=0.5 if state.output.completion == target.text else math.nan)

        return score

    assert graded(half) == [(0.5, {}), (None, {})]


def test_a_reward_function_may_name_its_three_parameters_as_it_likes() -> None:
    assert graded(lambda a, b, c: [float(text == row["answer"]) for text, row in zip(b, c, strict=True)], positional=True) == [
        (1.0, {}),
        (0.0, {}),
    ]
    assert taken(trl, positional=True) == "trl"
    with pytest.raises(RewardError, match="no known protocol"):
        taken(lambda a, b: 1, positional=True)
