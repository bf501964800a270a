"""A reward model learns what its pairs prefer, and scores a text by its content alone."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ratchet.components.errors import ModelError
from ratchet.components.pretrained.chat import encode_messages, encode_prompt
from ratchet.components.rewards.learned.model import RewardModel, asked_of
from ratchet.components.rewards.learned.training import RewardStep, encode_pairs, flipped, train_reward_model

CPU = torch.device("cpu")
PAIRS = [
    {"prompt": f"What is {n} plus 3?", "chosen": f"It is {n + 3}.", "rejected": f"No idea about {n + 3}."} for n in range(40)
]
TRAIN, HELDOUT = PAIRS[:24], PAIRS[24:]


def trained(model: RewardModel, pairs: Sequence[Mapping[str, str]] = TRAIN) -> list[RewardStep]:
    return list(train_reward_model(model, pairs, steps=40, batch=8, lr=3e-3, seed=1))


def accuracy(model: RewardModel, pairs: list[dict[str, str]] = HELDOUT) -> float:
    prompts = [pair["prompt"] for pair in pairs]
    chosen, rejected = (model.score(prompts, [pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    return sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(pairs)


@pytest.fixture(scope="module")
def learned(trunk: Path) -> tuple[RewardModel, float, list[RewardStep]]:
    """A model trained on separable pairs, its held-out accuracy before, and its steps; tests only read it."""
    model = RewardModel.from_trunk(trunk, 1, CPU)
    before = accuracy(model)
    return model, before, trained(model)


@pytest.fixture
def trained_model(learned: tuple[RewardModel, float, list[RewardStep]]) -> RewardModel:
    return learned[0]


def flips(label_noise: float) -> list[bool]:
    pairs = [{"prompt": "", "chosen": "good", "rejected": "bad"}] * 1000
    return [pair["chosen"] == "bad" for pair in flipped(pairs, label_noise, 1)]


# Learning


def test_training_on_separable_pairs_orders_unseen_ones(learned: tuple[RewardModel, float, list[RewardStep]]) -> None:
    model, before, steps = learned
    assert accuracy(model) == 1.0 > before
    assert steps[-1].loss < 0.2 < steps[0].loss


def test_an_indifferent_model_starts_at_the_loss_of_a_coin(reward_model: RewardModel) -> None:
    # Equal texts have margin 0: -ln sigmoid(0) = ln 2 = 0.6931.
    pairs = [{**pair, "rejected": pair["chosen"]} for pair in TRAIN]
    step = next(train_reward_model(reward_model, pairs, steps=1, batch=8, lr=1e-3, seed=1))
    assert step.loss == pytest.approx(0.6931, abs=1e-4)


def test_pairs_with_flipped_labels_teach_the_opposite(reward_model: RewardModel) -> None:
    trained(reward_model, flipped(TRAIN, 1.0, 1))
    assert accuracy(reward_model) == 0.0


def test_label_noise_flips_about_its_share_of_the_pairs() -> None:
    # sqrt(0.3 * 0.7 * 1000) = 14.5; 65 is more than four of them.
    assert abs(sum(flips(0.3)) - 300) < 65


def test_no_label_noise_flips_nothing_and_full_noise_everything() -> None:
    assert not any(flips(0.0))
    assert all(flips(1.0))


def test_more_noise_flips_the_same_pairs_and_others() -> None:
    few, many = flips(0.1), flips(0.4)
    assert all(m for f, m in zip(few, many, strict=True) if f)


def test_training_twice_gives_the_same_model(
    learned: tuple[RewardModel, float, list[RewardStep]], reward_model: RewardModel
) -> None:
    model, _, steps = learned
    assert trained(reward_model) == steps
    assert reward_model.score(["a"], ["b"]) == model.score(["a"], ["b"])


def test_a_trained_model_is_left_in_evaluation_mode(trained_model: RewardModel) -> None:
    assert not trained_model.model.training


# Scoring


def test_equal_texts_get_equal_scores_wherever_they_stand(reward_model: RewardModel) -> None:
    scores = reward_model.score(["p", "q", "p"], ["same", "a much longer completion than the other", "same"])
    assert scores[0] == scores[2]


def test_padding_and_the_rest_of_the_batch_do_not_change_a_score(trained_model: RewardModel) -> None:
    texts = [(pair["prompt"], pair["chosen"] * (1 + number % 3)) for number, pair in enumerate(PAIRS)]
    together = trained_model.score(*zip(*texts, strict=True))
    alone = [trained_model.score([prompt], [completion])[0] for prompt, completion in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_passes_of_few_rows_give_the_scores_of_one_pass_in_the_same_order(trained_model: RewardModel) -> None:
    rows = [[2, 3] * n + [1] for n in (9, 1, 5, 5, 2, 14, 1)]
    with torch.no_grad():
        whole, parts = trained_model.forward(rows), trained_model.forward(rows, together=2)
        alone = torch.cat([trained_model.forward([row]) for row in rows])
    assert torch.allclose(parts, whole, atol=1e-5)
    assert torch.allclose(parts, alone, atol=1e-5)
    assert alone.unique().numel() > 3


def test_a_text_is_the_prompts_tokens_the_completions_and_an_end(reward_model: RewardModel) -> None:
    tokens = reward_model.tokenizer
    both = [*encode_prompt(tokens, "What?"), *tokens("12", add_special_tokens=False).input_ids, tokens.eos_token_id]
    assert reward_model.encode(["Who?", "What?"], ["a longer one", "12"])[1] == both


def test_a_conversation_is_read_with_its_roles(reward_model: RewardModel) -> None:
    tokens = reward_model.tokenizer
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}]
    row = {"prompt": "system: Be brief.\n\nuser: What?", "messages": turns}
    whole = [*encode_messages(tokens, turns), *tokens("12", add_special_tokens=False).input_ids, tokens.eos_token_id]
    assert reward_model.encode([asked_of(row)], ["12"]) == [whole]
    assert encode_pairs(reward_model, [{**row, "chosen": "12", "rejected": "3"}], 0.0)[0].chosen == whole
    talk, text = (reward_model([row["prompt"]], ["12"], [one])[0].score for one in (row, {"messages": None}))
    assert talk == pytest.approx(reward_model.score([asked_of(row)], ["12"])[0])
    assert talk != text


def test_scores_follow_the_order_of_the_texts(trained_model: RewardModel) -> None:
    prompts, completions = ["a", "bb", "c"], ["first", "the second", "x"]
    forward = trained_model.score(prompts, completions)
    assert trained_model.score(prompts[::-1], completions[::-1]) == pytest.approx(forward[::-1], abs=1e-5)


def test_the_same_completion_to_another_prompt_is_another_text(reward_model: RewardModel) -> None:
    one, other = reward_model.score(["What is 1 plus 3?", "What is 2 plus 3?"], ["It is 4."] * 2)
    assert one != other


def test_no_texts_have_no_scores(reward_model: RewardModel) -> None:
    assert reward_model.score([], []) == []


def test_the_protocol_gives_a_finite_total_for_each_text(reward_model: RewardModel) -> None:
    scores = reward_model(["p", "q"], ["", "🙂 <eos>"], [{}, {}])
    assert [grade.parts["model"] for grade in scores] == [grade.score for grade in scores]
    assert all(isinstance(grade.score, float) for grade in scores)


# Saving and loading


def test_a_saved_model_scores_as_before(trained_model: RewardModel, tmp_path: Path) -> None:
    trained_model.save(tmp_path)
    assert RewardModel.load(tmp_path, CPU).score(["p"], ["c"]) == trained_model.score(["p"], ["c"])


def test_a_saved_model_holds_nothing_to_unpickle(reward_model: RewardModel, tmp_path: Path) -> None:
    reward_model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_the_seed_decides_the_score_head(trunk: Path) -> None:
    heads = [RewardModel.from_trunk(trunk, seed, CPU).model.score.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_head_is_drawn_without_touching_the_callers_generator(trunk: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    RewardModel.from_trunk(trunk, 1, CPU)
    assert torch.equal(torch.rand(1), expected)


def test_weights_that_would_be_unpickled_are_refused(trunk: Path, tmp_path: Path) -> None:
    for path in trunk.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(ModelError, match="only pickle weights"):
        RewardModel.load(tmp_path, CPU)


def test_a_model_without_a_score_head_is_no_reward_model(trunk: Path) -> None:
    with pytest.raises(ModelError, match=r"would be random.*score\.weight.*reward\.model\.base"):
        RewardModel.load(trunk, CPU)


def test_a_model_of_two_labels_is_refused(trunk: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(trunk, num_labels=2)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((trunk / name).read_bytes())
    with pytest.raises(ModelError, match=r"reward\.model\.pretrained"):
        RewardModel.load(tmp_path, CPU)


def test_a_model_that_asks_for_remote_code_is_refused(classifier: Path, tmp_path: Path) -> None:
    shutil.copytree(classifier, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(ModelError, match="remote code"):
        RewardModel.load(tmp_path / "model", CPU)


def test_scores_are_divided_by_the_temperature_that_is_saved_beside_the_weights(
    reward_model: RewardModel, tmp_path: Path
) -> None:
    (raw,) = reward_model.score(["p"], ["c"])
    reward_model.temperature = 4.0
    reward_model.save(tmp_path)
    assert RewardModel.load(tmp_path, CPU).score(["p"], ["c"]) == [pytest.approx(raw / 4)]


@pytest.mark.parametrize("temperature", ["0", "-1", "1e999", "true", '"1"', "null"])
def test_a_temperature_that_is_no_positive_number_is_refused(classifier: Path, tmp_path: Path, temperature: str) -> None:
    shutil.copytree(classifier, tmp_path / "model")
    (tmp_path / "model" / "calibration.json").write_text(f'{{"temperature": {temperature}}}')
    with pytest.raises(ModelError, match="temperature"):
        RewardModel.load(tmp_path / "model", CPU)
