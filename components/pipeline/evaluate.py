"""Stage *evaluate*: challenger and incumbent on dev; and, only for the gate, on one sealed fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.files import read_json, read_json_lines, tree_digests, weights_digest, write_json, write_json_lines
from components.pipeline.context import Context, StageResult, finish
from components.pipeline.data import dataset_version, table
from components.store import code_digest, stage_key

CODE = ("evaluation/evaluate", "policy", "chat", "rewards/verifier", "randomness")
ARMS = ("challenger", "incumbent")


@dataclass(frozen=True)
class Models:
    """The policies of an evaluation, as verified directories with their weights digests."""

    challenger: Path
    challenger_weights: str
    incumbent: Path
    incumbent_weights: str
    start: Path
    start_weights: str

    @property
    def digests(self) -> dict[str, str]:
        return {
            "challenger": self.challenger_weights,
            "incumbent": self.incumbent_weights,
            "start": self.start_weights,
        }


def dev_evaluation(context: Context, data: StageResult, models: Models) -> StageResult:
    """Sampled and greedy rows of both arms on dev, and ``summary.json`` with intervals. These are shown to everybody."""
    inputs = {"data": dataset_version(data), **models.digests}
    key = stage_key("evaluate", _configuration(context), inputs, code_digest(*CODE))
    return finish(context, "evaluate", key, lambda path: _evaluate_dev(context, data, models, path))


def sealed_evaluation(context: Context, data: StageResult, models: Models, fold: str) -> StageResult:
    """One sampled row an item and arm on a sealed fold. Only the gate reads this, and nothing of it is logged."""
    inputs = {"data": dataset_version(data), **models.digests}
    key = stage_key("sealed", [_configuration(context), fold], inputs, code_digest(*CODE))
    return finish(context, "sealed", key, lambda path: _evaluate_sealed(context, data, models, fold, path))


def evaluation_summary(stage: StageResult) -> dict[str, dict[str, Any]]:
    """Figures by arm and decoding: {challenger_sampled: {accuracy: {value, low, high, n}, ...}, ...}."""
    return dict(read_json(stage.path / "summary.json"))


def arm_rows(stage: StageResult, arm: str, decoding: str = "sampled") -> list[dict[str, Any]]:
    """Per-item rows of an arm."""
    return read_json_lines(stage.path / f"{arm}_{decoding}.jsonl")


def evaluated_digests(stage: StageResult) -> dict[str, str]:
    """Digests of the weights that were really loaded and scored."""
    return dict(read_json(stage.path / "facts.json"))


def _configuration(context: Context) -> list[Any]:
    recipe = context.recipe
    return [recipe.evaluation.model_dump(mode="json"), recipe.policy.max_new_tokens, recipe.seed, recipe.device]


def _evaluate_dev(context: Context, data: StageResult, models: Models, path: Path) -> Mapping[str, str]:
    rows = table(data, "dev")
    temperature = context.recipe.evaluation.temperature
    summary: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for decoding, heat in (("sampled", temperature), ("greedy", 0.0)):
        for arm, results in _both_arms(context, models, rows, heat, "dev_evaluation"):
            write_json_lines(path / f"{arm}_{decoding}.jsonl", results["rows"])
            summary[f"{arm}_{decoding}"] = results["summary"]
            digests[arm] = results["weights"]
    write_json(path / "summary.json", summary)
    return digests


def _evaluate_sealed(context: Context, data: StageResult, models: Models, fold: str, path: Path) -> Mapping[str, str]:
    rows = table(data, fold)
    digests = {}
    for arm, results in _both_arms(context, models, rows, context.recipe.evaluation.temperature, "sealed"):
        write_json_lines(path / f"{arm}_sampled.jsonl", results["rows"])
        digests[arm] = results["weights"]
    return digests


def _both_arms(
    context: Context, models: Models, rows: Sequence[Mapping[str, Any]], temperature: float, purpose: str
) -> list[tuple[str, dict[str, Any]]]:
    from components.evaluation.evaluate import as_rows, evaluate_items, summarise
    from components.policy.adapters import Reference
    from components.policy.loading import load_policy, pick_device

    recipe, device = context.recipe, pick_device(context.recipe.device)
    reference = Reference(load_policy(models.start, device))
    results = []
    for number, (arm, directory) in enumerate(zip(ARMS, (models.challenger, models.incumbent), strict=True)):
        context.observer.progress("evaluate", number, len(ARMS), f"scoring the {arm}")
        policy = load_policy(directory, device)
        weights = weights_digest({f"model/{name}": digest for name, digest in tree_digests(directory).items()})
        items = evaluate_items(
            policy,
            rows,
            seed=recipe.run_seed,
            purpose=purpose,
            max_new_tokens=recipe.policy.max_new_tokens,
            temperature=temperature,
            reference=reference,
        )
        summary = {name: figure._asdict() for name, figure in summarise(items).items()}
        results.append((arm, {"rows": as_rows(items), "summary": summary, "weights": weights}))
    context.observer.progress("evaluate", len(ARMS), len(ARMS), "done")
    return results
