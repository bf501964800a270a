"""What training saw is known by its questions, whatever changed since in the recipe; if it is not known, nothing is judged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data import versioning
from ratchet.components.errors import DataError, RegistryError
from ratchet.components.gate.items import Trained
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import promote
from ratchet.components.project import trained as module
from ratchet.components.project.project import Project
from ratchet.components.project.trained import TrainedOn, last_known
from ratchet.components.provenance.ancestry import Ancestor
from ratchet.components.recipe import build_recipe
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.home import Home
from tests.ledger.fakes import Registry, promoting
from tests.provenance.records import lineage

ROWS = [{"question": f"Name number {n}", "lang": "en", "answer": "a" if n % 2 else "b"} for n in range(400)]
SPLIT = {"dev": 0.1, "sealed": 0.3, "sealed_folds": 2, "guard": 0.1, "pairs": 0.0}
ONE = "Answer in one word. {{item.question}}"


class Place:
    """Versions of a dataset, of which the champion was trained on one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.number, self.lineages = folder, 0, dict[str, Ancestor]()
        self.restored: list[str] = []
        self.versions: dict[str, Path] = {}
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        monkeypatch.setattr(module, "ancestry", lambda _tracker, _name, number, _scratch: [self.lineages[number]])
        monkeypatch.setattr(versioning, "restore", self.restore)

    def restore(self, version: str, *_: Any) -> Path:
        self.restored.append(version)
        if version not in self.versions:
            raise DataError("neither cache nor remote has it. Bring it there.")
        return self.versions[version]

    def data(self, task: str | None = ONE, rows: list[dict[str, Any]] = ROWS, **data: Any) -> tuple[Context, DataStage]:
        """A recipe, and its dataset version."""
        from ratchet.components.data.prepare import prepare
        from ratchet.components.storage.store import Finished

        self.number += 1
        root = self.folder / f"v{self.number}"
        (root / "data").mkdir(parents=True)
        source = self.folder / f"rows{self.number}.jsonl"
        write_json_lines(source, rows)
        more = {"checks": {"answers": "text"}, "split": SPLIT, "near_duplicates": None, "decontaminate": None}
        values = {
            "name": "m",
            "reward": {"kind": "verifier"},
            "gate": {"rules": {}},
            "data": {"source": str(source), **more, **data},
        }
        recipe = build_recipe({**values, **({"task": {"prompt": task}} if task else {})}, "test")
        prepare(recipe.data, root / "data")
        md5 = f"{self.number:032x}.dir"
        (root / "data.dvc").write_text(f"outs:\n- md5: {md5}\n  path: data\n", encoding="utf-8")
        self.versions[md5] = root / "data"
        stage = DataStage(Finished("data", str(self.number), root, {"files": {}}), False, 0.0)
        return Context(recipe, Home(self.folder, self.folder / ".ratchet")), stage

    def champion(self, made: tuple[Context, DataStage], older: bool = False) -> None:
        """Promote a version that was trained on a dataset."""
        context, data = made
        asked = None if older else data.summary.get("asked", [])
        dataset = {"md5": data.version, "pointer": "", "asked": asked}
        record = lineage(dataset=dataset, recipe=context.recipe.model_dump(mode="json"))
        self.lineages["1"] = Ancestor("1", {}, record)
        promote(self.ledger, Registry(), "m", promoting("w1"), expected=0, version="1", run_id="r")

    def seen(self, made: tuple[Context, DataStage]) -> Trained:
        context, data = made
        project = Project(context.home, context.recipe)
        project.__dict__["tracker"] = None
        return TrainedOn(project, context, self.ledger)(data)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def texts(made: tuple[Context, DataStage], ids: frozenset[str] | None = None, sealed: bool = True) -> set[str]:
    """Questions of the sealed items with these ids, or of all; or of the rows outside."""
    data = made[1]
    names = [path.stem for path in (data.path / "data").glob("*.jsonl") if path.stem.startswith("sealed") is sealed]
    rows: list[Mapping[str, Any]] = [row for name in names for row in data.table(name)]
    return {row["prompt"].rpartition(". ")[2].lower() for row in rows if ids is None or row["id"] in ids}


def test_where_the_data_only_grew_nothing_was_seen_and_nothing_is_read(place: Place) -> None:
    place.champion(place.data())
    more = [*ROWS, *({**row, "question": f"{row['question']}th"} for row in ROWS)]
    assert place.seen(place.data("Say it with one word. {{item.question}}", more)) == Trained()
    assert place.seen(place.data(None)) == Trained()
    assert place.restored == []


def test_without_a_task_an_earlier_release_dealt_the_questions_as_this_one(place: Place) -> None:
    place.champion(place.data(None), older=True)
    assert place.seen(place.data(ONE, [*ROWS, {**ROWS[0], "question": "Another"}])) == Trained()
    assert place.restored == []


def test_before_the_first_champion_nothing_was_seen(place: Place) -> None:
    assert place.seen(place.data()) == Trained(first=True)


