"""Next-token logits are the head's, whichever way their product is computed."""

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.policy.engines import decoder
from ratchet.components.policy.engines.decoder import next_logits
from tests.tiny_models import tiny_policy


@pytest.mark.parametrize("rows", [1, decoder.FEW_ROWS, decoder.FEW_ROWS + 1])
def test_few_rows_of_a_large_head_have_the_same_logits(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    model = tiny_policy().model
    head = model.get_output_embeddings()
    hidden = torch.randn(rows, head.in_features, generator=torch.Generator().manual_seed(0))
    expected, called = head(hidden), []
    head.register_forward_hook(lambda *_: called.append(True))
    monkeypatch.setattr(decoder, "LARGE", head.weight.numel())
    with torch.inference_mode():
        found = next_logits(model, hidden)
    assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert found.is_contiguous()
    assert bool(called) == (rows > decoder.FEW_ROWS)
