"""What `ratchet deploy` does: choose deployments, refuse what could not run, and have Prefect's own command create them."""

import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import prefect
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from ratchet.components.errors import RatchetError, RecipeError
from ratchet.components.recipe import load_recipe
from ratchet.components.scaffold.extras import DEPLOYMENT, deployment
from ratchet.components.storage.home import RECIPE
from ratchet.components.text import redacted

# In the project's root, which Prefect puts before installed packages: a file there may hide one of them.
FLOW_NAMES = """
import sys
from prefect.flows import load_flow_from_entrypoint
for entrypoint in sys.argv[1:]:
    try:
        print(load_flow_from_entrypoint(entrypoint).name)
    except Exception as error:
        sys.exit(f"{entrypoint}: {type(error).__name__}: {error}")
"""
Config = dict[str, Any]  # of one deployment in prefect.yaml, or of the whole file


class Deployed(NamedTuple):
    """A deployment as it is on the server now."""

    name: str  # flow/deployment
    created: bool  # else updated
    pool: str
    schedules: Sequence[str]


def project_file(project: Path) -> Config:
    """The project's prefect.yaml; where there is none, what `ratchet init --deploy` would write for its ratchet.yaml.

    Raises:
        RecipeError: if there is neither, or the file has no deployments.
    """
    path = project / DEPLOYMENT
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    elif (project / RECIPE).is_file():
        text = deployment(load_recipe(project / RECIPE, ()).name).decode()
    else:
        raise RecipeError(f"{project} has neither {DEPLOYMENT} nor {RECIPE}. Write a project with `ratchet init --deploy`.")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}. Correct it.") from error
    if not (isinstance(found, dict) and isinstance(found.get("deployments"), list) and found["deployments"]):
        raise RecipeError(f"{path} has no list `deployments`. `ratchet init --deploy` in another folder writes one to copy.")
    for one in found["deployments"]:
        if not (isinstance(one, dict) and one.get("name") and one.get("entrypoint")):
            raise RecipeError(f"a deployment in {path} has no `name` or no `entrypoint`. Add it.")
    return found


def chosen(file: Config, names: Sequence[str], pool: str | None, schedule: Config | None) -> Config:
    """The file with the named deployments (all if none is named), with another pool or another schedule.

    Raises:
        RecipeError: if a name is not in the file.
    """
    known = [one["name"] for one in file["deployments"]]
    if unknown := sorted(set(names) - set(known)):
        raise RecipeError(f"{DEPLOYMENT} has no deployment {', '.join(unknown)}; it has {', '.join(known)}.")
    deployments = [one for one in file["deployments"] if not names or one["name"] in names]
    if pool is not None:
        deployments = [{**one, "work_pool": {**(one.get("work_pool") or {}), "name": pool}} for one in deployments]
    if schedule is not None:
        deployments = [{**one, "schedules": [schedule]} for one in deployments]
    if unplaced := [one["name"] for one in deployments if "name" not in (one.get("work_pool") or {})]:
        raise RecipeError(f"{', '.join(unplaced)} in {DEPLOYMENT} has no work_pool.name. Add it, or pass --pool.")
    return {**file, "deployments": deployments}


def check_recipes(project: Path, file: Config) -> None:
    """Load the recipes that are in this project.

    Raises:
        RecipeError: if one is invalid, or is not there although the run would look for it here.
    """
    for one in file["deployments"]:
        parameters: Mapping[str, Any] = one.get("parameters") or {}
        if "recipe" in parameters:
            load_recipe(project / parameters["recipe"], parameters.get("overrides") or [])


def check_version(client: SyncPrefectClient) -> None:
    """
    Raises:
        RatchetError: if the server refuses the login, or runs another version of Prefect.
    """
    server = f"the server at {redacted(str(client.api_url))}"
    try:
        theirs, ours = client.api_version(), prefect.__version__
    except PrefectHTTPStatusError as error:
        raise RatchetError(
            f"{server} answers {error.response.status_code}. Set PREFECT_API_AUTH_STRING to its login; for the project's own "
            'server, eval "$(ratchet ui --env)".'
        ) from error
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise RatchetError(
            f"{server} runs Prefect {theirs}, and this machine {ours}: it may refuse requests of another version. "
            f"Install prefect=={theirs} here, or {ours} there."
        )


