"""How three rows' prompts are shown by ``ratchet check``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import ModelError
from ratchet.components.policy.tiny import train_tokenizer
from ratchet.components.project.prompts import Rendered, rendered, require_room
from ratchet.components.recipe import load_recipe
from tests.places import MICRO
from tests.stages.by_hand import problem
from tests.tiny_models import TEXTS

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{{ strftime_now('%Y') }}"
ALTERNATE = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages[0].content }}"
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def saved(folder: Path, template: str | None) -> Path:
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def of(model: object, rows: Sequence[Mapping[str, Any]], *overrides: str) -> Rendered:
    return rendered(load_recipe(MICRO, [f"policy.model={model}", *overrides]), rows)


def test_a_policy_that_is_warmed_up_here_reads_the_plain_prompt() -> None:
    shown = rendered(load_recipe(MICRO), [problem(1)])
    assert ([prompt.text for prompt in shown.prompts], shown.lacks) == (["Add 1 and 3."], "")
    assert shown.form.startswith("as the policy reads them")


def test_prompts_and_turns_are_in_the_models_template_with_the_recipes_date(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", TEMPLATE)
    shown = of(model, [problem(1), {**problem(2), "messages": TURNS}], "template_date=2031-05-06")
    assert [prompt.text for prompt in shown.prompts] == ["<user>Add 1 and 3.</>2031", "<system>Be brief.</><user>Why?</>2031"]
    assert shown.form == f"in the chat template of {model}"


def test_a_model_without_a_template_and_one_that_is_not_here_are_told_apart(tmp_path: Path) -> None:
    plain, absent = of(saved(tmp_path / "plain", None), [problem(1)]), of("org/absent", [problem(1)])
    assert {prompt.text for prompt in [*plain.prompts, *absent.prompts]} == {"Add 1 and 3."}
    assert plain.form.endswith("has no chat template")
    assert (plain.lacks, absent.form) == ("", "in plain form")
    assert "org/absent is not downloaded" in absent.lacks


def test_faults_a_template_that_rejects_the_turns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="one turn only"):
        of(saved(tmp_path / "model", ALTERNATE), [{**problem(2), "messages": TURNS}])


def test_prompts_that_do_not_fit_the_models_context_are_refused_without_its_weights(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", None)
    (model / "config.json").write_text('{"max_position_embeddings": 40}', encoding="utf-8")
    recipe = load_recipe(MICRO, [f"policy.model={model}", "policy.max_new_tokens=20"])
    require_room(recipe, [problem(1)])
    with pytest.raises(ModelError, match=r"policy.max_new_tokens=20 exceed the model's context of 40"):
        require_room(recipe, [problem(1), {**problem(2), "prompt": "Add 1 and 3. " * 20}])
