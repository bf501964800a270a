"""Steps as names give them."""

from pathlib import Path

from ratchet.components.checkpoints.steps import in_order, step_of


def test_names_are_ordered_by_their_step(tmp_path: Path) -> None:
    names = ["step_000002.json", "step_999990.json", "step_1000000.json"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in in_order(tmp_path, "step_*.json")] == names
    assert [step_of(path) for path in in_order(tmp_path)] == [2, 999_990, 1_000_000]