def check_pools(client: SyncPrefectClient, file: Config, create: bool) -> list[str]:
    """The names of the pools that were missing and have been created.

    Raises:
        RatchetError: if one is missing and may not be created.
    """
    made = []
    for pool in sorted({one["work_pool"]["name"] for one in file["deployments"]}):
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            if not create:
                raise RatchetError(
                    f"there is no work pool {pool!r} on the server. Pass --create-pool for one whose worker runs processes, or "
                    f"create another kind first: prefect work-pool create {pool} --type docker (docs/deployments.md)."
                ) from None
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
            made.append(pool)
    return made


def flow_names(project: Path, file: Config) -> list[str]:
    """The name of each deployment's flow.

    Raises:
        RatchetError: if an entrypoint cannot be imported in the project's root, as a worker there would do.
    """
    entrypoints = [one["entrypoint"] for one in file["deployments"]]
    done = _python(project, "-c", FLOW_NAMES, *entrypoints)
    if done.returncode:
        raise RatchetError(
            f"cannot import the entrypoint in {project}: {redacted(_last_line(done.stderr))}. Correct `entrypoint` in "
            f"{DEPLOYMENT} (ours is ratchet.flows.finetune.finetune), or rename a file there that hides a package."
        )
    return done.stdout.split("\n")[: len(entrypoints)]


def apply(project: Path, client: SyncPrefectClient, file: Config, flows: Sequence[str], alone: bool = False) -> list[Deployed]:
    """Create or update the deployments with `prefect deploy`, in the project's root, which becomes their working directory.

    Args:
        alone: whether schedules that the file does not have are deleted on the server.

    Raises:
        RatchetError: with what Prefect said, if it failed.
    """
    names = [f"{flow}/{one['name']}" for flow, one in zip(flows, file["deployments"], strict=True)]
    before = {name: found for name in names if (found := _read(client, name)) is not None}
    slugs = [[one.slug for one in before[name].schedules] if name in before else [] for name in names]
    file = {**file, "deployments": [_with_slugs(one, known) for one, known in zip(file["deployments"], slugs, strict=True)]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DEPLOYMENT
        path.write_text(yaml.safe_dump(file, sort_keys=False, allow_unicode=True), encoding="utf-8")
        done = _python(project, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path))
    if done.returncode:
        raise RatchetError(f"prefect deploy failed: {redacted(done.stderr.strip() or done.stdout.strip())}")
    for name, one in zip(names, file["deployments"], strict=True) if alone else ():
        _delete_others(client, name, {each.get("slug") for each in one["schedules"]})
    return [
        Deployed(name, name not in before, one["work_pool"]["name"], [described(each) for each in one.get("schedules") or ()])
        for name, one in zip(names, file["deployments"], strict=True)
    ]


def without_worker(client: SyncPrefectClient, pools: Sequence[str]) -> list[str]:
    """The pools for which no worker is online."""
    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    return [pool for pool in pools if not client.read_workers_for_work_pool(pool, worker_filter=online)]


def described(schedule: Mapping[str, Any]) -> str:
    """A schedule of prefect.yaml in words."""
    if "interval" in schedule:
        return f"every {schedule['interval']:g} s"
    kind = "cron" if "cron" in schedule else "rrule"
    return f"{kind} {schedule.get(kind)} ({schedule.get('timezone', 'UTC')})"


def _read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _with_slugs(one: Config, known: Sequence[str | None]) -> Config:
    """Prefect refuses a schedule without a slug where each of the deployment's has one: it takes the place of one of these."""
    if not known or None in known:
        return one
    schedules = one.get("schedules") or []
    free = [slug for slug in known if slug not in {each.get("slug") for each in schedules}]
    named = [
        each if each.get("slug") else {**each, "slug": free.pop(0) if free else f"schedule-{n}"}
        for n, each in enumerate(schedules)
    ]
    return {**one, "schedules": named} if named else one


def _delete_others(client: SyncPrefectClient, name: str, slugs: Collection[str | None]) -> None:
    deployment = client.read_deployment_by_name(name)
    for schedule in deployment.schedules:
        if schedule.slug not in slugs:
            client.delete_deployment_schedule(deployment.id, schedule.id)


def _python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
