"""A recipe that names what is not there is refused before anything runs, with every key."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi

from ratchet.components.errors import RecipeError
from ratchet.components.project.references import require_references
from ratchet.components.recipe import load_recipe
from tests.places import MICRO


def answered(_: HfApi, place: str, **__: object) -> None:
    """The hub has one model, and is away for whoever asks for another."""
    if place != "org/known":
        raise ConnectionError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HfApi, "model_info", answered)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    (tmp_path / "mine.py").write_text(
        "def good(prompts, completions, rows): ...\ndef short(sample): ...\ndef trl(completions, **columns): ...\n",
        encoding="utf-8",
    )
    (tmp_path / "broken.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "models").mkdir()
    return tmp_path


def check(*overrides: str) -> list[str]:
    return require_references(load_recipe(MICRO, overrides))


def custom(function: str) -> tuple[str, str]:
    return "reward.kind=custom", f"reward.function={function}"


def test_a_recipe_whose_references_exist_has_no_notes() -> None:
    assert check() == check(*custom("mine:good")) == check(*custom("mine.py:trl")) == check("policy.model=org/known") == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (custom("absent:f"), r"reward\.function 'absent:f': there is no 'absent' in "),
        (custom("absent.py:f"), r"reward\.function 'absent\.py:f': there is no "),
        (custom("mine:absent"), r"reward\.function 'mine:absent'.*mine has no 'absent'"),
        (custom("mine:short"), r"reward\.function 'mine:short'.*no known protocol"),
        (custom("broken:f"), r"reward\.function 'broken:f'.*SyntaxError"),
        (("graders.j={type: json_schema, document: {type: objekt}}",), r"graders\.j: the document of .* is not a JSON Schema"),
        (("graders.s={type: sql, database: absent.sqlite}",), r"graders\.s: there is no database at 'absent\.sqlite'"),
        (("graders.o={openai: absent.json}",), r"graders\.o: .*absent\.json cannot be read"),
        (("task.response.json_schema=absent.json",), r"task\.response\.json_schema: .*absent\.json cannot be read"),
        (
            ("task.response.json_schema={$ref: 'http://a/b'}", "graders.h={http: 'http://localhost'}"),
            r"^the recipe names .*:\n  task\.response\.json_schema refers to http://a/b[^\n]*$",
        ),
        (("graders.mine={file: broken.py:f}",), r"graders\.mine\.file 'broken\.py:f'.*SyntaxError"),
        (
            ("graders.m={type: multi, formula: a, graders: {a: {file: absent.py:f}}}",),
            r"graders\.m\.graders\.a\.file 'absent\.py:f': there",
        ),
        (
            ("graders.m={file: 'mine.py:good', files: [absent.csv]}",),
            r"graders\.m\.files: there is no file 'absent\.csv'",
        ),
        ((*custom("mine:good"), "reward.files=[absent.csv]"), r"reward\.files: there is no file 'absent\.csv'"),
        (("policy.model=/no/such/model",), r"policy\.model: '/no/such/model' is neither"),
        (("policy.model=models/absent",), r"policy\.model: 'models/absent' is neither"),
        (("policy.model=models",), r"policy\.model: 'models' is neither"),
        (("reward.model.base=./absent",), r"reward\.model\.base: '\./absent' is neither"),
        (("reward.model.pretrained=./absent",), r"reward\.model\.pretrained: '\./absent' is neither"),
        (("data.source=absent.jsonl",), r"data\.source: there is no file absent\.jsonl"),
    ],
)
def test_faults_what_is_not_there_is_named_by_its_key(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(*overrides)


def test_every_key_is_named_at_once() -> None:
    with pytest.raises(RecipeError, match=r"(?s)policy\.model.*data\.source.*reward\.function"):
        check("policy.model=/no/such", "data.source=absent.jsonl", *custom("absent:f"))


def test_a_hub_id_that_cannot_be_looked_up_is_a_note() -> None:
    assert check("policy.model=org/unknown") == [
        "policy.model: 'org/unknown' is no directory here, and the hub could not be asked"
    ]