@pytest.mark.parametrize("changed", [{"split": {**SPLIT, "sealed": 0.5}}, {"group": "lang", "rows": [
    {**row, "lang": f"{n % 150}"} for n, row in enumerate(ROWS)]}])  # fmt: skip
def test_what_other_splits_or_groups_make_sealed_was_seen_if_trained_on(place: Place, changed: dict[str, Any]) -> None:
    before = place.data()
    place.champion(before)
    after = place.data(**changed)
    seen = place.seen(after)
    outside = texts(before, sealed=False)
    assert texts(after, seen.items) == texts(after) & outside
    assert 50 < len(seen.items) < len(texts(after))
    assert seen.said.endswith("do not count: training saw their questions (data of version 1)")
    assert last_known(after[0], place.ledger, after[1]) == seen
    assert last_known(before[0], place.ledger, before[1]) == Trained()


def test_rows_in_other_letters_were_seen_too(place: Place) -> None:
    before = place.data()
    place.champion(before)
    upper = [{**row, "question": row["question"].upper()} for row in ROWS]
    after = place.data(rows=upper, split={**SPLIT, "sealed": 0.5})
    assert texts(after, place.seen(after).items) == texts(after) & texts(before, sealed=False)


@pytest.mark.parametrize(("before", "after"), [
    (None, "{{item.lang}}. {{item.question}}"),
    ("{{item.lang}}. {{item.question}}", None),
    ("{{item.lang}}. {{item.question}}", "{{item.lang}}, {{item.answer}}. {{item.question}}"),
])  # fmt: skip
def test_a_question_is_known_if_another_field_is_asked_with_it(place: Place, before: str | None, after: str | None) -> None:
    old = place.data(before)
    place.champion(old)
    new = place.data(after)
    assert texts(new, place.seen(new).items) == texts(new) & texts(old, sealed=False)


def test_fields_of_which_none_is_the_same_are_compared_with_nothing(place: Place) -> None:
    place.champion(place.data("{{item.lang}}. {{item.question}}"))
    rows = [{"title": row["question"], "tongue": "en", "answer": row["answer"]} for row in ROWS]
    found = place.seen(place.data("{{item.tongue}}. {{item.title}}", rows))
    assert found.unknown is not None
    assert "task asks by other fields now. Let task read one of the fields" in found.unknown


def test_a_version_of_an_earlier_release_is_compared_by_the_columns_of_its_rows(place: Place) -> None:
    before = place.data()
    place.champion(before, older=True)
    for path in (before[1].path / "data").glob("*.jsonl"):
        rows = list(before[1].table(path.stem))
        write_json_lines(path, [{name: value for name, value in row.items() if name != "asked"} for row in rows])
    after = place.data("Say it with one word. {{item.question}}", split={**SPLIT, "sealed": 0.5})
    assert texts(after, place.seen(after).items) == texts(after) & texts(before, sealed=False)
    unlike = place.seen(place.data("{{item.head}}", [{**row, "head": row["question"]} for row in ROWS])).unknown
    assert unlike is not None
    assert "do not have the fields that task reads now" in unlike


def test_a_dataset_that_cannot_be_had_closes_the_gate(place: Place) -> None:
    place.champion(place.data())
    after = place.data(split={**SPLIT, "sealed": 0.5})
    del place.versions[f"{1:032x}.dir"]
    unknown = place.seen(after).unknown
    assert unknown is not None
    assert "neither cache nor remote has it. Bring it there. Restore it, or promote by hand" in unknown


def test_a_record_that_cannot_be_read_closes_the_gate(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.data()
    place.champion(made)
    place.lineages["1"] = Ancestor("1", {}, None, "lineage.json is not there.")
    assert "lineage.json is not there" in (place.seen(made).unknown or "")

    def gone(*_: object) -> list[Ancestor]:
        raise RegistryError("there is no version 1 of m.")

    monkeypatch.setattr(module, "ancestry", gone)
    assert "there is no version 1 of m" in (place.seen(made).unknown or "")


def test_prompts_that_are_cut_elsewhere_are_compared_with_nothing(place: Place) -> None:
    place.champion(place.data(None))
    cut = place.data(None, length={"max_prompt": 900, "policy": "truncate"})
    assert "Set data.length back" in (place.seen(cut).unknown or "")


def test_during_an_outage_there_is_another_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.data()
    place.champion(made)

    def silent(*_: object) -> list[Ancestor]:
        raise ConnectionError

    monkeypatch.setattr(module, "ancestry", silent)
    project = Project(made[0].home, made[0].recipe)
    project.__dict__["tracker"] = None
    seen = TrainedOn(project, made[0], place.ledger)
    assert "MLflow does not answer" in (seen.at_once(made[1]).unknown or "")
    assert seen.at_once(made[1], Trained()) == Trained()
    with pytest.raises(ConnectionError):
        seen(made[1])
