"""What would be deployed, and what is refused first. The server and Prefect's command are the boundary."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import prefect
import pytest
import yaml
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from ratchet.components.errors import RatchetError, RecipeError
from ratchet.flows import deploying
from tests.places import MICRO

REQUEST = httpx.Request("GET", "http://prefect:4200/api")
NIGHTLY = {
    "name": "nightly",
    "entrypoint": "ratchet.flows.finetune.finetune",
    "parameters": {"recipe": "ratchet.yaml", "overrides": ["seed=slot"]},
    "schedules": [{"cron": "0 2 * * *", "timezone": "UTC"}],
    "work_pool": {"name": "ratchet", "job_variables": {"image": "ours"}},
}
WEEKLY = {**NIGHTLY, "name": "weekly", "work_pool": {"name": "gpu"}}


class Client:
    """Of a server with these pools, deployments and workers."""

    api_url = "http://ann:hunter22@prefect:4200/api"

    def __init__(
        self,
        pools: tuple[str, ...] = (),
        deployments: tuple[str, ...] = (),
        version: Any = prefect.__version__,
        slugs: tuple[str | None, ...] = (),
    ) -> None:
        self.pools, self.deployments, self.version = dict.fromkeys(pools, "process"), deployments, version
        self.slugs = list(slugs)  # of each deployment's schedules

    def api_version(self) -> str:
        if isinstance(self.version, Exception):
            raise self.version
        return str(self.version)

    def read_work_pool(self, name: str) -> None:
        if name not in self.pools:
            raise ObjectNotFound(Exception())

    def create_work_pool(self, pool: Any) -> None:
        self.pools[pool.name] = pool.type

    def read_deployment_by_name(self, name: str) -> Any:
        if name not in self.deployments:
            raise ObjectNotFound(Exception())
        return SimpleNamespace(id=name, schedules=[SimpleNamespace(id=slug, slug=slug) for slug in self.slugs])

    def delete_deployment_schedule(self, deployment: str, schedule: str) -> None:
        self.slugs.remove(schedule)

    def read_workers_for_work_pool(self, name: str, worker_filter: Any) -> list[str]:
        assert worker_filter.status.any_ == ["ONLINE"]
        return ["worker"] if name == "gpu" else []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With two deployments of a recipe."""
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"name": "x", "deployments": [NIGHTLY, WEEKLY]}))
    (tmp_path / "ratchet.yaml").write_text(MICRO.read_text())
    return tmp_path


def names(file: dict[str, Any]) -> list[str]:
    return [one["name"] for one in file["deployments"]]


def test_the_projects_deployments_are_those_of_its_file(project: Path) -> None:
    assert names(deploying.project_file(project)) == ["nightly", "weekly"]


def test_a_project_without_the_file_gets_a_nightly_run_of_its_recipe(project: Path) -> None:
    (project / "prefect.yaml").unlink()
    (one,) = deploying.project_file(project)["deployments"]
    assert (one["entrypoint"], one["parameters"]["recipe"]) == ("ratchet.flows.finetune.finetune", "ratchet.yaml")
    assert one["schedules"][0]["cron"] == "0 2 * * *"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "neither prefect.yaml nor ratchet.yaml"),
        ("name: x", "no list `deployments`"),
        ("a: [", "not YAML"),
        ("deployments: [{name: x}]", "no `entrypoint`"),
    ],
)
def test_a_project_with_nothing_to_deploy_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        deploying.project_file(tmp_path)


def test_deployments_are_chosen_and_take_another_pool_and_schedule(project: Path) -> None:
    file = deploying.project_file(project)
    (one,) = deploying.chosen(file, ["nightly"], "cpu", {"interval": 900.0})["deployments"]
    assert one == {
        **NIGHTLY,
        "work_pool": {"name": "cpu", "job_variables": {"image": "ours"}},
        "schedules": [{"interval": 900.0}],
    }
    assert deploying.chosen(file, [], None, None) == file
    with pytest.raises(RecipeError, match="no deployment hourly; it has nightly, weekly"):
        deploying.chosen(file, ["hourly"], None, None)
    with pytest.raises(RecipeError, match=r"nightly in prefect.yaml has no work_pool.name.*--pool"):
        deploying.chosen({"deployments": [{**NIGHTLY, "work_pool": None}]}, [], None, None)


