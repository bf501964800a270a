"""An item that was published is known by its question: in other words around it, in other letters, in other company."""

from pathlib import Path
from typing import Any

from ratchet.components.data.prepare import prepare
from ratchet.components.gate.folds import Pair, choose_fold, count_use, states_of_folds
from ratchet.components.gate.items import Items, of_judged, share
from ratchet.components.ledger.tables import fold_items
from ratchet.components.stages.results import DataStage
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.store import Finished
from tests.gate.staged import Project

ONE, OTHER = "Answer in one word. {{item.question}}", "Answer with one word. {{item.question}}"
QUESTIONS = [f"Name number {n}" for n in range(300)]


def version(project: Project, questions: list[str], prompt: str | None = None) -> DataStage:
    """A dataset version of a project, as preparation makes it."""
    root = project.path / f"version{len(list(project.path.glob('version*')))}"
    (root / "data").mkdir(parents=True)
    write_json_lines(root / "rows.jsonl", [{"question": text, "answer": f"#### {len(text)}"} for text in questions])
    rules: dict[str, Any] = {"near_duplicates": None, "decontaminate": None, "checks": {"max_same_label": 1.0}}
    split = project.context.recipe.data.split
    values = {"source": str(root / "rows.jsonl"), "split": split, "task": prompt and {"prompt": prompt}}
    prepare(type(project.context.recipe.data).model_validate({**rules, **values}), root / "data")
    files = {f"data/{path.name}": file_digest(path) for path in (root / "data").glob("*.jsonl")}
    return DataStage(Finished("data", root.name, root, {"files": files}), False, 0.0)


def project_at(folder: Path, **rules: Any) -> Project:
    split = {"sealed": 0.5, "sealed_folds": 2, "dev": 0.1, "guard": 0.0, "pairs": 0.1}
    return Project(folder, recipe={"data": {"split": split}}, **rules)


def publish_all(project: Project) -> None:
    """Judge on each fold once, and retire it."""
    rules = project.context.recipe.gate.rules
    for number in range(2):
        fold = choose_fold(project.context, project.ledger, project.data, Pair(f"c{number}", "i", "r"), project.trained).fold
        assert fold is not None
        assert count_use(project.ledger, "m", fold, Pair(f"c{number}", "i", "r"), rules) is not None
        project.ledger.retire("m", fold.digest, "spent")


def reason(project: Project, data: DataStage) -> str:
    choice = choose_fold(project.context, project.ledger, data, Pair("new", "i", "r"), project.trained)
    return choice.reason if choice.fold is None else f"{choice.fold.name}, {len(choice.fold.items)} items"


def test_an_edited_instruction_gives_no_published_item_another_use(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS, ONE)
    publish_all(project)
    for prompt in (ONE, OTHER, None):
        assert reason(project, version(project, QUESTIONS, prompt)).startswith("no sealed fold is left")
    states = states_of_folds(project.context, project.ledger, version(project, QUESTIONS, OTHER), project.trained)
    assert [(state.items, state.left) for state in states] == [(0, 0), (0, 0)]


def test_rows_in_other_letters_give_no_published_item_another_use(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS)
    publish_all(project)
    assert reason(project, version(project, [*QUESTIONS, *map(str.upper, QUESTIONS)])).startswith("no sealed fold is left")


def test_so_many_new_rows_as_it_says_give_a_fold(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS)
    publish_all(project)
    needed = int(reason(project, project.data).partition("about ")[2].partition(" give")[0])
    new = [f"Say number {n}" for n in range(needed + 60)]  # by chance, a fold has its share of them
    assert "items" in reason(project, version(project, [*QUESTIONS, *new]))


def test_an_edited_instruction_continues_the_epoch(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS, ONE)
    rules, pairs = project.context.recipe.gate.rules, [Pair("a", "i", "r"), Pair("b", "i", "r")]
    for number, data in enumerate((project.data, version(project, QUESTIONS, OTHER))):
        fold = choose_fold(project.context, project.ledger, data, pairs[number], project.trained).fold
        assert fold is not None
        counted = count_use(project.ledger, "m", fold, pairs[number], rules)
        assert counted is not None
        assert (counted.name, counted.use) == ("sealed_0", number + 1)


def test_a_fold_published_meanwhile_in_other_words_is_not_used(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS, OTHER)
    chosen = choose_fold(project.context, project.ledger, project.data, Pair("a", "i", "r"), project.trained).fold
    assert chosen is not None
    project.data = version(project, QUESTIONS, ONE)
    publish_all(project)
    assert count_use(project.ledger, "m", chosen, Pair("a", "i", "r"), project.context.recipe.gate.rules) is None


def test_items_of_schema_9_are_known_by_the_ids_that_they_had(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS)
    publish_all(project)
    with project.ledger.transaction() as connection:
        connection.execute(fold_items.update().values(asked=None))
    assert reason(project, version(project, [*QUESTIONS, *map(str.upper, QUESTIONS)])).startswith("no sealed fold is left")


def test_published_items_asked_by_other_fields_close_the_gate(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.data = version(project, QUESTIONS)
    publish_all(project)
    with project.ledger.transaction() as connection:
        connection.execute(fold_items.update().values(item_ids="x", asked='{"x": {"item.a": "0", "item.b": "1"}}'))
    assert reason(project, project.data).startswith("no sealed fold is left")  # one text may be any of theirs, and is none
    two = version(project, QUESTIONS, "{{item.answer}} is the length of {{item.question}}")
    assert reason(project, two).startswith("published items were asked by other fields")


def test_folds_of_which_it_is_not_known_whether_they_share_an_item_do() -> None:
    one, other = {"x": {"item.a": "0", "item.b": "1"}}, {"y": {"item.c": "2", "item.d": "3"}}
    assert share(of_judged(one), other, {"x"})
    assert not share(Items([]), other, set())
