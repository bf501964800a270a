"""Errors of data name the true cause, the place and the remedy: absent fields, other formats, no pairs, DVC's errors."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.readers import parse_json_lines, read_csv
from ratchet.components.data.schemas import check_rows, raw_frame
from ratchet.components.data.sources import needed_columns, read_file, read_rows
from ratchet.components.data.versioning import _failure, _reason
from ratchet.components.errors import DataError, MissingExtraError
from ratchet.components.graders.number import grade_numbers
from ratchet.components.recipe import Checks, Data, RewardModel, RewardValidation
from ratchet.components.rewards.checks.validation import Samples, Subject, validate_reward
from ratchet.components.rewards.learned.training import split_pairs
from tests.rewards.checks.pools import drawing

Source = Callable[..., Data]


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


def checked(data: Data) -> str:
    return message(lambda: check_rows(raw_frame(read_rows(data)), data.checks))


# A field that no row has


def test_a_file_without_a_prompt_names_the_fields_that_are_there(source: Source) -> None:
    found = checked(source(*[{"problem": "2 + 3?", "solution": "#### 5"}] * 30))
    assert "no row of" in found
    assert "source.jsonl has the field 'question', 'prompt' or 'messages'. The fields are 'problem', 'solution'." in found
    assert "data.source, {kind: ..., path: ..., question: FIELD}" in found
    assert len(found.splitlines()) == 1


def test_a_file_without_an_answer_names_both_remedies(source: Source) -> None:
    found = checked(source({"question": "2 + 3?", "label": "5"}))
    assert "has the field 'answer', 'demonstration' or 'completion'. The fields are 'question', 'label'." in found
    assert "answer: FIELD" in found
    assert found.endswith("data.checks.answers=optional.")


def test_prompts_without_answers_are_read_if_the_recipe_says_so(source: Source) -> None:
    data = source({"question": "2 + 3?"}).model_copy(update={"checks": Checks(answers="optional")})
    assert len(list(read_rows(data))) == 1


@pytest.mark.parametrize("option", ["question", "answer", "demonstration", "chosen", "rejected", "messages", "group"])
def test_a_field_that_the_recipe_names_must_be_in_some_row(source: Source, option: str) -> None:
    row = {"prompt": "2 + 3?", "completion": "#### 5"}
    found = checked(source(row, row, **{option: "topic"}))
    assert "has the field 'topic'. The fields are 'prompt', 'completion'." in found
    assert f"{option}: FIELD" in found
    assert len(list(read_rows(source(row, {**row, "topic": None}, **{option: "topic"})))) == 2


def test_a_column_that_is_to_be_kept_must_be_in_some_row(source: Source) -> None:
    data = source({"question": "2 + 3?", "answer": "#### 5", "vendor": "v"})
    found = checked(data.model_copy(update={"keep": ["colour"]}))
    assert "has the field 'colour'. The fields are 'question', 'answer', 'vendor'. data.keep names it." in found


def test_a_field_of_the_file_of_pairs_counts(source: Source, tmp_path: Path) -> None:
    pair = {"question": "2 + 3?", "better": "#### 5", "worse": "#### 6"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    row = {"question": "2 + 3?", "answer": "#### 5"}
    data = source(row, chosen="better", rejected="worse", pairs=str(tmp_path / "pairs.jsonl"))
    assert [row["chosen"] for row in read_rows(data)] == [None, "#### 5"]


def test_some_rows_without_a_field_are_still_listed(source: Source) -> None:
    assert "row 2: prompt: null value" in checked(source({"question": "q", "answer": "#### 5"}, {"answer": "#### 5"}))


def test_an_added_file_needs_its_fields_and_a_benchmark_its_prompts_alone(source: Source, tmp_path: Path) -> None:
    data = source({"question": "2 + 3?", "answer": "#### 5"})
    (tmp_path / "more.jsonl").write_text('{"question": "q", "label": "5"}')
    path = str(tmp_path / "more.jsonl")
    assert "'question', 'label'" in message(lambda: list(read_file(data, path, needed_columns(data))))
    assert len(list(read_file(data, path))) == 1


# One fault, one line


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"question": "2 + 3?", "answer": 5}, "answer: is a int, not text"),
        ({"question": "2 + 3?", "answer": None}, "answer: null value"),
        ({"prompt": "2 + 3?", "completion": 5}, "demonstration: is a int, not text"),
        ({"prompt": "2 + 3?", "chosen": 5, "rejected": "6"}, "chosen: is a int, not text"),
        ({"prompt": "2 + 3?", "answer": "#### 5", "chosen": "5", "rejected": 6}, "rejected: is a int, not text"),
    ],
)
def test_a_fault_is_reported_once_in_the_column_that_has_it(source: Source, row: dict[str, Any], fault: str) -> None:
    good = {"prompt": "q", "answer": "#### 5"}
    found = checked(source(row, good)).splitlines()
    assert found[0] == "1 checks failed, in 1 of 2 rows:"
    assert fault in found[1]


def test_two_faults_of_a_row_are_both_reported(source: Source) -> None:
    found = checked(source({"question": "2 + 3?", "answer": 5, "demonstration": 6}))
    assert [line.split(": ")[1] for line in found.splitlines()[1:3]] == ["answer", "demonstration"]


# Another format


ROWS = [{"question": "2 + 3?", "answer": "#### 5"}, {"question": "2 + 4?", "answer": "#### 6"}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\n"])
def test_a_json_array_is_called_one(tmp_path: Path, indent: int | None, mark: str) -> None:
    path = tmp_path / "my rows.json"
    path.write_text(mark + json.dumps(ROWS, indent=indent), encoding="utf-8")
    found = message(lambda: list(parse_json_lines(path)))
    assert found.startswith(f"{path}, line {2 if mark == chr(10) else 1}: a JSON array, but JSONL has one object per line.")
    assert found.endswith(f"Convert it: jq -c '.[]' '{path}' > rows.jsonl")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ('["2 + 3?", "#### 5"]\n["2 + 4?", "#### 6"]\n', "{question: .[0], answer: .[1]}"),
        ('[["2 + 3?", "#### 5", 1], ["2 + 4?", "#### 6", 2]]', ".[] | {question: .[0], answer: .[1], column_3: .[2]}"),
        ('[{"question": "2 + 3?"}]\n[{"question": "2 + 4?"}]\n', ".[]"),
    ],
)
def test_an_array_of_values_is_given_names(tmp_path: Path, text: str, expression: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert message(lambda: list(parse_json_lines(path))).endswith(f"jq -c '{expression}' {path} > rows.jsonl")


PRETTY = [json.dumps(ROWS[0], indent=2), '{"rows": [\n{}]}', '{"a": 1,\n"b": 2}', '{"a":\n1}', '{"a": 1\n}']


@pytest.mark.parametrize("text", PRETTY)
def test_pretty_printed_json_is_called_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    found = message(lambda: list(parse_json_lines(tmp_path / "rows.json")))
    assert "line 1: an object that does not end on its line, as in pretty-printed JSON" in found
    assert "jq -c . " in found


@pytest.mark.parametrize("line", ['{"question": "2 +', '{"question": "q",}', "{'question': 'q'}", "question"])
def test_a_malformed_first_line_is_still_called_that(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{line}\n{{"question": "q"}}\n')
    assert "line 1: not a JSON object" in message(lambda: list(parse_json_lines(tmp_path / "rows.jsonl")))


@pytest.mark.parametrize(("written", "read"), [(";", ","), ("\t", ","), ("|", ","), (",", "\t"), (";", "\t")])
def test_csv_with_another_separator_names_it_and_the_option(tmp_path: Path, written: str, read: str) -> None:
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=written).writerows([["question", "answer"], ["1, 2 or 3?", "#### 3"]])
    found = message(lambda: list(read_csv(tmp_path / "rows.csv", read)))
    assert f"its separator is {written!r}, not {read!r}" in found
    assert f"delimiter: {json.dumps(written)}" in found
    assert [row for _, row in read_csv(tmp_path / "rows.csv", written)] == [{"question": "1, 2 or 3?", "answer": "#### 3"}]


def test_a_header_of_one_name_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt\n2 + 3; then?\n")
    assert list(read_csv(tmp_path / "rows.csv", ",")) == [(1, {"prompt": "2 + 3; then?"})]


# No pairs


def test_decimals_give_no_pairs_and_training_says_so(source: Source) -> None:
    rows = list(read_rows(source({"question": "Half of 5?", "answer": "#### 2.50"})))
    found = message(lambda: split_pairs([row for row in rows if row["chosen"] is not None], RewardModel(), 1))
    assert "near misses are derived only from answers that end in '#### N', N an integer" in found
    assert "chosen and rejected" in found


def test_each_check_that_lacks_pairs_says_how_to_get_them_or_to_do_without() -> None:
    rows = [{"prompt": f"{n}?", "answer": f"#### {n}"} for n in range(20)]
    samples = Samples([row for row in rows for _ in range(2)], [f"#### {n + i}" for n in range(20) for i in range(2)])
    subject = Subject("verifier", grade_numbers, grade_numbers)
    names = ["pair_accuracy", "length_baseline", "padding_invariance", "text_invariance", "format_perturbation"]
    report = validate_reward(subject, [], drawing(samples), RewardValidation())
    advice = {check.name: check.advice for check in report.checks}
    assert set(names) <= set(report.failed)
    assert all("chosen and rejected" in advice[name] and "reward.validation.waive" in advice[name] for name in names)
    waived = validate_reward(subject, [], drawing(samples), RewardValidation(waive=dict.fromkeys(names, "texts have no pairs")))
    assert set(waived.failed).isdisjoint(names)


# DVC


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "ERROR: unexpected error - [Errno 28] No space left on device\n\n"
            "\x1b[33mHaving any troubles?\x1b[39m Hit us up at \x1b[34mhttps://dvc.org/support\x1b[39m, we are always happy\n",
            "ERROR: unexpected error - [Errno 28] No space left on device",
        ),
        (
            "WARNING: no file\nERROR: failed to pull data from the cloud - Checkout failed for following targets:\ndata\n"
            "Is your cache up to date?\n<\x1b[34mhttps://error.dvc.org/missing-files\x1b[39m>\n",
            "ERROR: failed to pull data from the cloud - Checkout failed for following targets: data "
            "Is your cache up to date? <https://error.dvc.org/missing-files>",
        ),
        (
            "WARNING: Some of the cache files do not exist neither locally nor on remote. Missing cache files:\nmd5: 01.dir\n"
            "ERROR: failed to pull data from the cloud - Checkout failed\n",
            "WARNING: Some of the cache files do not exist neither locally nor on remote. Missing cache files: md5: 01.dir "
            "ERROR: failed to pull data from the cloud - Checkout failed",
        ),
        (
            "ERROR: failed to connect to s3 (b/x) - Could not connect\nERROR: failed to pull data from the cloud - 1 files\n",
            "ERROR: failed to connect to s3 (b/x) - Could not connect ERROR: failed to pull data from the cloud - 1 files",
        ),
        ("Traceback (most recent call last):\n  File\nMemoryError\n", "MemoryError"),
        (
            "Traceback (most recent call last):\n  File\nKeyError\n\nTraceback (most recent call last):\n  File\n"
            "OSError: two lines:\nhttps://host/x?token=hidden\n",
            "OSError: two lines: https://host/x?token=***",
        ),
        ("ERROR: cannot reach https://me:secret@host/x.", "ERROR: cannot reach https://***@host/x"),
        ("", "no message"),
    ],
)
def test_what_dvc_says_of_the_cause_is_kept(stderr: str, reason: str) -> None:
    assert _reason(stderr) == reason


@pytest.mark.parametrize(
    ("scheme", "remedy"),
    [("s3", "pip install 'ratchet-rl[server]'"), ("gs", "pip install dvc-gs"), ("azure", "pip install dvc-azure")],
)
def test_a_library_that_dvc_lacks_is_named_with_the_remedy(scheme: str, remedy: str) -> None:
    said = f"ERROR: unexpected error - {scheme} is supported, but requires 'dvc-{scheme}' to be installed: No module\n"
    error = _failure("dvc push failed", said)
    assert isinstance(error, MissingExtraError)
    assert f"dvc-{scheme}" in str(error)
    assert str(error).endswith(f"Run: {remedy}.")
