"""What the policy is asked: templates filled in from rows, with their faults named by file, row and field."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.asking import asking
from ratchet.components.data.columns import Lacking, content, raw_row, restored, stored
from ratchet.components.data.journal import Journal
from ratchet.components.data.lengths import limit_lengths
from ratchet.components.data.prepare import checked_rows, prepare
from ratchet.components.data.sources import read_rows
from ratchet.components.errors import DataError
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Data, LengthLimit, Records, Split, Task
from ratchet.components.storage.files import read_json_lines
from tests.data.frames import frame
from tests.tiny_models import tiny_policy, tiny_tokenizer

ROW = {"text": "My card is lost.", "labels": ["card", "login"], "customer": {"name": "Ada"}, "note": None, "blank": " "}


def asked(row: dict[str, Any] = ROW, **task: Any) -> list[dict[str, str]]:
    return asking(Task.model_validate(task))(row, "rows.jsonl", 3)


def test_a_prompt_is_one_user_turn_with_the_rows_fields() -> None:
    assert asked(prompt="{{item.customer.name}}: {{item.text}}") == [{"role": "user", "content": "Ada: My card is lost."}]


def test_messages_keep_their_roles_and_what_is_not_text_is_json() -> None:
    messages = [
        {"role": "system", "content": "One of {{item.labels}}, e.g. {{item.labels[0]}}."},
        {"role": "user", "content": "{{item.text}}"},
    ]
    assert asked(messages=messages) == [
        {"role": "system", "content": 'One of ["card", "login"], e.g. card.'},
        {"role": "user", "content": "My card is lost."},
    ]


def test_what_a_row_says_is_never_read_as_a_template() -> None:
    assert asked({"text": "{{item.secret}}", "secret": "s"}, prompt="{{item.text}}")[0]["content"] == "{{item.secret}}"


def test_a_content_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "system.md").write_text("Be {{item.tone}}.\n")
    assert asked({"tone": "brief"}, prompt=f"file:{tmp_path / 'system.md'}")[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{{item.txt}}", r"rows\.jsonl, row 3: there is no item\.txt.*fields are 'text', 'labels', 'customer'"),
        ("{{item.labels[2]}}", r"row 3: there is no item\.labels\[2\]"),
        ("{{item.note}}", r"row 3: item\.note is null"),
        ("Sort this: {{item.blank}}", r"row 3: item\.blank is blank"),
    ],
)
def test_faults_a_field_that_a_row_lacks_is_named(prompt: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        asked(prompt=prompt)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot read .*No such file"), ("{{sample.output_text}}", "not a template")]
)
def test_faults_a_contents_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "prompt.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        asked(prompt=f"file:{path}")


def test_a_dataset_has_the_messages_and_asks_them_in_the_policys_template(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Where is {n}?", "label": "login" if n % 3 else "card", "tone": "brief"}) for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "data").mkdir()
    turns = [{"role": "system", "content": "Be {{item.tone}}."}, {"role": "user", "content": "{{item.text}}"}]
    data = Data.model_validate(
        {
            "source": {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl"), "answer": "label"},
            "task": {"messages": turns},
            "checks": {"answers": "text"},
            "near_duplicates": None,
            "split": {"pairs": 0.0, "dev": 0.2, "sealed": 0.2, "sealed_folds": 1, "guard": 0.1},
        }
    )
    prepare(data, tmp_path / "data")
    row = read_json_lines(tmp_path / "data" / "train.jsonl")[0]
    assert row["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["item"]["text"]}]
    assert row["prompt"] == f"system: Be brief.\n\nuser: {row['item']['text']}"
    policy = Policy(tiny_policy().model, deepcopy(tiny_tokenizer()))
    policy.tokenizer.chat_template = None
    assert policy.encode_row(row) == policy.encode_prompt(row["prompt"])  # without a template: the transcript
    policy.tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    assert policy.encode_row(row) == policy.encode_messages(row["messages"]) != policy.encode_prompt(row["prompt"])


def test_a_conversation_that_is_too_long_is_dropped_where_a_prompt_is_cut() -> None:
    turns = json.dumps([{"role": "system", "content": "Be brief."}])
    rows = frame({"prompt": "one two three"}, {"prompt": "one two three", "messages": turns})
    assert limit_lengths(rows, LengthLimit(max_prompt=2, policy="truncate")).frame["prompt"].to_list() == ["one two"]


def test_the_answer_of_a_task_is_the_reference_as_text(tmp_path: Path) -> None:
    rows = [{"q": "One bill.", "expected": {"total": 7, "by": "Ada"}, "n": 1}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")
    source = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl"), "question": "q"}

    def answer(template: str) -> dict[str, Any]:
        (row,) = read_rows(Data.model_validate({"source": source, "task": {"answer": template}}))
        return row

    row = answer("{{item.expected}}")
    assert (row["prompt"], row["answer"], row["demonstration"]) == ("One bill.", *['{"by": "Ada", "total": 7}'] * 2)
    assert row["item"]["expected"] == {"total": 7, "by": "Ada"}
    assert answer("#### {{item.n}}")["answer"] == "#### 1"
    with pytest.raises(DataError, match=r"rows\.jsonl, each row: there is no item\.total, which task\.answer.*fields are 'q'"):
        answer("{{item.total}}")


def test_rows_that_a_template_cannot_read_are_bad_rows_like_others(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"q": f"{n} and 1?", "n": n + 1} for n in range(40)]
    rows[6], rows[8], rows[9] = {"q": None, "n": 7}, {"q": "8 and 1?"}, {"q": " ", "n": None}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    section = {
        "source": {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")},
        "task": {"prompt": "Add: {{item.q}}", "answer": "#### {{item.n}}"},
    }
    with pytest.raises(DataError) as refused:
        checked_rows(Data.model_validate(section), [], Journal(Split(), 0))
    found = str(refused.value).replace(f"{tmp_path}/", "").splitlines()
    assert found == [
        "4 checks failed, in 3 of 40 rows:",
        "  rows.jsonl, row 7: prompt: item.q is null, and task reads it",
        "  rows.jsonl, row 9: answer: there is no item.n, which task.answer reads",
        "  rows.jsonl, row 10: answer: item.n is null, and task.answer reads it",
        "  rows.jsonl, row 10: prompt: item.q is blank, and task reads it",
        "Correct or remove these rows. Or drop up to a share of them with data.checks.max_bad_rows.",
    ]
    journal = Journal(Split(), 0)
    assert checked_rows(Data.model_validate({**section, "checks": {"max_bad_rows": 0.1}}), [], journal).height == 37
    assert journal.dropped()["bad_rows"] == 3


def test_an_added_row_that_a_template_cannot_read_is_stored_and_known_again() -> None:
    row = {"file": "r.jsonl", "row": 1, **raw_row({"answer": "5"}, Records(path="r.jsonl"), Lacking("item.q is null"))}
    kept = json.loads(json.dumps(stored(row)))
    assert (kept["question"], content(restored(kept))) == (None, content(row))


def test_where_no_answer_is_needed_a_row_may_lack_what_task_answer_reads(tmp_path: Path) -> None:
    rows = [{"question": "a", "n": 1}, {"question": "b", "n": None}, {"question": "c"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}
    data = Data.model_validate({"source": source, "task": {"answer": "#### {{item.n}}"}, "checks": {"answers": "optional"}})
    assert [row["answer"] for row in read_rows(data)] == ["#### 1", None, None]


def test_faults_an_answer_without_a_field_would_be_every_rows() -> None:
    with pytest.raises(ValueError, match="every row would have the same"):
        Task(answer="#### 1")
