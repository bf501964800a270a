"""Peak memory of what follows."""

import torch

from ratchet.components.training.device_memory import GIB, Watch, device_bytes, peak_bytes, reset_peak

CPU = torch.device("cpu")


def test_a_peak_that_is_over_is_forgotten() -> None:
    size = 64 * 2**20
    before = reset_peak(CPU)
    block = torch.ones(size // 4)
    del block
    assert size * 0.9 < peak_bytes(CPU) - before < size * 1.5
    after = reset_peak(CPU)
    assert peak_bytes(CPU) - after < size // 4


def test_a_watch_compares_what_was_used_with_what_was_expected() -> None:
    figures = Watch(CPU, baseline=peak_bytes(CPU) - GIB // 2, expected=2 * GIB).figures()
    assert figures["memory/estimate_gib"] == 2.0
    assert 0.5 <= figures["memory/peak_gib"] < 0.6


def test_this_machine_has_more_memory_than_this_process_uses() -> None:
    assert peak_bytes(CPU) < device_bytes(CPU) < 2**50
