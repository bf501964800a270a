"""``ratchet engine check``: the contract of an external engine, held against a running server with the recipe's policy."""

from pydantic import ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines.vllm.contract import Check, Contract
from ratchet.components.policy.engines.vllm.engine import PROBES, opened
from ratchet.components.policy.loading import load_policy, pick_device
from ratchet.components.project.project import Project
from ratchet.components.recipe import Vllm
from ratchet.components.run.samples import SLOT, policy_of
from ratchet.components.run.steps import configure_torch
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.stage import Context, Observer

WAITING = "another `ratchet engine check` of this project is in progress; waiting"


def check_server(project: Project, url: str | None, observer: Observer) -> list[Check]:
    """The ten checks, with the policy that training starts from.

    Args:
        url: of the server; by default the recipe's.

    Raises:
        RatchetError: if there is no address, or data or policy cannot be used. What is wrong with the server is in the checks.
    """
    recipe = project.recipe.with_slot(SLOT)
    settings, train = settings_of(project, url), recipe.train
    context = Context(recipe, project.home, observer)
    with project.locks.working("engine", WAITING):
        data = prepare_data(context)
        with project.locks.computing():
            configure_torch(recipe.threads)
            stage, _ = policy_of(project, context, data, None)
            device = pick_device(recipe.device, train.deterministic)
            policy = load_policy(stage.model, device, precision=train.precision, template_date=recipe.prompt_date)
            probes = [policy.encode_row(row) for row in data.table("train")[:PROBES]]
            adapter = add_lora(policy, train.lora.rank, train.lora.alpha, seed=0) if train.lora else None
            with opened(settings, adapter, probes, "check") as engine:
                return list(Contract(engine, policy, recipe.policy.max_new_tokens).checks())


def settings_of(project: Project, url: str | None) -> Vllm:
    """The recipe's section, with another address if one is given.

    Raises:
        RecipeError: if there is no address, or it is none.
    """
    given = project.recipe.train.sampling.vllm
    if given is not None and url is None:
        return given
    if url is None:
        raise RecipeError(
            "there is no server to check. Give --url http://HOST:PORT, or write train.sampling.vllm in the recipe."
        )
    values = given.model_dump() if given is not None else {"folder": str(project.home.state.absolute() / "engine")}
    try:
        return Vllm.model_validate({**values, "url": url})
    except ValidationError as error:
        raise RecipeError(
            f"--url {url!r} is not the address of a server. Write http://HOST:PORT, without a user or a query."
        ) from error
