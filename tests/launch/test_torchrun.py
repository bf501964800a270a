import argparse
import sys
from pathlib import Path

import pytest
from torch.distributed.run import config_from_args, parse_args

from ratchet.components.launch.job import Job, Request
from ratchet.components.launch.torchrun import ONE_NODE, arguments, main
from ratchet.components.recipe import Launch


def parsed(job: Job, launch: Launch, node: int = 0) -> argparse.Namespace:
    request = Request("the.entry", "key", launch, "/", "cpu", 1, None, {})
    job.begin(request)
    return parse_args(arguments(job, request, node))  # type: ignore[no-any-return]


def test_one_node_meets_on_its_own_address_and_restarts_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    options = parsed(job, Launch(kind="torchrun", workers=2))
    config, command, rest = config_from_args(options)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node, config.max_restarts) == (1, 1, 2, 0)
    assert (config.rdzv_backend, config.rdzv_endpoint, config.run_id) == (ONE_NODE, "", job.id)
    assert config.local_addr == "127.0.0.1"
    assert (command, rest) == (sys.executable, ["-P", "-u", "-m", "the.entry", str(job.folder)])


def test_nodes_meet_at_the_address(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    options = parsed(job, Launch(kind="torchrun", workers=16, nodes=2, address="trainer-0:29500"), node=1)
    config, _, _ = config_from_args(options)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 8)
    assert (config.rdzv_endpoint, config.local_addr) == ("trainer-0:29500", None)
    assert (config.rdzv_backend, config.rdzv_configs["rank"]) == ("static", 1)  # c10d unpickles what it reads from the network


@pytest.mark.parametrize("place", ["a place", "$(touch x)"])
def test_a_directorys_name_stays_one_argument(tmp_path: Path, place: str) -> None:
    job = Job(tmp_path / place)
    assert parsed(job, Launch(kind="torchrun", workers=2)).training_script_args[-1] == str(job.folder)


def test_a_node_that_the_job_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(tmp_path / "job")
    parsed(job, Launch(kind="torchrun", workers=4, nodes=2, address="a:1"))
    monkeypatch.setattr(sys, "argv", ["torchrun", str(job.folder), "--join", "2"])
    assert main() == 1
    assert "the job has nodes 0 to 1, and none has the number 2" in capsys.readouterr().err
