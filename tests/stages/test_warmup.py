"""The starting policy: warmed up from the data, or a copy of an existing model."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, GraniteConfig, MambaConfig

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import Policy, save_policy
from ratchet.components.stages.results import DataStage, FineTuned, Learnt
from ratchet.components.stages.stage import Seen
from ratchet.components.stages.warmup import starting_policy
from ratchet.components.storage.files import write_text
from ratchet.components.storage.store import Store
from tests.policy.families import PLAIN, SHARED_KEYS, random_model
from tests.stages.by_hand import context_of, data_stage, key_of_look, watching
from tests.tiny_models import tiny_policy, tiny_tokenizer

SHORT = "policy.warmup={layers: 1, width: 8, heads: 2, vocabulary: 300, context: 64, steps: 12, batch: 4}"


@pytest.fixture
def data(tmp_path: Path) -> DataStage:
    return data_stage(tmp_path / "version", train=8)


def key(place: Path, data: DataStage, *overrides: str) -> str:
    return key_of_look(context_of(place, *overrides), lambda context: starting_policy(context, data))


@pytest.mark.parametrize(
    "change",
    ["policy.warmup.lr=1e-4", "policy.warmup.steps=9", "policy.warmup.until=0.6", "seed=4", "device=auto", "threads=2"],
)
def test_what_shapes_the_warm_up_is_in_its_key(tmp_path: Path, data: DataStage, change: str) -> None:
    assert key(tmp_path, data, change) != key(tmp_path, data)


def test_the_dataset_version_is_in_its_key(tmp_path: Path, data: DataStage) -> None:
    assert key(tmp_path, data_stage(tmp_path / "other", version="f" * 32)) != key(tmp_path, data)


def test_what_comes_after_the_warm_up_is_not_in_its_key(tmp_path: Path, data: DataStage) -> None:
    later = ["name=other", "policy.max_new_tokens=9", "train.lr=1e-5", "reward.kind=verifier", "evaluation.samples=3"]
    assert key(tmp_path, data, *later) == key(tmp_path, data)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_policy(tiny_policy(), tmp_path / "base")
    return tmp_path / "base"


def test_an_existing_model_is_known_by_its_files_wherever_they_are(tmp_path: Path, data: DataStage, model: Path) -> None:
    before = key(tmp_path, data, f"policy.model={model}")
    moved = Path(shutil.copytree(model, tmp_path / "moved"))
    unused = ["seed=4", "policy.warmup.lr=1e-4"]
    assert key(tmp_path, data_stage(tmp_path / "other", version="f" * 32), f"policy.model={moved}", *unused) == before
    write_text(moved / "generation_config.json", "{}")
    assert key(tmp_path, data, f"policy.model={moved}") != before


def test_a_model_of_the_hub_is_known_by_its_name_and_revision(tmp_path: Path, data: DataStage) -> None:
    names = [["policy.model=a/b"], ["policy.model=a/c"], ["policy.model=a/b", f"policy.revision={'ab' * 20}"]]
    assert len({key(tmp_path, data, *name) for name in names}) == 3


def test_the_warm_up_makes_the_same_policy_from_the_same_seed_and_reports_its_loss(tmp_path: Path, data: DataStage) -> None:
    contexts = [
        context_of(tmp_path / place, SHORT, seed) for place, seed in (("a", "seed=3"), ("b", "seed=3"), ("c", "seed=4"))
    ]
    first, again, other = (starting_policy(context, data).weights for context in contexts)
    assert first == again != other
    assert [step for step, _ in watching(contexts[0]).points] == [10]
    assert watching(contexts[0]).steps[-1] == ("warmup", 12, 12)


def test_a_warmed_up_policy_is_found_again_without_a_step(tmp_path: Path, data: DataStage) -> None:
    made = starting_policy(context_of(tmp_path, SHORT), data)
    again = context_of(tmp_path, SHORT)
    found = starting_policy(again, data)
    assert (found.cached, found.weights, watching(again).steps) == (True, made.weights, [])


@pytest.mark.parametrize(("until", "taken"), [(1e-9, 5), (0.99, 12)])
def test_what_was_learnt_is_a_fact_of_the_stage_whether_or_not_it_was_enough(
    tmp_path: Path, data: DataStage, until: float, taken: int
) -> None:
    context = context_of(tmp_path, SHORT, f"policy.warmup.until={until}")
    made = starting_policy(context, data)
    assert made.learnt is not None and made.learnt == Learnt(until, made.learnt.share, taken, 12)
    assert (made.learnt.share >= until) == (taken == 5) and made.tuned is None
    assert watching(context).steps[-1] == ("warmup", taken, taken)
    assert starting_policy(context_of(tmp_path, SHORT), data).learnt is None


@pytest.mark.parametrize(
    ("learnt", "text"),
    [
        (Learnt(0.6, 0.6123, 65, 700), "a sample is the demonstration in 0.61 of cases after 65 of at most 700 steps"),
        (Learnt(0.6, 0.25, 700, 700),
         "a sample is the demonstration in 0.25 of cases after all 700 steps, less than policy.warmup.until=0.6"),
    ],
)  # fmt: skip
def test_what_was_learnt_is_said_and_that_it_was_too_little(learnt: Learnt, text: str) -> None:
    assert learnt.text() == text


def test_an_existing_model_is_copied_as_it_is(tmp_path: Path, data: DataStage, model: Path) -> None:
    made = starting_policy(context_of(tmp_path, f"policy.model={model}"), data)
    assert (made.model / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_model_that_is_not_what_the_recipe_states_is_refused_and_not_stored(
    tmp_path: Path, data: DataStage, model: Path
) -> None:
    context = context_of(tmp_path, f"policy.model={model}", "policy.shape={hidden_size: 4096}")
    with pytest.raises(ModelError, match=r"policy\.shape says hidden_size: 4096.* 32\."):
        starting_policy(context, data)
    assert list((context.home.store / "warmup").iterdir()) == []


@pytest.mark.parametrize("more", [[], ["policy.warmup={steps: 1, batch: 4, lr: 3e-3}"]])
def test_the_shape_is_compared_with_a_finished_stage_too(tmp_path: Path, data: DataStage, model: Path, more: list[str]) -> None:
    starting_policy(context_of(tmp_path, f"policy.model={model}", *more), data)
    starting_policy(context_of(tmp_path, f"policy.model={model}", "policy.shape={hidden_size: 32}", *more), data)
    with pytest.raises(ModelError, match=r"policy\.shape says hidden_size: 4096"):
        starting_policy(context_of(tmp_path, f"policy.model={model}", "policy.shape={hidden_size: 4096}", *more), data)


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (MambaConfig(vocab_size=300, hidden_size=32, state_size=4, num_hidden_layers=1), "mamba"),
        (GraniteConfig(**SHARED_KEYS, logits_scaling=2.0), "granite"),
        (BertConfig(**PLAIN), "bert"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_a_family_that_is_not_supported_is_refused_before_anything_is_drawn_from_it(
    tmp_path: Path, data: DataStage, config: Any, family: str
) -> None:
    save_policy(Policy(random_model(config), tiny_tokenizer()), tmp_path / "base")
    context = context_of(tmp_path, f"policy.model={tmp_path / 'base'}")
    with pytest.raises(ModelError, match=f"{family}: .*This family is not supported"):
        starting_policy(context, data)
    assert list((context.home.store / "warmup").iterdir()) == []


def test_rows_that_leave_no_room_for_an_answer_are_refused_before_a_fine_tuning(
    tmp_path: Path, data: DataStage, model: Path
) -> None:
    context = context_of(tmp_path, f"policy.model={model}", TUNED, "policy.max_new_tokens=128")
    with pytest.raises(ModelError, match="exceed the model's context of 128"):
        starting_policy(context, data)
    assert watching(context).steps == []


TUNED = "policy.warmup={steps: 12, batch: 4, lr: 3e-3}"


def test_a_model_is_fine_tuned_only_where_the_recipe_asks_for_it(tmp_path: Path, data: DataStage, model: Path) -> None:
    as_it_is = starting_policy(context_of(tmp_path / "a", f"policy.model={model}"), data)
    context = context_of(tmp_path / "b", f"policy.model={model}", TUNED)
    tuned = starting_policy(context, data)
    assert (as_it_is.tuned, as_it_is.weights == tuned.weights) == (None, False)
    policy, rows = tiny_policy(), data.table("train")
    longest = max(len(policy.encode_row(row)) + len(policy.encode_completion(row["demonstration"])) for row in rows)
    assert tuned.tuned == FineTuned(as_it_is.weights, as_it_is.policy_digest, 8, 0, 0, longest)
    assert watching(context).steps[0] == ("warmup", 0, 12) and watching(context).steps[-1] == ("warmup", 12, 12)
    assert [step for step, _ in watching(context).points] == [10]


def test_two_fine_tunings_give_the_same_bits_and_a_finished_one_is_found(tmp_path: Path, data: DataStage, model: Path) -> None:
    as_it_is = key(tmp_path, data, f"policy.model={model}")
    contexts = [context_of(tmp_path / place, f"policy.model={model}", TUNED) for place in ("a", "b")]
    first, again = (starting_policy(context, data) for context in contexts)
    assert first.policy_digest == again.policy_digest
    Store(contexts[0].home.store).path("warmup", as_it_is).rename(tmp_path / "deleted")  # by gc
    found = starting_policy(replace(contexts[0], compute=False, seen=Seen()), data)
    assert (found.cached, found.key) == (True, first.key)


@pytest.mark.parametrize(
    "change",
    ["policy.warmup.lr=1e-4", "policy.warmup.lora={rank: 2}", "seed=4", "device=auto", "threads=2", "train.precision=bf16"],
)
def test_what_shapes_a_fine_tuning_is_in_its_key(tmp_path: Path, data: DataStage, model: Path, change: str) -> None:
    given = [f"policy.model={model}", TUNED]
    assert key(tmp_path, data, *given, change) != key(tmp_path, data, *given)


def test_the_data_and_the_models_files_are_in_the_key_of_a_fine_tuning(tmp_path: Path, data: DataStage, model: Path) -> None:
    moved, other = (Path(shutil.copytree(model, tmp_path / name)) for name in ("moved", "other"))
    write_text(other / "generation_config.json", '{"eos_token_id": [0, 5]}')
    before = key(tmp_path, data, f"policy.model={model}", TUNED)
    assert key(tmp_path, data, f"policy.model={moved}", TUNED) == before
    assert key(tmp_path, data, f"policy.model={other}", TUNED) != before
    newer = data_stage(tmp_path / "newer", version="f" * 32)
    assert key(tmp_path, newer, f"policy.model={model}", TUNED) != before


@pytest.mark.parametrize(
    ("too_long", "without", "text"),
    [
        (0, 0, "fine-tuned on 5 demonstrations"),
        (2, 0, "fine-tuned on 5 demonstrations, rows left out: 2 that are too long"),
        (2, 1, "fine-tuned on 5 demonstrations, rows left out: 2 that are too long and 1 without a demonstration"),
    ],
)
def test_rows_that_are_left_out_are_said(too_long: int, without: int, text: str) -> None:
    assert FineTuned("w", "p", 5, too_long, without, 9).text() == text
