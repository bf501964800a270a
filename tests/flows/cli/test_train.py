"""``ratchet train --estimate``: what ranks would make of a recipe, beside what one process takes."""

import json
from pathlib import Path

import pytest

from tests.flows.cli.test_cli import ratchet
from tests.places import RECIPES

GSM8K = ("--recipe", str(RECIPES / "gsm8k_grpo.yaml"))


def test_ranks_are_planned_before_anything_is_there(project: Path) -> None:
    asked = ["train", "--estimate", "--workers", "8", "--gpu", "h100", *GSM8K]
    table = ratchet(project, *asked)
    assert table.returncode == 0, table.stderr
    told = json.loads(ratchet(project, *asked, "--json").stdout)
    plan = told["scaling"]
    assert (told["device"], told["device_gib"], plan["memory"]["device_gib"]) == ("cuda", 79, 79)
    assert (plan["workers"], plan["nodes"], plan["gpu"], plan["mode"]) == (8, 1, "h100", "replicated")
    assert plan["bytes"]["gradients"] == pytest.approx(2 * 7 / 8 * 4 * 494_032_768)
    assert plan["seconds"]["step"] == pytest.approx(sum(plan["seconds"].values()) / 2)
    for said in (f"{plan['seconds']['step']:,.3f}", f"{plan['bytes']['gradients'] / 1e6:,.1f}", plan["why"], plan["engine"]):
        assert said in table.stdout
    assert f"useful up to {plan['limits']['useful']} ranks" in table.stdout
    assert not (project / ".ratchet").exists()


def test_memory_of_the_gpus_may_be_given(project: Path) -> None:
    done = ratchet(project, "train", "--estimate", "--json", "--workers", "2", "--gpu", "h200", "--gpu-memory", "20", *GSM8K)
    told = json.loads(done.stdout)
    assert (told["device_gib"], told["scaling"]["memory"]["device_gib"], told["scaling"]["gpu"]) == (20, 20, "h200")


def test_the_recipes_ranks_are_planned(project: Path) -> None:
    launch = [f"launch.{value}" for value in ("kind=torchrun", "workers=4", "nodes=2", "address=trainer-0:29500")]
    overrides = [part for value in launch for part in ("--set", value)]
    plan = json.loads(ratchet(project, "train", "--estimate", "--json", *GSM8K, *overrides).stdout)["scaling"]
    assert (plan["workers"], plan["nodes"]) == (4, 2)


def test_a_single_process_has_no_plan_of_ranks(project: Path) -> None:
    assert "scaling" not in json.loads(ratchet(project, "train", "--estimate", "--json", *GSM8K).stdout)


def test_ranks_without_an_estimate_are_exit_2_and_name_the_keys(project: Path) -> None:
    done = ratchet(project, "train", "--workers", "8", *GSM8K)
    assert done.returncode == 2
    assert "--set launch.kind=torchrun --set launch.workers=8" in done.stderr
    other = ratchet(project, "train", "--gpu", "h100", *GSM8K)
    assert (other.returncode, "are for --estimate" in other.stderr) == (2, True)
