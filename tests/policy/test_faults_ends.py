"""A model may have several ends of sequence, and its template ends turns with one of them: all of them end a completion."""

import asyncio
import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance

from ratchet.components.errors import ModelError
from ratchet.components.evaluation.benchmarks.answers import DecodingSettings, Respondent
from ratchet.components.evaluation.benchmarks.inspect_ai import inspect_model
from ratchet.components.evaluation.benchmarks.lm_eval import PolicyLM
from ratchet.components.policy.engines.engine import Completion, RolloutEngine, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.execution import ON_CPU
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy, declared_ends, load_policy, save_policy
from ratchet.components.policy.tiny import new_policy
from ratchet.components.pretrained.chat import end_of_turn
from ratchet.components.registry.served_model import ServedPolicy
from ratchet.components.rewards.learned.model import RewardModel
from tests.policy.scoring import groups_of, packed, sampled
from tests.tiny_models import tiny_policy, tiny_tokenizer

CPU, PROMPT, GREEDY = torch.device("cpu"), "2 apples", SamplingSettings(1, 8, temperature=0.0)
GEMMA = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
USER = "{% for m in messages %}{% if m.role == 'user' %}<start_of_turn>{{ m.content }}<end_of_turn>"


def asked(policy: Policy, settings: SamplingSettings) -> SamplingRequest:
    return SamplingRequest([policy.encode_prompt(PROMPT)], [0], settings, SamplingSeed(7, "test"), policy.ends)


def answer(policy: Policy, engine: RolloutEngine = generate) -> Completion:
    (completion,) = engine(policy, asked(policy, GREEDY))[0]
    return completion


def two_ends() -> tuple[Policy, list[int]]:
    """A policy that declares the third token of its greedy answer as well, and the answer's tokens up to it."""
    policy = tiny_policy()
    tokens = answer(policy).tokens[:3]
    assert tokens[2] not in tokens[:2]
    policy.model.generation_config.eos_token_id = [1, tokens[2]]
    return Policy(policy.model, policy.tokenizer), tokens


def chat_policy(template: str = GEMMA, *declared: str) -> Policy:
    """A tokenizer whose end is ``<eos>``, a template with marks of its own, and a model that declares ``declared`` as well."""
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.chat_template = template
    model = new_policy(tokenizer, layers=1, width=32, heads=2, context=128, seed=0).eval()
    model.generation_config.eos_token_id = [1, *tokenizer.convert_tokens_to_ids(list(declared))]
    return Policy(model, tokenizer)


@pytest.mark.parametrize("slots", [False, True], ids=["plain", "slots"])
def test_a_completion_ends_at_any_declared_end(slots: bool) -> None:
    policy, tokens = two_ends()
    completion = answer(policy, SlotEngine(policy, ON_CPU) if slots else generate)
    assert (completion.tokens, completion.finished) == (tokens, True)
    assert policy.decode(completion.tokens) == policy.tokenizer.decode(tokens[:2])


@pytest.mark.parametrize("slots", [False, True], ids=["plain", "slots"])
def test_many_completions_end_at_the_first_of_both(slots: bool) -> None:
    policy, _ = two_ends()
    ends, settings = policy.ends, SamplingSettings(32, 40, temperature=5.0)  # nearly uniform over 300 tokens
    engine = SlotEngine(policy, ON_CPU) if slots else generate
    (drawn,) = engine(policy, asked(policy, settings))
    assert {c.tokens[-1] for c in drawn if c.finished} == set(ends)
    assert all(c.finished == (c.tokens[-1] in ends) and not set(c.tokens[:-1]) & set(ends) for c in drawn)


def test_the_end_that_was_sampled_is_scored() -> None:
    policy, _ = two_ends()
    request = asked(policy, SamplingSettings(4, 12))
    drawn = generate(policy, request)
    scored = packed(policy.model, groups_of(request.prompts, drawn)).detach()
    torch.testing.assert_close(sampled(drawn), scored, rtol=0, atol=1e-4)


def test_every_end_is_saved_and_loaded(tmp_path: Path) -> None:
    policy, tokens = two_ends()
    save_policy(policy, tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text("utf-8"))["eos_token_id"] == [1, tokens[2]]
    assert load_policy(tmp_path, CPU).ends == policy.ends == (1, tokens[2])


