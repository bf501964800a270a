"""A prompt does not change with the calendar: a chat template shows the recipe's date, wherever it is rendered."""

from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from ratchet.components.policy.loading import load_policy, save_policy
from ratchet.components.pretrained.chat import encode_prompt
from ratchet.components.pretrained.template_date import FIXED, date_tokenizer, dated
from ratchet.components.registry.served_model import ServedPolicy
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.stages.results import PolicyStage
from ratchet.components.stages.reward import _make_model as make_model
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.store import Finished
from tests.stages.by_hand import context_of, data_stage
from tests.tiny_models import tiny_policy, tiny_tokenizer

CPU = torch.device("cpu")
TEXT = "{{ messages[0].content }}"
SHOWN = "{{ strftime_now('%d %b %Y') }}: " + TEXT
LLAMA = (
    "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n    {%- else %}\n'
    '        {%- set date_string = "26 Jul 2024" %}\n    {%- endif %}\n{%- endif %}\n'
    '{{- "Today Date: " + date_string + "\\n" }}' + TEXT
)


def rendered(template: str) -> str:
    """What transformers makes of a template, and any server with it."""
    return str(render_jinja_template([[{"role": "user", "content": "Ann"}]], chat_template=template)[0][0])


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


def prompt(tokenizer: Any) -> str:
    return str(tokenizer.decode(encode_prompt(tokenizer, "Ann")))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A base model whose template shows the current date."""
    save_policy(tiny_policy(), tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(SHOWN, encoding="utf-8")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        (SHOWN, "26 Nov 2026: Ann"),
        (LLAMA, "Today Date: 26 Nov 2026\nAnn"),
        ("{% macro f() %}{{ strftime_now('%A') }}{% endmacro %}{{ f() }} " + TEXT, "Thursday Ann"),
        ("{{ strftime_now('100%% of %%d on %-d/%m, %H:%M') }} " + TEXT, "100% of %d on 26/11, 00:00 Ann"),
        ("\n {{ strftime_now('%F').split('-')[0] }} " + TEXT, "\n 2026 Ann"),
        ("\n  {% if strftime_now %} a{% endif %}\n" + TEXT, "\n a" + "Ann"),
    ],
)
def test_a_template_shows_the_date_that_it_is_given(template: str, shown: str) -> None:
    assert rendered(dated(template, "2026-11-26")) == shown


@pytest.mark.parametrize("directive", [f"%{one}" for one in "aAwdbBmyYHIpMSfjUWcxXGuVCeDFhnRrTt"] + ["%-d", "%-m", "%-I"])
def test_each_directive_is_that_of_strftime(directive: str) -> None:
    template = "{{ strftime_now('" + directive + "') }}"
    assert rendered(dated(template, "2026-01-05")) == datetime(2026, 1, 5).strftime(directive)


@pytest.mark.parametrize("template", [TEXT, "{# now #}\n" + TEXT, ""])
def test_a_template_without_a_date_is_untouched(template: str) -> None:
    assert dated(template, "2026-11-26") == template


def test_a_date_is_replaced_and_not_added() -> None:
    assert dated(dated(SHOWN, "2026-11-26"), "2027-01-02") == dated(SHOWN, "2027-01-02")


def test_each_of_several_templates_is_dated() -> None:
    tokenizer = tokenizer_with({"default": SHOWN, "rag": TEXT})  # type: ignore[arg-type]
    date_tokenizer(tokenizer, "2026-11-26")
    assert prompt(tokenizer) == "26 Nov 2026: Ann"
    assert tokenizer.chat_template["rag"] == TEXT


def test_a_prompt_whose_template_has_no_date_yet_does_not_read_the_clock() -> None:
    assert prompt(tokenizer_with(SHOWN)) == prompt(tokenizer_with(dated(SHOWN, FIXED))) == "01 Jan 2025: Ann"


def test_a_policy_is_prompted_served_and_saved_with_its_date(saved: Path, tmp_path: Path) -> None:
    policy = load_policy(saved, CPU, template_date="2026-11-26")
    save_policy(policy, tmp_path / "candidate")
    later = load_policy(tmp_path / "candidate", CPU)
    served = ServedPolicy()
    served.tokenizer = later.tokenizer
    asked = served._encode([{"role": "user", "content": "Ann"}])
    prompts = {tuple(one) for one in (policy.encode_prompt("Ann"), later.encode_prompt("Ann"), asked)}
    assert [later.decode(list(one)) for one in prompts] == ["26 Nov 2026: Ann"]


def test_two_arms_of_different_days_get_the_same_prompt(saved: Path, tmp_path: Path) -> None:
    save_policy(load_policy(saved, CPU, template_date="2026-11-25"), tmp_path / "incumbent")
    arms = [load_policy(path, CPU, template_date="2026-11-26") for path in (saved, tmp_path / "incumbent")]
    assert arms[0].encode_prompt("Ann") == arms[1].encode_prompt("Ann")


def test_so_is_a_reward_model(saved: Path, tmp_path: Path) -> None:
    RewardModel.from_trunk(saved, 1, CPU, template_date="2026-11-26").save(tmp_path / "reward")
    assert prompt(RewardModel.load(tmp_path / "reward", CPU).tokenizer) == "26 Nov 2026: Ann"


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_reward_model_of_a_run_has_the_runs_date(saved: Path, tmp_path: Path, pretrained: bool) -> None:
    overrides = ["template_date=2026-11-26", "reward.model.steps=1", "reward.model.batch=2"]
    if pretrained:
        RewardModel.from_trunk(saved, 1, CPU).save(tmp_path / "pretrained")
        overrides.append(f"reward.model.pretrained={tmp_path / 'pretrained'}")
    data = data_stage(tmp_path / "version")
    pairs = [{"prompt": f"Add {n}.", "chosen": f"It is {n}.", "rejected": "No."} for n in range(8)]
    write_json_lines(data.path / "data" / "pairs_train.jsonl", pairs)
    start = PolicyStage(Finished("policy", "", tmp_path, {"files": {}}), True, 0.0)
    make_model(context_of(tmp_path, *overrides), data, start, "key", tmp_path / "reward")
    assert prompt(RewardModel.load(tmp_path / "reward", CPU).tokenizer) == "26 Nov 2026: Ann"
