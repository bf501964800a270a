import argparse
from pathlib import Path

import pytest
from torch.distributed.run import config_from_args, parse_args

from ratchet.components.launch.job import Job, Request
from ratchet.components.launch.torchrun import arguments
from ratchet.components.recipe import Launch


def parsed(job: Job, launch: Launch) -> argparse.Namespace:
    request = Request("the.entry", launch, "/", "cpu", 1, None, {})
    job.begin(request)
    return parse_args(arguments(job, request))  # type: ignore[no-any-return]


def test_one_node_meets_on_its_own_address_and_restarts_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    options = parsed(job, Launch(kind="torchrun", workers=2))
    config, command, rest = config_from_args(options)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node, config.max_restarts) == (1, 1, 2, 0)
    assert (config.rdzv_backend, config.rdzv_endpoint, config.run_id) == ("c10d", "localhost:0", job.id)
    assert config.local_addr == "127.0.0.1"
    assert isinstance(command, str)
    assert rest[-3:] == ["-m", "the.entry", str(job.folder)]


def test_nodes_meet_at_the_address(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    options = parsed(job, Launch(kind="torchrun", workers=16, nodes=2, address="trainer-0:29500"))
    config, _, _ = config_from_args(options)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 8)
    assert (config.rdzv_endpoint, config.local_addr) == ("trainer-0:29500", None)


@pytest.mark.parametrize("place", ["a place", "$(touch x)"])
def test_a_directorys_name_stays_one_argument(tmp_path: Path, place: str) -> None:
    job = Job(tmp_path / place)
    assert parsed(job, Launch(kind="torchrun", workers=2)).training_script_args == [str(job.folder)]
