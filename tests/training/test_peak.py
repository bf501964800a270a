"""Peak memory of what follows."""

import torch

from components.training.peak import peak_bytes, reset_peak

CPU = torch.device("cpu")


def test_a_peak_that_is_over_is_forgotten() -> None:
    size = 64 * 2**20
    before = reset_peak(CPU)
    block = torch.ones(size // 4)
    del block
    assert size * 0.9 < peak_bytes(CPU) - before < size * 1.5
    after = reset_peak(CPU)
    assert peak_bytes(CPU) - after < size // 4
