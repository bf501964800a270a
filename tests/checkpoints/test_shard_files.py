from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from ratchet.components.checkpoints.shard_files import in_shards_like, load_shards, names_in, own_part, read_whole, save_shards
from ratchet.components.launch.ranks import ONE, Ranks
from tests.ranks import on_ranks

MATRIX = torch.arange(10.0).reshape(5, 2)  # five rows do not divide among two ranks
STEP = torch.tensor(7.0)


def _written(ranks: Ranks, folder: Path) -> dict[str, Any]:
    mesh = init_device_mesh("cpu", (ranks.size,))
    tensor = distribute_tensor(MATRIX, mesh, [Shard(0)])
    save_shards({"matrix": tensor, "step": STEP}, folder)
    ranks.barrier()
    room = torch.zeros_like(tensor)
    load_shards({"matrix": room}, folder)
    cut = in_shards_like(tensor, MATRIX)
    return {
        "own": own_part(tensor),
        "read": own_part(room),
        "cut": own_part(cut),
        "is a shard": isinstance(cut, DTensor) and cut.shape == MATRIX.shape,
    }


def test_each_rank_writes_and_reads_its_own_rows(tmp_path: Path) -> None:
    found = on_ranks(2, _written, tmp_path)
    assert torch.equal(torch.cat([rank["own"] for rank in found]), MATRIX)
    for rank in found:
        assert torch.equal(rank["read"], rank["own"])
        assert torch.equal(rank["cut"], rank["own"])
        assert rank["is a shard"]
    assert names_in(tmp_path) == {"matrix", "step"}
    whole = read_whole(tmp_path)
    assert torch.equal(whole["matrix"], MATRIX)
    assert whole["step"].tolist() == [7.0]
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}  # no index that would be unpickled


def test_nothing_is_an_empty_directory(tmp_path: Path) -> None:
    save_shards({}, tmp_path / "empty")
    assert read_whole(tmp_path / "empty") == {}
    assert names_in(tmp_path / "empty") == set()


def test_a_whole_parameter_takes_the_tensor_itself() -> None:
    assert in_shards_like(torch.zeros(5, 2), MATRIX) is MATRIX
    assert own_part(MATRIX) is MATRIX
    assert ONE.sharded is False
