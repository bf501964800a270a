"""A project whose stages are made by hand, so that the gate's steps run in milliseconds."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ratchet.components.gate.folds import Fold
from ratchet.components.gate.items import Trained
from ratchet.components.gate.judge import judge
from ratchet.components.gate.plan import Challenge
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import build_recipe
from ratchet.components.records import ItemResult, Verdict
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, PolicyStage
from ratchet.components.stages.scoring import Models, ScoredStage
from ratchet.components.stages.sealed import SealedStage
from ratchet.components.stages.stage import Context, Result
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json, write_json_lines
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Finished

POINTER = "outs:\n- md5: {}.dir\n  path: data\n"


def ids(start: int, count: int) -> list[str]:
    return [f"{number:016x}" for number in range(start, start + count)]


def models(challenger: str, incumbent: str = "start", start: str = "start") -> Models:
    """Policies of which there is nothing but their digests."""
    return Models(*(policy(weights) for weights in (challenger, incumbent, start)))


def policy(weights: str, digest: str = "") -> PolicyStage:
    """A policy's stage of these weights, whose own digest is the same unless given."""
    stage = PolicyStage(Finished("policy", "", Path(), {"files": {"model/model.safetensors": weights}}), False, 0.0)
    stage.__dict__["policy_digest"] = digest or weights
    return stage


class Project:
    """A recipe, a ledger, two folds of 300 items each, dev rows, and challengers that answer as they are told."""

    def __init__(
        self,
        path: Path,
        folds: int = 2,
        evaluation: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        **rules: Any,
    ) -> None:
        values = {
            **(recipe or {}),
            "name": "m",
            "data": {**(recipe or {}).get("data", {}), "split": {"sealed_folds": folds}},
            "evaluation": dict(evaluation or {}),
            "gate": {"rules": {"guards": [], "floor": 0.0, **rules}},
        }
        self.path = path
        self.context = Context(build_recipe(values, "test"), Home(path, path / ".ratchet"))
        self.ledger = Ledger(f"sqlite:///{path / 'ledger.db'}")
        self.data = self.dataset([ids(1000 * fold, 300) for fold in range(folds)])
        self.dev = self.scored(EvaluateStage, ids(90_000, 100), 60, 50)
        self.trained = Trained(first=True)
        self.scorings = 0

    def dataset(self, folds: Sequence[Sequence[str]]) -> DataStage:
        """A dataset version with these folds."""
        root = self.path / f"data-{uuid.uuid4().hex}"
        (root / "data").mkdir(parents=True)
        tables = {"dev": ids(90_000, 100), "guard": ids(80_000, 50)} | {f"sealed_{n}": fold for n, fold in enumerate(folds)}
        for name, items in tables.items():
            rows = [{"id": item, "prompt": f"p {item}", "answer": "#### 1", "demonstration": "#### 1"} for item in items]
            write_json_lines(root / "data" / f"{name}.jsonl", rows)
        (root / "data.dvc").write_text(POINTER.format("0" * 32), encoding="utf-8")
        files = {f"data/{name}.jsonl": file_digest(root / "data" / f"{name}.jsonl") for name in tables}
        return DataStage(Finished("data", root.name, root, {"files": files}), False, 0.0)

    def scored(
        self,
        kind: type[Result],
        items: Sequence[str],
        ours: int,
        theirs: int,
        challenger: str = "challenger",
        incumbent: str = "start",
        tone: float = 0.5,
    ) -> Result:
        """A committed stage in which the challenger is right on the first ``ours`` items, the incumbent on ``theirs``.

        Right is the answer 1, and else it is 2; a grader ``tone`` gives the challenger ``tone``, and the incumbent 0.5.
        """

        def write(path: Path) -> None:
            for arm, right, grade in (("challenger", ours, tone), ("incumbent", theirs, 0.5)):
                results = [
                    ItemResult(
                        item, "p", "#### 1", n < right, float(n < right), 10, True, 0.0,
                        answer="1" if n < right else "2", expected="1", grades={"tone": grade + 0.01 * (n % 2)},
                    )
                    for n, item in enumerate(items)
                ]  # fmt: skip
                write_json_lines(path / f"{arm}_sampled.jsonl", [asdict(result) for result in results])
            write_json(path / "facts.json", {"challenger": challenger, "incumbent": incumbent})

        return kind(self.context.store.commit(kind.name, uuid.uuid4().hex, write, {}), False, 0.0)

    def judge(
        self,
        challenger: str,
        right: int,
        before: int = 150,
        incumbent: str = "start",
        first: bool = False,
        tone: float = 0.5,
    ) -> Verdict:
        """The verdict on a challenger that is right on so many of a fold's items."""

        def score(context: Context, data: DataStage, models: Models, fold: Fold) -> ScoredStage:
            self.scorings += 1
            return self.scored(SealedStage, fold.items, right, before, challenger, incumbent, tone)

        return judge(self.challenge(models(challenger, incumbent), first), f"run-{challenger}", score)

    def challenge(self, arms: Models, first: bool = False) -> Challenge:
        """Of these arms, with this project's data and results on dev."""
        return Challenge(self.context, self.ledger, self.data, self.dev, arms, self.trained, first)
