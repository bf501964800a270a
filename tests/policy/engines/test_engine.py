"""What may be asked of an engine."""

import pytest
import torch

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings

REQUEST = SamplingRequest([[5, 6], [7], [8, 9, 10]], [3, 1, 4], SamplingSettings(2, 5), SamplingSeed(7, "test", 2), [1])


def test_the_draws_of_a_prompt_do_not_depend_on_those_beside_it() -> None:
    draws = REQUEST.draws()
    assert draws.shape == (6, 5)
    assert len(draws.unique()) == 30
    assert torch.equal(REQUEST.only([2, 0]).draws(), draws[[4, 5, 0, 1]])


def test_a_part_of_a_request_keeps_prompts_and_numbers_together() -> None:
    part = REQUEST.only([2, 0])
    assert (part.prompts, part.items, part.longest) == ([[8, 9, 10], [5, 6]], [4, 3], 3)
    assert (part.settings, part.seed, part.ends) == (REQUEST.settings, REQUEST.seed, REQUEST.ends)


def test_no_prompts_have_no_longest_one() -> None:
    assert REQUEST.only([]).longest == 0


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(ModelError, match="a prompt has no token"):
        SamplingRequest([[5], []], [0, 1], REQUEST.settings, REQUEST.seed, [1])


@pytest.mark.parametrize(
    "settings", [(0, 5), (2, 0), (2, 5, -0.1), (2, 5, float("nan")), (2, 5, 1.0, 0.0), (2, 5, 1.0, 1.1), (2, 5, 1.0, 1.0, 0)]
)
def test_settings_with_which_nothing_can_be_drawn_are_refused(settings: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=r"no completion can be drawn with .* Ask for"):
        SamplingSettings(*settings)
