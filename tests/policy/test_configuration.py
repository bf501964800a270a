"""A model's configuration without its weights, and what a recipe states of it."""

import json
from pathlib import Path

import pytest

from ratchet.components.errors import ModelError, RecipeError
from ratchet.components.policy.configuration import check_stated, configuration_of, read_configuration, shape_of, shape_of_model
from ratchet.components.policy.loading import save_policy
from tests.tiny_models import tiny_policy

QWEN = {
    "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip


def test_the_parameters_of_a_stated_shape_are_those_of_the_model() -> None:
    shape = shape_of(configuration_of("nobody/nothing", None, QWEN))
    assert shape.parameters == 494_032_768  # as published: 0.49B
    assert (shape.query, shape.key_value, shape.head_parameters) == (896, 128, 0)
    untied = shape_of(configuration_of("nobody/nothing", None, {**QWEN, "tie_word_embeddings": False}))
    assert untied.head_parameters == 151_936 * 896
    assert untied.trunk_parameters == shape.parameters


def test_a_directorys_own_configuration_comes_first(tmp_path: Path) -> None:
    policy = tiny_policy(layers=2)
    save_policy(policy, tmp_path / "model")
    found = shape_of(configuration_of(str(tmp_path / "model"), None, QWEN))
    assert found == shape_of(read_configuration(tmp_path / "model" / "config.json")) == shape_of_model(policy.model)
    assert found.layers == 2


def test_an_unknown_model_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("ratchet.components.policy.configuration.AutoConfig.from_pretrained", offline)
    with pytest.raises(RecipeError, match=r"nobody/nothing is unknown.*--config.*policy\.shape") as caught:
        configuration_of("nobody/nothing", None, None)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 3}, "no model_type"),
        ({**QWEN, "model_type": "nonsense"}, "is not a configuration that transformers knows"),
        ({**QWEN, "auto_map": {"AutoConfig": "x.Y"}}, "remote code"),
        ([], "no model_type"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, fields: object, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(RecipeError, match=message):
        read_configuration(tmp_path)


def test_a_model_that_is_not_what_the_recipe_states_is_refused() -> None:
    configuration = tiny_policy().model.config
    check_stated(configuration, {"model_type": "llama", "hidden_size": 32})
    with pytest.raises(ModelError, match=r"policy\.shape says hidden_size: 64, but the model's config\.json says 32"):
        check_stated(configuration, {"hidden_size": 64})
