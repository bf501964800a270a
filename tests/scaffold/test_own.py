"""The recipe of rows of one's own: what it has, and that it is one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import build_recipe, parse_yaml
from ratchet.components.rewards.checks.on_pairs import ScoredPairs
from ratchet.components.rewards.checks.validation import Subject, checks_on_pairs
from ratchet.components.scaffold.guess import guess_columns, guess_task
from ratchet.components.scaffold.own import Own, first_rows, split_for, tried, values_of
from ratchet.components.scaffold.project import own_project
from ratchet.components.scaffold.recipe_text import FIRST_LINE
from ratchet.components.scaffold.table import read_table
from tests.scaffold.rows import bills, sums, tickets, write_jsonl


def own(path: Path, task: str | None = None, **more: Any) -> Own:
    table = read_table(path)
    columns = guess_columns(table)
    return Own("mine", table, path.name, columns, task or guess_task(table, columns), **more)


def test_labels_become_a_label_grader_and_are_named_in_the_prompt(tmp_path: Path) -> None:
    values = values_of(own(tickets(tmp_path / "t.csv")))
    assert values["data"]["source"] == {"kind": "csv", "path": "t.csv", "answer": "queue"}
    assert values["data"]["checks"] == {"answers": "text"}
    assert values["task"] == {"prompt": "{{item.body}}\nAnswer with one of: billing, delivery, repair."}
    assert values["graders"] == {"right": {"type": "label", "labels": ["billing", "delivery", "repair"]}}
    assert values["policy"] == {"warmup": {"until": 0.6}, "max_new_tokens": 16}  # 8 characters / 2 + 8, to a multiple of 8


def test_usual_names_and_marked_numbers_need_nothing_written(tmp_path: Path) -> None:
    values = values_of(own(sums(tmp_path / "s.jsonl")))
    assert values["data"] == {"source": {"kind": "jsonl", "path": "s.jsonl"}, "split": split_for(60, pairs=False)}
    assert values["graders"]["right"] == {"type": "number", "form": "strict"}


@pytest.mark.parametrize(("answer", "template"), [(7, "#### {{item.n}}"), ("7", "#### {{item.n}}")])
def test_a_bare_number_gets_the_mark_of_the_strict_form(tmp_path: Path, answer: Any, template: str) -> None:
    rows = [{"question": f"{n}?", "n": type(answer)(n), "answer": None} for n in range(50)]
    table = read_table(write_jsonl(tmp_path / "n.jsonl", rows))
    mine = Own("mine", table, "n.jsonl", guess_columns(table, right="n"), "maths")
    assert values_of(mine)["task"]["answer"] == template
    assert all(row.reference is not None and row.reference.right for row in tried(mine, values_of(mine), 50))


def test_objects_become_json_and_are_judged_by_their_fields(tmp_path: Path) -> None:
    mine = own(bills(tmp_path / "b.jsonl"))
    values = values_of(mine)
    assert values["task"] == {
        "prompt": "{{item.text}}\nAnswer with a JSON object that has: total, by.",
        "answer": "{{item.expected}}",
    }
    rows = tried(mine, values, 20)
    assert [row.reference.right for row in rows if row.reference] == [True] * 20
    assert not any(row.empty.right or (row.other is not None and row.other.right) for row in rows)


def test_letters_are_choices_and_labels_that_differ_by_case_stay_apart(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": "AB"[n % 2], "case": ("Bug", "bug")[n % 2]} for n in range(30)]
    table = read_table(write_jsonl(tmp_path / "l.jsonl", rows))

    def grader(column: str) -> dict[str, Any]:
        mine = Own("mine", table, "l.jsonl", guess_columns(table, "text", column), "classify")
        return dict(values_of(mine)["graders"]["right"])

    assert grader("label") == {"type": "choice", "options": ["A", "B"]}
    assert grader("case") == {"type": "label", "labels": ["Bug", "bug"], "ignore_case": False}


def test_preferences_train_a_reward_model_and_have_a_stand_in_for_gold(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(60)]
    values = values_of(own(write_jsonl(tmp_path / "p.jsonl", rows)))
    assert (values["reward"], values["data"]["split"]["pairs"]) == ({"kind": "model"}, 0.2)
    assert values["graders"]["right"]["type"] == "text_similarity"
    assert values["gold"] == {"grader": "right", "allow_similarity": True}


def test_prompts_alone_name_a_model_because_there_is_nothing_to_warm_up_on(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n}"} for n in range(60)]
    values = values_of(own(write_jsonl(tmp_path / "p.jsonl", rows), grader={"file": "g.py:grade", "measure": "binary"}))
    assert values["data"]["checks"] == {"answers": "optional"}
    assert values["policy"]["model"].startswith("Qwen/")


def test_long_rows_get_room(tmp_path: Path) -> None:
    rows = [{"question": "q" * 2_500 + str(n), "answer": "a" * 400 + str(n)} for n in range(30)]
    values = values_of(own(write_jsonl(tmp_path / "l.jsonl", rows)))
    assert values["data"]["max_prompt_chars"] == 3_000
    assert values["policy"] == {"warmup": {"until": 0.6, "context": 1_728}, "max_new_tokens": 216}


def test_one_row_that_is_far_longer_than_all_others_does_not_size_the_policy(tmp_path: Path) -> None:
    rows = [{"question": f"what is {n}?", "answer": f"the number {n}"} for n in range(300)]
    usual = values_of(own(write_jsonl(tmp_path / "l.jsonl", rows)))
    rows[7] = {"question": "q" * 24_000, "answer": "a" * 9_000}
    dirty = values_of(own(write_jsonl(tmp_path / "l.jsonl", rows)))
    assert ("max_prompt_chars" in dirty["data"], dirty["policy"]) == (False, usual["policy"])


def test_a_function_reads_the_column_of_the_reference_by_its_own_name(tmp_path: Path) -> None:
    mine = own(tickets(tmp_path / "t.csv"), "own", grader={"file": "g.py:grade", "measure": "binary"})
    (row,) = first_rows(mine, 1)
    assert (row["answer"], row["item"]["queue"]) == ("billing", "billing")


def test_a_function_reads_a_column_that_no_template_can_name(tmp_path: Path) -> None:
    rows = [{"The text": f"t{n}", "Expected JSON": f'{{"n": {n}}}', "vip": n % 2, "note": None} for n in range(30)]
    rows[4].pop("note")
    grader = {"file": "g.py:grade", "measure": "binary"}
    mine = own(write_jsonl(tmp_path / "o.jsonl", rows), "own", grader=grader)
    (row,) = first_rows(mine, 1)
    assert (row["prompt"], row["answer"]) == ("t0", '{"n": 0}')
    assert row["item"] == {"The text": "t0", "Expected JSON": '{"n": 0}', "vip": 0}
    assert values_of(mine)["data"]["keep"] == ["The text", "Expected JSON", "vip"]


def test_few_rows_raise_the_gain_that_the_gate_must_detect(tmp_path: Path) -> None:
    def rules(count: int) -> Any:
        return values_of(own(tickets(tmp_path / f"{count}.csv", count)))["gate"]["rules"]

    assert (rules(4_000), rules(300)) == ({}, {"target_effect": 0.3})


ODD = "what is asked, by {{whom}}?"


def test_a_column_whose_name_no_template_can_have_is_named_in_the_source(tmp_path: Path) -> None:
    rows = [{ODD: f"text {n}", "#label: '\"": f"l{n % 3}"} for n in range(30)]
    table = read_table(write_jsonl(tmp_path / "odd #1.jsonl", rows))
    mine = Own("mine", table, "odd #1.jsonl", guess_columns(table, ODD, "#label: '\""), "classify")
    project = own_project(mine)
    recipe = build_recipe(parse_yaml(project.files["ratchet.yaml"].decode(), "ratchet.yaml"), "ratchet.yaml")
    assert (recipe.data.source.question, recipe.data.source.answer) == (ODD, "#label: '\"")  # type: ignore[union-attr]
    assert recipe.data.task is None


def test_faults_an_odd_column_that_is_not_text_must_be_renamed(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "a b": {"n": n}} for n in range(30)]
    table = read_table(write_jsonl(tmp_path / "o.jsonl", rows))
    with pytest.raises(RecipeError, match=r"'a b' is to be made text.*Rename it"):
        values_of(Own("mine", table, "o.jsonl", guess_columns(table, right="a b"), "extract"))


@pytest.mark.parametrize("make", [tickets, sums, bills])
def test_the_recipe_has_about_thirty_lines_and_no_default(tmp_path: Path, make: Any) -> None:
    suffix = "csv" if make is tickets else "jsonl"
    project = own_project(own(make(tmp_path / f"rows.{suffix}")))
    text = project.files["ratchet.yaml"].decode()
    assert text.startswith(FIRST_LINE)
    assert len(text.splitlines()) <= 35
    recipe = build_recipe(dict(project.values), "ratchet.yaml").model_dump()
    for section in ("data", "policy"):
        for key in project.values[section].keys() - {"source", "split"}:
            rest = {name: value for name, value in project.values[section].items() if name != key}
            assert build_recipe({**project.values, section: rest}, "ratchet.yaml").model_dump() != recipe, key


def test_the_checks_that_fail_for_want_of_pairs_are_waived_and_no_other(tmp_path: Path) -> None:
    recipe = build_recipe(values_of(own(tickets(tmp_path / "t.csv"))), "ratchet.yaml")
    gold = build_grader(recipe.gold_settings)
    none = np.zeros(0)
    found = checks_on_pairs(Subject("verifier", gold, gold), ScoredPairs([], none, none, 0.95), recipe.reward.validation)
    assert set(recipe.reward.validation.waive) == {check.name for check in found if check.passed is False}
