"""Fine-tuning of an existing model on demonstrations: its loss and gradient, its rows, its adapter, and the same bits again."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.checkpoints.checkpoint import Pace, Resumption
from ratchet.components.errors import ModelError, PausedError
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.recipe import ModelWarmup
from ratchet.components.training.fine_tuning import FineTuning, demonstrations
from tests.tiny_models import same, tiny_policy, weights

ROWS: list[dict[str, Any]] = [{"prompt": f"{i} + 1 = ?", "demonstration": f"#### {i + 1}"} for i in range(30)]
SHORT: dict[str, Any] = {"steps": 8, "batch": 4, "lr": 3e-3, "lr_warmup": 2}


def tuned(seed: int = 1, resumption: Resumption | None = None, **settings: Any) -> tuple[Policy, list[float]]:
    """A tiny policy after its fine-tuning, and the losses of its steps."""
    policy = tiny_policy()
    tuning = FineTuning(policy, ModelWarmup(**{**SHORT, **settings}), seed)
    losses = [step.loss for step in tuning.run(demonstrations(policy, ROWS, 100).groups, resumption)]
    return tuning.merged(), losses


def gradients(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


def one_backward(groups: list[Group], **settings: Any) -> tuple[float, dict[str, torch.Tensor]]:
    policy = tiny_policy()
    loss = FineTuning(policy, ModelWarmup(**settings), 0)._backward(groups)
    return loss, gradients(policy)


def test_the_loss_on_the_demonstrations_falls() -> None:
    losses = tuned(steps=40, batch=8)[1]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


GROUPS = [Group([5, 6, 7], [[8, 9]]), Group([10, 11], [[12, 13, 14, 15]])]


def test_only_completion_tokens_are_learned_and_each_counts_the_same() -> None:
    loss, found = one_backward(GROUPS)
    policy = tiny_policy()
    logs = [policy.model(torch.tensor([[*g.prompt, *g.completions[0]]])).logits[0].log_softmax(-1) for g in GROUPS]
    # The token at place t is predicted at t - 1: of the first row 8 and 9, of the second 12 to 15; six in all.
    chosen = [logs[0][2, 8], logs[0][3, 9], logs[1][1, 12], logs[1][2, 13], logs[1][3, 14], logs[1][4, 15]]
    expected = -torch.stack(chosen).sum() / 6
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    by_hand = gradients(policy)
    assert found.keys() == by_hand.keys()
    for name in by_hand:
        torch.testing.assert_close(found[name], by_hand[name], rtol=1e-4, atol=1e-6)


def test_how_many_tokens_go_forward_at_once_does_not_change_the_gradient() -> None:
    whole, cut = one_backward(GROUPS), one_backward(GROUPS, micro_tokens=1)
    assert cut[0] == pytest.approx(whole[0], rel=1e-6)
    for name, gradient in whole[1].items():
        torch.testing.assert_close(cut[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_the_seed_fixes_the_bits_and_the_order() -> None:
    torch.manual_seed(1)
    first = tuned()
    torch.manual_seed(2)  # what other code draws does not matter
    again, other = tuned(), tuned(seed=2)
    assert first[1] == again[1]
    assert same(weights(first[0].model), weights(again[0].model))
    assert not same(weights(first[0].model), weights(other[0].model))


def test_an_interrupted_fine_tuning_resumes_to_the_same_bits(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    interrupted = Resumption(tmp_path, "one", lambda: next(asked), Pace(math.inf, 1.0))
    with pytest.raises(PausedError, match="interrupted"):
        tuned(resumption=interrupted)
    whole, resumed = tuned(), tuned(resumption=Resumption(tmp_path, "one"))
    assert resumed[1] == whole[1]
    assert same(weights(whole[0].model), weights(resumed[0].model))


def test_gradients_are_clipped() -> None:
    tiny_steps = tuned(steps=1, max_grad_norm=1e-12)[0]  # AdamW's epsilon is larger than such a gradient
    moved = [float((a - b).abs().max()) for a, b in zip(weights(tiny_steps.model), weights(tiny_policy().model), strict=True)]
    assert max(moved) < 3e-3 * 1e-3
    assert not same(weights(tuned(steps=1)[0].model), weights(tiny_policy().model))


def test_a_gradient_that_is_not_finite_ends_it() -> None:
    policy = tiny_policy()
    with torch.no_grad():
        next(policy.model.parameters())[8] = math.inf
    with pytest.raises(ModelError, match=r"step 1 of policy\.warmup is not finite\. Lower policy\.warmup\.lr"):
        list(FineTuning(policy, ModelWarmup(**SHORT), 0).run([Group([8], [[9]])]))


def test_an_adapter_alone_learns_and_is_merged_at_the_end() -> None:
    policy = tiny_policy()
    tuning = FineTuning(policy, ModelWarmup(**SHORT, lora={"rank": 2, "alpha": 4}), 1)
    trained = {name for name, parameter in tuning.model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora" in name for name in trained)
    list(tuning.run(demonstrations(policy, ROWS, 100).groups))
    merged = dict(tuning.merged().model.named_parameters())
    begun = dict(tiny_policy().model.named_parameters())
    assert merged.keys() == begun.keys()
    changed = {name for name in begun if not torch.equal(begun[name], merged[name])}
    assert changed == {name for name in begun if name.endswith("_proj.weight")}


def test_rows_are_left_out_and_counted_if_they_are_too_long_or_demonstrate_nothing() -> None:
    policy, short = tiny_policy(), {"prompt": "a", "demonstration": "b"}
    length = len(policy.encode_prompt("a")) + len(policy.encode_completion("b"))
    rows = [short, {"prompt": "a", "demonstration": "b" * 90}, {"prompt": "a", "demonstration": None}, short]
    found = demonstrations(policy, rows, length)
    assert found == ([Group(policy.encode_prompt("a"), [policy.encode_completion("b")])] * 2, 1, 1, length)


def test_the_models_context_limits_a_row_too() -> None:
    policy = tiny_policy()  # whose context is 128
    rows = [{"prompt": "a", "demonstration": "q" * 200}, ROWS[0]]
    assert demonstrations(policy, rows, 10_000).too_long == 1


def test_without_a_row_to_learn_from_nothing_is_tuned() -> None:
    rows = [{"prompt": "a", "demonstration": None}, ROWS[0]]
    message = r"of 2 training rows 1 have no demonstration, and the others have more than 2 tokens"
    with pytest.raises(ModelError, match=message):
        demonstrations(tiny_policy(), rows, 2)
