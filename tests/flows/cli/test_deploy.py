"""``ratchet deploy``: its options, and what it says. Prefect is the boundary."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.schedules import IntervalSchedule

from ratchet.components.errors import RatchetError, RecipeError
from ratchet.components.recipe import Schedule
from ratchet.flows import dates, deploying
from ratchet.flows.cli.deploy import deploy, schedule_of
from ratchet.flows.deploying import Deployed
from ratchet.flows.servers import start as servers
from tests.places import MICRO


def test_deploy_and_schedule_make_the_same_slots() -> None:
    written = schedule_of(None, "7h")
    assert written is not None
    theirs = IntervalSchedule.model_validate({**written, "interval": timedelta(seconds=written["interval"])})
    ours = dates.schedule_of(Schedule(every="7h"))
    assert (theirs.interval, theirs.anchor_date, theirs.timezone) == (ours.interval, ours.anchor_date, ours.timezone)
    with pytest.raises(RecipeError, match=r"schedule\.cron '0 99 .* gives no dates"):
        schedule_of("0 99 * * *", None)


def test_a_schedule_of_the_command_line_is_as_prefects_file_has_it() -> None:
    assert schedule_of(None, None) is None
    assert schedule_of("0 2 * * *", None) == {"cron": "0 2 * * *", "timezone": "UTC"}
    from_1970 = {"interval": 21600.0, "anchor_date": "1970-01-01T00:00:00+00:00", "timezone": "UTC"}
    assert schedule_of(None, "6h") == from_1970  # a second deploy does not move its slots
    with pytest.raises(RecipeError, match="cron and every are given; keep one"):
        schedule_of("0 2 * * *", "6h")


@pytest.fixture
def recipe(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a recipe, and no prefect.yaml."""
    monkeypatch.setenv("PREFECT_HOME", str(project / "prefect"))
    (project / "ratchet.yaml").write_text(MICRO.read_text())
    return project


def test_without_a_server_it_is_said_how_to_name_one(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "api_is_given", lambda: False)
    with pytest.raises(RatchetError, match=r"no Prefect server is named\. Set PREFECT_API_URL.*ratchet ui --env"):
        deploy()


def test_it_says_what_it_did(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @contextlib.contextmanager
    def client(sync_client: bool) -> Iterator[None]:
        yield

    def apply(project: Path, client: Any, file: dict[str, Any], flows: list[str], alone: bool) -> list[Deployed]:
        assert not alone
        assert (project, flows, [one["work_pool"]["name"] for one in file["deployments"]]) == (recipe, ["finetune"], ["cpu"])
        return [Deployed("finetune/nightly", True, "cpu", ["cron 0 2 * * * (UTC)"])]

    monkeypatch.setattr(servers, "api_is_given", lambda: True)
    monkeypatch.setattr("prefect.client.orchestration.get_client", client)
    monkeypatch.setattr(deploying, "check_version", lambda _: None)
    monkeypatch.setattr(deploying, "flow_names", lambda *_: ["finetune"])
    monkeypatch.setattr(deploying, "check_pools", lambda client, file, create: ["cpu"] if create else [])
    monkeypatch.setattr(deploying, "apply", apply)
    monkeypatch.setattr(deploying, "without_worker", lambda client, pools: pools)
    deploy(pool="cpu", create_pool=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "created work pool cpu" in said
    assert "created finetune/nightly on pool cpu: cron 0 2 * * * (UTC)" in said
    assert "prefect worker start --pool cpu" in said
