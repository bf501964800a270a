"""``ratchet init``: a stranger's first command, with guesses, answers, and everything that can be wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RatchetError
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.scaffold.judged import judged_rows
from ratchet.components.scaffold.templates import KINDS
from ratchet.flows.cli import app, init, options
from tests.commands import environment, ratchet
from tests.scaffold.rows import bills, sums, tickets, write_csv, write_jsonl


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which nothing was started before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "invocation", options.Invocation())
    return tmp_path


def call(*arguments: str, answers: str | None = None) -> Any:
    return CliRunner().invoke(app, ["init", *arguments], input=answers, catch_exceptions=False)


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith(".ratchet/workspaces")}


def recipe(folder: Path) -> Recipe:
    return load_recipe(folder / "ratchet.yaml")


USUAL = {"ratchet.yaml", "tests/test_graders.py", "constraints.txt", ".gitignore", ".ratchet/recipe.schema.json"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_written_and_is_there_the_second_time(place: Path, kind: str) -> None:
    assert "wrote   ratchet.yaml" in call("demo", "--task", kind, "--yes").stderr
    assert files(place / "demo") >= USUAL
    assert recipe(place / "demo").name == "demo"
    before = {name: (place / "demo" / name).stat().st_mtime_ns for name in files(place / "demo") if ".ratchet" not in name}
    done = call("demo", "--task", kind, "--yes")
    assert (done.exit_code, "everything is there already" in done.stderr) == (0, True)
    assert {name: (place / "demo" / name).stat().st_mtime_ns for name in before} == before


def test_rows_of_ones_own_are_guessed_and_one_is_shown(place: Path) -> None:
    (place / "demo" / "rows").mkdir(parents=True)
    tickets(place / "demo" / "rows" / "t.csv")
    said = call("demo", "--data", "demo/rows/t.csv", "--yes").stderr
    assert "asks    ticket 0 is about thing 0\\nAnswer with one of: billing, delivery, repair." in said
    assert "right   billing" in said
    assert "says right of 50 of 50 references, 0 of 50 empty answers, 0 of 50 other rows' references" in said
    assert files(place / "demo") == USUAL | {"rows/t.csv"}
    source = recipe(place / "demo").data.source
    assert (source.path, source.answer) == ("rows/t.csv", "queue")  # type: ignore[union-attr]


def test_what_rows_lack_is_told(place: Path) -> None:
    rows = [{"question": f"q{n}", "answer": None if n % 3 else f"a long answer, number {n}"} for n in range(60)]
    write_jsonl(place / "r.jsonl", rows)
    said = call("--data", "r.jsonl", "--yes").stderr
    assert "40 of 60 rows cannot be used: no answer in rows 2, 3, 5, 6, 8 and 35 more. A run refuses them" in said
    assert "60 rows are too few for a verdict: about 1" in said  # about 140
    rows = [{"my question": f"q{n}", "answer": f"{n} #### {n}"} for n in range(200)]
    said = call("odd", "--data", str(write_jsonl(place / "odd.jsonl", rows)), "--question", "my question", "--yes").stderr
    assert "no template can name 'my question'" in said
    assert "too few" not in said


def test_a_row_that_is_far_too_long_is_named(place: Path) -> None:
    rows = [{"question": f"q{n}", "answer": f"an answer, {n}"} for n in range(200)]
    rows[6]["question"], rows[8]["answer"] = "q" * 24_000, "a" * 9_000
    said = call("--data", str(write_jsonl(place / "r.jsonl", rows)), "--yes").stderr
    assert "prompt of row 7 has up to 24,000 characters, and no other more than 4: dropped by data.max_prompt_chars" in said
    assert "answer of row 9 has up to 9,000 characters, and no other more than 14: more than policy.max_new_tokens" in said


def test_rows_with_empty_cells_are_named_and_do_not_end_it(place: Path) -> None:
    rows = [("" if n == 7 else f"text {n}", "" if n in (0, 9) else f"queue {n % 3}") for n in range(200)]
    write_csv(place / "t.csv", ("text", "queue"), rows)
    done = call("--data", "t.csv", "--yes")
    assert done.exit_code == 0
    assert "3 of 200 rows cannot be used: no prompt in row 8; no answer in rows 1, 10." in done.stderr
    assert "or set data.checks.max_bad_rows=0.015, which drops them" in done.stderr
    assert "right   queue 1" in done.stderr  # of the first row that has both
    assert all(judged.reference is None or judged.reference.right for judged in judged_rows(place))


def test_a_side_of_pairs_that_never_varies_is_told(place: Path) -> None:
    rows = [{"prompt": f"q{n}", "chosen": f"a long answer, number {n}", "rejected": "I do not know."} for n in range(200)]
    said = call("--data", str(write_jsonl(place / "pairs.jsonl", rows)), "--yes").stderr
    assert "the column rejected says the same in every row" in said and "the column chosen says" not in said


def test_ci_and_deploy_add_a_file_each(place: Path) -> None:
    sums(place / "s.jsonl")
    call("--data", "s.jsonl", "--yes", "--ci", "--deploy")
    assert files(place) == USUAL | {"s.jsonl", ".github/workflows/ratchet.yml", "prefect.yaml"}
    assert f"name: {recipe(place).name}\n" in (place / "prefect.yaml").read_text()


@pytest.mark.parametrize("file", ["mine.py", "graders.py"])  # the second is also the name of the function to start from
def test_a_function_of_ones_own_is_gold(place: Path, file: str) -> None:
    bills(place / "b.jsonl")
    source = (
        "def grade(sample, item):\n    return float((sample['output_json'] or {}).get('total') == item['expected']['total'])\n"
    )
    (place / file).write_text(source)
    said = call("--data", "b.jsonl", "--grader", f"{file}:grade", "--yes").stderr
    assert "grade(sample, item), protocol openai" in said
    settings = recipe(place).gold_settings
    assert (settings.type, settings.scores, getattr(settings, "file", None)) == ("file", "binary", f"{file}:grade")
    assert files(place) == USUAL | {"b.jsonl", file}
    assert (place / file).read_text() == source


@pytest.mark.slow
def test_a_task_of_ones_own_gets_a_function_to_start_from(place: Path) -> None:
    write_jsonl(place / "r.jsonl", [{"question": f"say {n}", "answer": f"word {n} of {n * 7}"} for n in range(30)])
    call("--data", "r.jsonl", "--task", "own", "--yes")
    assert files(place) == USUAL | {"r.jsonl", "graders.py"}
    assert run_tests(place) == "4 passed"


def test_outside_rows_are_named_by_their_whole_path_and_a_note(place: Path) -> None:
    sums(place / "s.jsonl")
    assert "is outside of the project" in call("demo", "--data", "s.jsonl", "--yes").stderr
    assert recipe(place / "demo").data.source.path == str(place / "s.jsonl")  # type: ignore[union-attr]


def test_queries_take_the_one_database_that_lies_beside_them(place: Path) -> None:
    call("shop", "--task", "sql", "--yes")
    (place / "mine").mkdir()
    for name in ("questions.jsonl", "shop.sqlite"):
        (place / "shop" / name).rename(place / "mine" / name)
    said = call("mine", "--data", "mine/questions.jsonl", "--answer", "answer", "--yes").stderr
    assert "says right of 50 of 50 references" in said
    assert getattr(recipe(place / "mine").gold_settings, "database", None) == "shop.sqlite"


# Questions


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "require_terminal", lambda yes: None)


@pytest.mark.usefixtures("terminal")
def test_three_questions_have_the_guesses_as_their_answers(place: Path) -> None:
    tickets(place / "t.csv")
    done = call(".", answers="t.csv\n\n\n")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("]:") + done.stderr.count("rows:") == 3
    assert "[2 3]" in done.stderr
    assert "[classify]" in done.stderr
    asked = (place / "ratchet.yaml").read_bytes()
    assert "everything is there already" in call(".", "--data", "t.csv", "--yes").stderr
    assert (place / "ratchet.yaml").read_bytes() == asked


@pytest.mark.usefixtures("terminal")
def test_other_answers_are_taken(place: Path) -> None:
    tickets(place / "t.csv")
    call(".", "--data", "t.csv", answers="3 2\ntext\n")
    made = recipe(place)
    assert (made.data.task, made.gold_settings.type) == (made.data.task, "exact")
    assert made.data.task is not None
    assert made.data.task.prompt == "{{item.queue}}"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("numbers", ["0 1", "9 1", "two", "-1 2"])
def test_faults_numbers_that_no_column_has_are_refused(place: Path, numbers: str) -> None:
    tickets(place / "t.csv")
    with pytest.raises(RatchetError, match="are not numbers from 1 to 3"):
        call(".", "--data", "t.csv", answers=f"{numbers}\n")


@pytest.mark.usefixtures("terminal")
def test_nothing_instead_of_rows_is_a_template(place: Path) -> None:
    call("demo", answers="\nclassify\n")
    assert (place / "demo" / "tickets.jsonl").is_file()


def test_faults_without_a_terminal_nothing_is_asked(place: Path) -> None:
    with pytest.raises(RatchetError, match=r"no terminal to answer on.*--yes") as caught:
        call("demo", "--task", "maths")
    assert (caught.value.exit_code, list(place.iterdir())) == (2, [])


# What can be wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "poetry"], "there is no template 'poetry'. Write one of maths"),
        (["--task", "maths", "--answer", "x"], "--answer is about rows of your own"),
        (["--data", "none.jsonl"], r"cannot read .*none\.jsonl"),
        (["--data", "t.csv", "--task", "sql"], "--task sql needs answers that begin with SELECT"),
        (["--data", "t.csv", "--task", "poetry"], "needs a task of this name"),
        (["--data", "t.csv", "--question", "text"], "--question 'text' is not a column"),
        (["--data", "t.csv", "--grader", "none.py:grade"], r"none\.py"),
        (["--data", "t.csv", "--grader", "broken.py:grade"], "broken"),
        (["--data", "t.csv", "--grader", "t.csv"], "names no function"),
        (["--data", "q.jsonl"], "queries need the SQLite file.*there is none.*--database"),
        (["--data", "q.jsonl", "--database", "none.sqlite"], r"there is no file .*none\.sqlite"),
        (["--data", "p.jsonl"], "no row of .* says what is right"),
        (["--data", "p.jsonl", "--task", "own"], "no row of .* says what is right"),
        (["--data", "array.json"], "a JSON array, but JSONL has one object per line"),
        (["--data", "data/t.csv"], r"data/t\.csv is in data/"),
    ],
)
def test_faults_bad_usage_is_said_and_nothing_is_written(place: Path, arguments: list[str], message: str) -> None:
    tickets(place / "t.csv")
    (place / "data").mkdir()
    tickets(place / "data" / "t.csv")
    (place / "broken.py").write_text("import broken_module\n")
    write_jsonl(place / "q.jsonl", [{"question": f"q{n}", "sql": f"SELECT {n}"} for n in range(30)])
    write_jsonl(place / "p.jsonl", [{"prompt": f"say {n}"} for n in range(30)])
    (place / "array.json").write_text("[]")
    before = files(place)
    with pytest.raises(RatchetError, match=message) as caught:
        call(*arguments, "--yes")
    assert caught.value.exit_code == 2
    assert files(place) - before <= {name for name in files(place) if "__pycache__" in name}


def test_faults_a_file_with_other_content_is_shown_and_nothing_is_written(place: Path) -> None:
    (place / "demo" / "tests").mkdir(parents=True)
    (place / "demo" / "tests" / "test_graders.py").write_text("# mine\n")
    with pytest.raises(RatchetError, match="-# mine") as caught:
        call("demo", "--task", "classify", "--yes")
    assert caught.value.exit_code == 2
    assert files(place / "demo") == {"tests/test_graders.py"}


def test_files_that_nobody_asks_about_stay(place: Path) -> None:
    (place / "demo").mkdir()
    (place / "demo" / "README.md").write_text("mine")
    (place / "demo" / ".gitignore").write_text("*.pyc\n")
    assert call("demo", "--task", "classify", "--yes").exit_code == 0
    assert (place / "demo" / "README.md").read_text() == "mine"
    assert (place / "demo" / ".gitignore").read_text().startswith("*.pyc\n.ratchet/\n")


def test_constraints_of_ones_own_stay(place: Path) -> None:
    (place / "demo").mkdir()
    (place / "demo" / "constraints.txt").write_text("numpy==2\n")
    assert "constraints.txt" not in call("demo", "--task", "maths", "--yes").stderr
    assert (place / "demo" / "constraints.txt").read_text() == "numpy==2\n"


def test_a_project_within_another_is_told(place: Path) -> None:
    (place / "ratchet.yaml").write_text("name: outer\n")
    assert f"{place} is a project too" in call("inner", "--task", "classify", "--yes").stderr


# As a stranger


def run_tests(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    done = subprocess.run(command, cwd=folder.parent, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    return re.split(" in ", done.stdout.splitlines()[-1])[0]


@pytest.mark.slow
def test_the_projects_own_tests_pass_and_notice_a_broken_gold(place: Path) -> None:
    bills(place / "rows.jsonl")
    call("--data", "rows.jsonl", "--yes")
    assert run_tests(place) == "4 passed"
    path = place / "ratchet.yaml"
    path.write_text(path.read_text().replace("{type: json_match, score: all}", '{type: regex, pattern: ".*"}'))
    assert run_tests(place) == "2 failed, 2 passed"


@pytest.mark.slow
def test_a_path_with_odd_characters_is_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "my tickets #1 100%?"
    folder.mkdir()
    tickets(folder / "t 1.csv")
    command = [*ratchet("init", "--data", "t 1.csv", "--yes"), "--ci"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert recipe(folder).name == "my-tickets-1-100"
    done = subprocess.run(
        ratchet("recipe", "check"), cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