def test_an_invalid_recipe_is_refused_before_a_worker_meets_it(project: Path) -> None:
    deploying.check_recipes(project, deploying.project_file(project))
    broken = {**NIGHTLY, "parameters": {"recipe": "ratchet.yaml", "overrides": ["train.stepz=1"]}}
    with pytest.raises(RecipeError, match="stepz"):
        deploying.check_recipes(project, {"deployments": [broken]})


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("3.1.0", rf"http://\*\*\*@prefect:4200/api runs Prefect 3.1.0, and this machine {prefect.__version__}"),
        (
            PrefectHTTPStatusError("401", request=REQUEST, response=httpx.Response(401, request=REQUEST)),
            "answers 401. Set PREFECT_API_AUTH_STRING",
        ),
    ],
)
def test_a_server_that_does_not_fit_is_refused(version: Any, said: str) -> None:
    with pytest.raises(RatchetError, match=said):
        deploying.check_version(Client(version=version))  # type: ignore[arg-type]
    deploying.check_version(Client())  # type: ignore[arg-type]


def test_a_missing_pool_is_created_only_if_asked() -> None:
    client, file = Client(pools=("gpu",)), {"deployments": [NIGHTLY, WEEKLY]}
    with pytest.raises(RatchetError, match=r"no work pool 'ratchet'.*--create-pool"):
        deploying.check_pools(client, file, create=False)  # type: ignore[arg-type]
    assert deploying.check_pools(client, file, create=True) == ["ratchet"]  # type: ignore[arg-type]
    assert client.pools == {"gpu": "process", "ratchet": "process"}
    assert deploying.without_worker(client, ["gpu", "ratchet"]) == ["ratchet"]  # type: ignore[arg-type]


def test_an_entrypoint_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()  # no such thing hides the flow
    ours = {"deployments": [NIGHTLY]}
    assert deploying.flow_names(tmp_path, ours) == ["finetune"]
    (tmp_path / "ratchet").mkdir()
    (tmp_path / "ratchet" / "__init__.py").touch()
    with pytest.raises(RatchetError, match=r"finetune: ModuleNotFoundError: .*ratchet.flows.*rename a file there that hides"):
        deploying.flow_names(tmp_path, ours)


def test_prefects_command_applies_what_was_chosen_without_questions(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def run(command: list[str], **options: Any) -> Any:
        given.update(options, arguments=command[1:], file=yaml.safe_load(Path(command[-1]).read_text()))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    file = deploying.project_file(project)
    client: Any = Client(deployments=("finetune/weekly",))
    first, second = deploying.apply(project, client, file, ["finetune", "finetune"])
    assert (given["cwd"], given["file"], given["stdin"]) == (project, file, subprocess.DEVNULL)
    assert given["arguments"][:5] == ["-m", "prefect", "--no-prompt", "deploy", "--all"]
    assert (first.name, first.created, first.pool) == ("finetune/nightly", True, "ratchet")
    assert (second.name, second.created, second.pool) == ("finetune/weekly", False, "gpu")
    assert first.schedules == ["cron 0 2 * * * (UTC)"]
    assert deploying.described({"interval": 21600.0}) == "every 21600 s"


def test_what_prefect_says_of_a_failure_is_shown_without_secrets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ValueError: no route to http://ann:hunter22@prefect\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    client: Any = Client()
    with pytest.raises(RatchetError, match=r"prefect deploy failed: ValueError: no route to http://\*\*\*@prefect"):
        deploying.apply(project, client, deploying.project_file(project), ["finetune", "finetune"])


@pytest.mark.parametrize(
    ("known", "given", "kept"),
    [(("nightly", "noon"), "nightly", ["nightly"]), ((None,), None, [None]), ((), None, [])],
)
def test_a_schedule_of_the_call_replaces_those_that_have_a_slug_on_the_server(
    project: Path, monkeypatch: pytest.MonkeyPatch, known: tuple[str | None, ...], given: str | None, kept: list[str | None]
) -> None:
    sent: list[Any] = []

    def run(command: list[str], **_: Any) -> Any:
        sent.extend(yaml.safe_load(Path(command[-1]).read_text())["deployments"][0]["schedules"])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    client: Any = Client(deployments=("finetune/nightly",), slugs=known)
    file = deploying.chosen(deploying.project_file(project), ["nightly"], None, {"interval": 900.0})
    deploying.apply(project, client, file, ["finetune"], alone=True)
    assert (sent[0].get("slug"), client.slugs) == (given, kept)
