"""A chat template is a foreign program, and the files beside the weights are foreign files: both are held to limits."""

import json
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import load_policy, save_policy
from ratchet.components.pretrained import loading as pretrained
from ratchet.components.pretrained import render_template
from ratchet.components.pretrained.chat import encode_messages, encode_prompt
from ratchet.components.rewards.learned.model import RewardModel
from tests.tiny_models import tiny_policy, tiny_tokenizer

CPU = torch.device("cpu")
TEXT = "{{ messages[0].content }}"
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def encode(template: str) -> list[int]:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    return encode_prompt(tokenizer, "Ann")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_policy(tiny_policy(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize("template", [LOOPS, TEXT + "{{ lipsum(10**7) }}"])
def test_a_template_that_does_not_end_is_ended(template: str) -> None:
    started = os.times()
    with pytest.raises(ModelError, match="takes more than 2 s of processor time"):
        encode(template)
    ended = os.times()
    used = ended.children_user + ended.children_system - started.children_user - started.children_system
    assert used < 20  # imports included


@pytest.mark.parametrize("template", ["{{ 'a' * 10**10 }}", "{{ '%10000000000d' % 1 }}"])
def test_a_template_that_asks_for_memory_is_refused(template: str) -> None:
    with pytest.raises(ModelError, match="takes more than 512 MiB of memory"):
        encode(template)


def test_a_template_cannot_blow_up_on_one_text() -> None:
    # It never sees the text: it was rendered with a mark and with one harmless text.
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{% if 'Ann' in messages[0].content %}" + LOOPS + "{% endif %}" + TEXT
    assert tokenizer.decode(encode_prompt(tokenizer, "Ann")) == "Ann"


def test_a_template_is_rendered_once_per_sequence_of_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    encode_prompt(tokenizer, "warm")
    monkeypatch.setattr(
        "ratchet.components.pretrained.chat.subprocess.run", lambda *args, **options: pytest.fail("rendered again")
    )
    started = time.process_time()
    for number in range(1000):
        encode_prompt(tokenizer, f"Ann has {number} apples")
    assert time.process_time() - started < 5
    with pytest.raises(pytest.fail.Exception):
        encode_messages(tokenizer, [{"role": "system", "content": "Add."}, {"role": "user", "content": "1"}])


def outcome(template: str) -> dict[str, Any]:
    task = {"template": template, "conversations": [[{"role": "user", "content": "Ann"}]], "special_tokens": {}}
    return render_template.render(task)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% include 'x' %}", "asks for another template"),
        ("{% extends 'x' %}", "asks for another template"),
        ("{% import 'x' as y %}", "asks for another template"),
        ("{{ (((", "TemplateSyntaxError"),
        ("{{ messages[0].content | none_such }}", "none_such"),
        ("{{ messages[3].content.x }}", "UndefinedError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "RecursionError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ '%c' % 55296 }}", "UnicodeEncodeError"),
        ("{{ 'a' * 1100000 }}", "more than 1048576 characters"),
    ],
)
def test_a_template_that_fails_says_how(template: str, complaint: str) -> None:
    assert complaint in outcome(template)["failed"]


def test_what_a_template_itself_refuses_is_told_apart() -> None:
    assert outcome("{{ raise_exception('no system role') }}") == {"refused": "no system role"}


def test_an_include_is_refused_when_a_model_is_loaded(saved: Path) -> None:
    (saved / "chat_template.jinja").write_text("{% include 'x' %}", encoding="utf-8")
    with pytest.raises(ModelError, match=f"{saved}: the model's chat template.*asks for another template.*use another model"):
        load_policy(saved, CPU)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
)
@pytest.mark.parametrize("load", [lambda path: load_policy(path, CPU), lambda path: RewardModel.from_trunk(path, 1, CPU)])
def test_a_file_too_large_to_be_a_models_is_not_read(saved: Path, name: str, load: Any) -> None:
    with (saved / name).open("ab") as file:
        file.truncate(164 * 2**20)  # of zeros that take no room
    started = time.process_time()
    with pytest.raises(ModelError, match=rf"{name} has 164 MiB, and at most \d+ MiB are allowed"):
        load(saved)
    assert time.process_time() - started < 2


def test_the_limits_are_beyond_real_files_and_others_files_have_none(saved: Path) -> None:
    (saved / "trainer_state.json").write_text("[" + "0," * 2**22 + "0]", encoding="utf-8")  # 8 MiB of a training's history
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {str(number): "label" * 4 for number in range(20_000)}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    load_policy(saved, CPU)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, "{", "", "\x00" * 10])
def test_a_file_that_is_no_json_is_refused(saved: Path, name: str, content: str) -> None:
    (saved / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError):
        load_policy(saved, CPU)


@pytest.mark.parametrize("part", ["whole", "text"])
def test_a_config_of_layers_without_end_is_refused(saved: Path, part: str) -> None:
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    more = {"num_hidden_layers": 10**9}
    config |= more if part == "whole" else {"text_config": more}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="asks for 1000000000 layers; its weights have 11 tensors"):
        load_policy(saved, CPU)


def test_what_comes_from_the_hub_is_held_to_them_too(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[str, Any] = {}
    monkeypatch.setattr(pretrained, "snapshot_download", lambda place, **options: wanted.update(options, place=place) or saved)
    with (saved / "config.json").open("ab") as file:
        file.truncate(164 * 2**20)
    with pytest.raises(ModelError, match=r"config\.json has 164 MiB"):
        load_policy("some/model", CPU, revision="abc")
    assert (wanted["place"], wanted["revision"]) == ("some/model", "abc")
    assert not [pattern for pattern in wanted["allow_patterns"] if pattern.endswith(".safetensors")]
