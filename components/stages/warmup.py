"""Stage *warmup*: the starting policy, warmed up here or taken from an existing model."""

from pathlib import Path

from ratchet.components.randomness import torch_seed
from ratchet.components.stages.results import DataStage, WarmupStage
from ratchet.components.stages.stage import Context, finish, key_of


def starting_policy(context: Context, data: DataStage) -> WarmupStage:
    """A directory ``model/`` with the policy that training starts from if the recipe says ``start: base``.

    Raises:
        ModelError: if the recipe names a model that cannot be loaded safely.
    """
    policy = context.recipe.policy
    if policy.model is not None:
        directory, hub = Path(policy.model), {"hub": policy.model, "revision": policy.revision or ""}
        inputs = context.seen.tree(directory) if directory.is_dir() else hub
        key = key_of(WarmupStage, __name__, "existing model", inputs)
        return finish(context, WarmupStage, key, lambda path: _copy_model(context, path))
    configuration = [policy.warmup.model_dump(mode="json"), context.recipe.seed, context.recipe.device, context.recipe.threads]
    key = key_of(WarmupStage, __name__, configuration, {"data": data.version})
    return finish(context, WarmupStage, key, lambda path: _warm_up(context, data, key, path))


def _copy_model(context: Context, path: Path) -> None:
    import torch

    from ratchet.components.policy.configuration import check_stated
    from ratchet.components.policy.loading import load_policy, save_policy

    assert context.recipe.policy.model is not None
    policy = load_policy(context.recipe.policy.model, torch.device("cpu"), context.recipe.policy.revision)
    check_stated(policy, context.recipe.policy.shape)
    save_policy(policy, path / "model")


def _warm_up(context: Context, data: DataStage, key: str, path: Path) -> None:
    import torch

    from ratchet.components.checkpoints import Resumption
    from ratchet.components.interruption import Interruption
    from ratchet.components.policy.loading import Policy, pick_device, save_policy
    from ratchet.components.training.warmup import build_policy, warm_up

    settings, seed = context.recipe.policy.warmup, context.recipe.run_seed
    rows = data.table("train")
    policy = build_policy(rows, settings, seed)
    policy = Policy(policy.model.to(pick_device(context.recipe.device)), policy.tokenizer)
    torch.manual_seed(torch_seed(seed, "warmup"))
    points = []
    with Interruption() as interruption:
        resumption = Resumption(context.store.work(WarmupStage.name, key), key, context.ended_by(interruption))
        for step in warm_up(policy, rows, settings, seed, resumption):
            context.observer.progress("warmup", step.step + 1, settings.steps, f"loss {step.loss:.3f}")
            if (step.step + 1) % 10 == 0:
                points.append((step.step + 1, {"loss": step.loss}))
    save_policy(policy, path / "model")
    context.observer.metrics("warmup", points)
