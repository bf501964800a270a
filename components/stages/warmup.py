"""Stage *warmup*: the starting policy, warmed up here, or an existing model, as it is or fine-tuned on the demonstrations."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ratchet.components.randomness import torch_seed
from ratchet.components.stages.results import DataStage, FineTuned, Learnt, WarmupStage
from ratchet.components.stages.stage import Context, finish, key_of

if TYPE_CHECKING:
    from ratchet.components.checkpoints.checkpoint import Resumption
    from ratchet.components.policy.configuration import Fields
    from ratchet.components.training.warmup import WarmupStep


class Taken(NamedTuple):
    """A warm-up's figures, and its last step."""

    points: list[tuple[int, dict[str, float]]]
    last: "WarmupStep"


def starting_policy(context: Context, data: DataStage) -> WarmupStage:
    """A directory ``model/`` with the policy that training starts from if the recipe says ``start: base``.

    Raises:
        ModelError: if the recipe names a model that cannot be loaded safely, is of a family that is not supported, or cannot
            be fine-tuned on these rows.
    """
    recipe = context.recipe
    if recipe.policy.model is not None:
        made = _existing_model(context) if recipe.policy.tuning is None else _fine_tuned_model(context, data)
        _check_shape(made, recipe.policy.shape)
        return made
    configuration = [recipe.policy.tiny.model_dump(mode="json"), recipe.seed, recipe.device, recipe.threads]
    key = key_of(WarmupStage, __name__, configuration, {"data": data.version})
    return finish(context, WarmupStage, key, lambda path: _warm_up(context, data, key, path))


def _check_shape(made: WarmupStage, stated: "Fields | None") -> None:
    """A finished stage may be of another recipe, which stated no shape, or another one: the key has the model's files alone."""
    if stated is not None:
        from ratchet.components.policy.configuration import check_stated, read_configuration

        check_stated(read_configuration(made.model), stated)


def _existing_model(context: Context) -> WarmupStage:
    key = key_of(WarmupStage, __name__, "existing model", _model_inputs(context))
    return finish(context, WarmupStage, key, lambda path: _copy_model(context, path))


def _model_inputs(context: Context) -> dict[str, str]:
    policy = context.recipe.policy
    assert policy.model is not None
    directory, hub = Path(policy.model), {"hub": policy.model, "revision": policy.revision or ""}
    return context.seen.tree(directory) if directory.is_dir() else hub


def _fine_tuned_model(context: Context, data: DataStage) -> WarmupStage:
    """The key has the model's own inputs, not the stage of the model as it is, which no run keeps from deletion."""
    recipe = context.recipe
    assert recipe.policy.tuning is not None
    configuration = [
        recipe.policy.tuning.model_dump(mode="json"),
        recipe.train.precision,
        recipe.train.deterministic,
        recipe.seed,
        recipe.prompt_date,
        recipe.device,
        recipe.threads,
    ]
    inputs = {f"model/{name}": digest for name, digest in _model_inputs(context).items()}
    key = key_of(WarmupStage, __name__, configuration, {"data": data.version, **inputs})
    return finish(context, WarmupStage, key, lambda path: asdict(_fine_tune(context, data, key, path)))


def _copy_model(context: Context, path: Path) -> None:
    import torch

    from ratchet.components.policy.configuration import check_stated
    from ratchet.components.policy.loading import load_policy, save_policy
    from ratchet.components.policy.parity import check_scoring

    assert context.recipe.policy.model is not None
    policy = load_policy(context.recipe.policy.model, torch.device("cpu"), context.recipe.policy.revision)
    check_stated(policy.model.config, context.recipe.policy.shape)
    check_scoring(policy)  # before anything is trained or drawn; training checks it again on its device
    save_policy(policy, path / "model")


def _warm_up(context: Context, data: DataStage, key: str, path: Path) -> dict[str, Any] | None:
    import torch

    from ratchet.components.policy.loading import Policy, pick_device, save_policy
    from ratchet.components.training.warmup import build_policy, warm_up

    settings, seed = context.recipe.policy.tiny, context.recipe.run_seed
    rows = data.table("train")
    policy = build_policy(rows, settings, seed)
    policy = Policy(policy.model.to(pick_device(context.recipe.device)), policy.tokenizer)
    torch.manual_seed(torch_seed(seed, "warmup"))
    steps = lambda resumption: warm_up(policy, rows, settings, seed, resumption)  # noqa: E731
    taken = _taken(context, key, settings.steps, steps)
    save_policy(policy, path / "model")
    context.observer.metrics("warmup", taken.points)
    if settings.until is None:
        return None
    assert taken.last.learnt is not None  # the last step is always measured
    facts = Learnt(settings.until, taken.last.learnt, taken.last.step + 1, settings.steps)
    context.observer.progress("warmup", facts.steps, facts.steps, facts.text())
    return asdict(facts)


def _fine_tune(context: Context, data: DataStage, key: str, path: Path) -> FineTuned:
    import torch

    from ratchet.components.policy.loading import load_policy, pick_device, save_policy
    from ratchet.components.policy.parity import check_context, check_scoring
    from ratchet.components.training.fine_tuning import FineTuning, demonstrations

    recipe, settings = context.recipe, context.recipe.policy.tuning
    assert settings is not None
    base = _existing_model(context)
    device = pick_device(recipe.device, recipe.train.deterministic)
    policy = load_policy(base.model, device, precision=recipe.train.precision, template_date=recipe.prompt_date)
    check_scoring(policy)
    check_context(policy, data.table("train"), recipe.policy.max_new_tokens)  # now, and for other settings before the reward
    given = demonstrations(policy, data.table("train"), settings.max_tokens)
    facts = FineTuned(base.weights, base.policy_digest, len(given.groups), given.too_long, given.without, given.longest)
    context.observer.progress("warmup", 0, settings.steps, facts.text())
    torch.manual_seed(torch_seed(recipe.run_seed, "warmup"))
    tuning = FineTuning(policy, settings, recipe.run_seed)
    taken = _taken(context, key, settings.steps, lambda resumption: tuning.run(given.groups, resumption))
    save_policy(tuning.merged(), path / "model")
    context.observer.metrics("warmup", taken.points)
    return facts


def _taken(context: Context, key: str, total: int, steps: "Callable[[Resumption], Iterator[WarmupStep]]") -> Taken:
    """Take all steps, or resume them where they were killed; the figures are those of every tenth step."""
    from ratchet.components.checkpoints.checkpoint import Resumption
    from ratchet.components.interruption import Interruption

    points: list[tuple[int, dict[str, float]]] = []
    with Interruption() as interruption:
        resumption = Resumption(context.store.work(WarmupStage.name, key), key, context.ended_by(interruption))
        for step in steps(resumption):
            figures = {name: value for name, value in step._asdict().items() if name != "step" and value is not None}
            said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            context.observer.progress("warmup", step.step + 1, total, said)
            if (step.step + 1) % 10 == 0:
                points.append((step.step + 1, figures))
    return Taken(points, step)
