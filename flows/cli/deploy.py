"""``ratchet deploy``: deployments for work pools."""

from typing import Annotated, Any

import typer

from ratchet.flows.cli.schedule import rules_of


def deploy(
    names: Annotated[list[str] | None, typer.Option("--name", help="A deployment of prefect.yaml; all by default.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Work pool, instead of that in the file.")] = None,
    cron: Annotated[str | None, typer.Option(help="Cron schedule, in UTC, instead of those in the file.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval, such as 15m, 6h or 1d, instead.")] = None,
    create_pool: Annotated[bool, typer.Option("--create-pool", help="Create a missing pool, of the kind process.")] = False,
) -> None:
    """Create or update the deployments of prefect.yaml on the server that PREFECT_API_URL names.

    A project with ratchet.yaml alone gets one that runs it every night. Nothing is asked.

    Example: ratchet deploy --create-pool && prefect worker start --pool ratchet
    """
    from ratchet.flows.settings import make_prefect_home

    make_prefect_home()
    from prefect.client.orchestration import get_client

    from ratchet.components.errors import RatchetError
    from ratchet.components.storage.home import Home
    from ratchet.flows import deploying
    from ratchet.flows.cli.views.console import say
    from ratchet.flows.servers.start import api_is_given

    project = Home.here().project
    schedule = schedule_of(cron, every)
    file = deploying.chosen(deploying.project_file(project), names or [], pool, schedule)
    deploying.check_recipes(project, file)
    if not api_is_given():
        raise RatchetError(
            "no Prefect server is named. Set PREFECT_API_URL; for this project's own server, start ratchet ui or ratchet "
            'schedule, then eval "$(ratchet ui --env)".'
        )
    with get_client(sync_client=True) as client:
        deploying.check_version(client)
        flows = deploying.flow_names(project, file)
        for made in deploying.check_pools(client, file, create_pool):
            say(f"created work pool {made}, of the kind process")
        deployed = deploying.apply(project, client, file, flows, alone=schedule is not None)
        for one in deployed:
            when = ", ".join(one.schedules) or "no schedule"
            say(f"{'created' if one.created else 'updated'} {one.name} on pool {one.pool}: {when}")
        for idle in deploying.without_worker(client, sorted({one.pool for one in deployed})):
            say(f"no worker serves pool {idle}. In {project}: prefect worker start --pool {idle}")


def schedule_of(cron: str | None, every: str | None) -> dict[str, Any] | None:
    """As prefect.yaml has it; None without either.

    Raises:
        RecipeError: if it is invalid, or both are given.
    """
    given = {name: text for name, text in (("cron", cron), ("every", every)) if text is not None}
    if not given:
        return None
    from ratchet.flows import dates

    return dates.in_file(dates.schedule_of(rules_of(given)))