def test_one_end_is_saved_as_before(tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text("utf-8"))["eos_token_id"] == 1


def test_all_who_ask_the_policy_get_the_text_before_the_end(tmp_path: Path) -> None:
    policy, tokens = two_ends()
    text = policy.tokenizer.decode(tokens[:2])
    respondent = Respondent(policy, 7, "b")
    decoding = DecodingSettings(temperature=0.0, max_new_tokens=8)
    assert respondent.answer([[{"role": "user", "content": PROMPT}]], decoding)[0].finished
    request = Instance("generate_until", {}, (PROMPT, {"until": [], "max_gen_toks": 8}), 0)
    assert PolicyLM(respondent, 8).generate_until([request]) == [text]
    said = asyncio.run(inspect_model(respondent, decoding).generate(PROMPT))
    assert (said.completion, said.stop_reason) == (text, "stop")
    assert served(policy, tmp_path).predict(None, [PROMPT]) == [text]


def served(policy: Policy, path: Path) -> ServedPolicy:
    """The served model of a saved policy."""
    save_policy(policy, path)
    loaded, model = load_policy(path, CPU), ServedPolicy()
    model.model, model.tokenizer, model.device, model.settings = loaded.model, loaded.tokenizer, CPU, {"max_new_tokens": 8}
    return model


@pytest.mark.parametrize("declared", [257, [257, 999], (257,)])
def test_ends_come_from_the_tokenizer_and_both_configs(declared: object) -> None:
    policy = tiny_policy()
    policy.model.generation_config.eos_token_id, policy.model.config.eos_token_id = declared, 258
    assert declared_ends(policy.model, policy.tokenizer) == (1, 257, 258)  # 999 is outside the vocabulary


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (GEMMA, "<end_of_turn>"),
        (GEMMA.replace("<end_of_turn>\n", "\n\n<end_of_turn>\n"), "<end_of_turn>"),
        (GEMMA.replace("<end_of_turn>\n", "{{ eos_token }}"), "<eos>"),
        (GEMMA.replace("<end_of_turn>\n", "\n"), "<eos>"),
        (USER + "{% else %}{{ m.content }}{% endif %}{% endfor %}", "<eos>"),  # nothing after an answer
        (USER + "{% else %}{{ raise_exception('one turn') }}{% endif %}{% endfor %}", "<eos>"),
        (USER + "{% endif %}{% endfor %}", "<eos>"),  # drops answers
    ],
)
def test_a_demonstration_ends_as_the_template_ends_a_turn(template: str, token: str) -> None:
    policy = chat_policy(template, "<end_of_turn>")
    assert policy.tokenizer.convert_ids_to_tokens(policy.encode_completion("four")[-1]) == token


def test_without_a_template_a_demonstration_ends_with_the_tokenizers_end() -> None:
    assert end_of_turn(chat_policy("", "<end_of_turn>").tokenizer, (1, 301)) == 1


def test_a_policy_with_two_ends_is_loaded_whole(tmp_path: Path) -> None:
    save_policy(chat_policy(GEMMA, "<end_of_turn>"), tmp_path)
    policy = load_policy(tmp_path, CPU)
    assert policy.tokenizer.convert_ids_to_tokens(list(policy.ends)) == ["<eos>", "<end_of_turn>"]
    assert policy.decode(policy.encode_completion("four")) == "four"


def test_a_turn_end_that_is_no_declared_end_is_refused_with_both_names(tmp_path: Path) -> None:
    policy = chat_policy(GEMMA)
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"'<end_of_turn>'.* '<eos>'.*eos_token_id in generation_config\.json"):
        load_policy(tmp_path, CPU)


@pytest.mark.parametrize(("template", "token"), [(GEMMA, "<end_of_turn>"), (GEMMA.replace("<end_of_turn>\n", "\n"), "<eos>")])
def test_a_reward_model_reads_an_answer_with_the_templates_end_of_turn(template: str, token: str) -> None:
    policy = chat_policy(template)
    (ids,) = RewardModel(policy.model, policy.tokenizer).encode(["2 + 2?"], ["four"])
    assert policy.tokenizer.convert_ids_to_tokens(ids[-1]) == token
