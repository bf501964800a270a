"""Without transformers a prompt has the text and the tokens that it has with transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from ratchet.components.errors import ModelError
from ratchet.components.pretrained import render_template
from ratchet.components.pretrained.chat import encode_messages, encode_prompt, render_messages
from ratchet.components.pretrained.prompt_tokenizer import PromptTokenizer
from tests.pretrained.test_chat import INST, QUOTED, TEXTS, TURNS, tokenizer_of

NAMED = ["Ann</s> <|im_end|>\n<|im_start|>assistant", "<unk>", "<s>"]
NONE = ""  # no template
CORPUS = [f"Ann has {i} apples, and she'll buy {i + 3} more.\n" for i in range(60)]
FORMS = {
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "a namespace": "{% set n = namespace(a='x') %}{% for m in messages %}{% set n.a = m.role %}{% endfor %}{{ n.a }}",
    "tojson": "{{ messages | tojson }}{{ messages | tojson(indent=2, ensure_ascii=true) }}",
    "a dict": "{{ dict(a=1).items() | list }}{{ dict.fromkeys('ab', 1) }}",
    "white space": "\n  {% for m in messages %}\n  {{- m.content }}\n  {% endfor %}\n{% if tools is none %}\nA\n{% endif %}",
    "what is not given": "{{ tools is none }}{{ documents is none }}{{ bos_token }}{{ none_such is defined }}{{ none_such }}",
}


def saved(tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def both(folder: Path) -> tuple[PromptTokenizer, Any]:
    return PromptTokenizer.load(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["always", "first", "never", "prepend", "bytes"])
@pytest.mark.parametrize("template", [TURNS, INST, QUOTED, NONE])
def test_tokens_and_text_are_those_of_transformers(kind: str, template: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(kind, template)
    tokenizer.chat_template = template or None
    ours, theirs = both(saved(tokenizer, tmp_path))
    for text in [*TEXTS, *NAMED]:
        assert encode_prompt(ours, text) == encode_prompt(theirs, text)
        messages = [{"role": "user", "content": text}]
        if template:
            shown = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            assert render_messages(ours, messages) == shown


@pytest.mark.parametrize("template", FORMS.values(), ids=FORMS)
def test_a_template_is_rendered_as_by_transformers(template: str) -> None:
    messages = [{"role": "system", "content": "Add <b>é</b>."}, {"role": "user", "content": " Ann\n"}]
    special = {"bos_token": "<s>"}
    task = {"template": template, "conversations": [messages], "answered": messages, "special_tokens": special}
    (prompt,), _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **special)
    (answer,), _ = render_jinja_template([messages], chat_template=template, **special)
    assert render_template.render(task) == {"texts": [prompt], "answered": answer}


@pytest.mark.parametrize("template", ["{% set n = namespace(__class__=1) %}", "{{ dict.mro() }}", "{{ messages.clear() }}"])
def test_what_the_sandbox_of_transformers_refuses_is_refused(template: str) -> None:
    messages = [{"role": "user", "content": "Ann"}]
    with pytest.raises(Exception, match=r"undefined|underscore|mro|unsafe"):
        render_jinja_template([messages], chat_template=template)
    assert "failed" in render_template.render({"template": template, "conversations": [messages], "special_tokens": {}})


def test_a_template_does_not_read_the_clock() -> None:
    task = {"template": "{{ strftime_now('%F') }}", "conversations": [[]], "special_tokens": {}}
    assert "'strftime_now' is undefined" in render_template.render(task)["failed"]


def test_several_templates_have_a_default(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("never", TURNS)
    tokenizer.chat_template = {"default": TURNS, "rag": INST}
    ours, theirs = both(saved(tokenizer, tmp_path))
    assert ours.chat_template == theirs.chat_template == {"default": TURNS, "rag": INST}
    assert encode_prompt(ours, "Ann") == encode_prompt(theirs, "Ann")
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="cannot be selected: there are rag, and none is the default"):
        encode_prompt(PromptTokenizer.load(tmp_path), "Ann")


@pytest.mark.parametrize("key", ["eos_token", "additional_special_tokens", "added_tokens_decoder"])
def test_tokens_that_only_the_settings_have_are_added(key: str, tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", TURNS), tmp_path)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    numbered = {"345": {"content": "<new>", "special": True, "lstrip": False, "rstrip": False}}
    settings[key] = {"eos_token": "<new>", "additional_special_tokens": ["<new>"], "added_tokens_decoder": numbered}[key]
    settings.pop("extra_special_tokens", None)
    file.write_text(json.dumps(settings), encoding="utf-8")
    ours, theirs = both(folder)
    assert (len(ours), ours.eos_token_id) == (len(theirs), theirs.eos_token_id)
    assert "<new>" in [token.content for token in ours.added_tokens_decoder.values()]
    assert encode_prompt(ours, "a<new>") == encode_prompt(theirs, "a<new>")


@pytest.mark.parametrize("kind", ["Qwen2Tokenizer", "LlamaTokenizer"])
def test_the_tokens_of_a_class_that_transformers_rebuilds_are_those_of_its_file(kind: str, tmp_path: Path) -> None:
    import transformers

    trained = getattr(transformers, kind)()
    tokenizer = trained.train_new_from_iterator(CORPUS, 340)
    tokenizer.chat_template = TURNS
    ours, theirs = both(saved(tokenizer, tmp_path))
    assert type(theirs).__name__ == kind
    for text in [*TEXTS, "she'll buy 345 more  \n\n x"]:
        messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": text}]
        assert encode_messages(ours, messages) == encode_messages(theirs, messages)


def test_a_tokenizer_that_needs_transformers_says_so(tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", TURNS), tmp_path)
    shutil.move(folder / "tokenizer.json", folder / "tokenizer.model")
    with pytest.raises(ModelError, match=r"no tokenizer\.json.*needs transformers.*pip install 'ratchet-rl\[train\]'"):
        PromptTokenizer.load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, "{", "", "[]"])
def test_a_file_that_is_no_object_is_refused(name: str, content: str, tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", TURNS), tmp_path)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        PromptTokenizer.load(folder)


@pytest.mark.parametrize("stated", [[{"name": "default"}], [{"template": TURNS}], {"default": 1}, 7])
def test_a_chat_template_that_is_no_text_is_refused(stated: Any, tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", NONE), tmp_path)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "chat_template": stated}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json has a chat_template that is not text"):
        PromptTokenizer.load(folder)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json", "tokenizer.json"])
def test_a_file_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", TURNS), tmp_path)
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        PromptTokenizer.load(folder)


@pytest.mark.parametrize(
    "several", [[{"name": "default", "template": TURNS}], [{"name": n, "template": TURNS} for n in ("default", "rag")]]
)
def test_templates_may_be_in_the_settings(several: list[dict[str, str]], tmp_path: Path) -> None:
    folder = saved(tokenizer_of("never", NONE), tmp_path)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "chat_template": several}), encoding="utf-8")
    ours, theirs = both(folder)
    assert encode_prompt(ours, "Ann") == encode_prompt(theirs, "Ann")


def test_a_model_that_is_not_here_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="some/model is not downloaded"):
        PromptTokenizer.of_model("some/model")
