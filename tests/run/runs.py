"""A run whose MLflow is in memory and whose stages are made by hand."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.records import Arm, Decoding, Outcome, Verdict
from ratchet.components.registry.versions import RegisteredVersion
from ratchet.components.rewards.checks.check import Check
from ratchet.components.run.record import Run, confirm_in_ledger, identity_of
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, GoldStage, RewardStage, ValidationReport, WarmupStage
from ratchet.components.stages.stage import StageResult
from ratchet.components.stages.train import TrainingFacts, TrainStage
from ratchet.components.storage.files import write_json, write_json_lines, write_text
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import ENVIRONMENT
from tests.places import MICRO
from tests.stages.environments import environment

Kind = TypeVar("Kind", bound=StageResult)
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
CHECK = Check("gold_references", 1.0, None, None, 0.99, True, "Correct the rows.", "of 3 rows")
DEV = {"id": "a", "prompt": "p\x1b", "answer": "#### 7"}
SUMMARY = {f"{arm}_{decoding}": {"accuracy": FIGURE} for arm in Arm for decoding in Decoding}


class FakeTracker:
    """Runs, tags, metrics and artifacts of MLflow in memory, and one model's versions by their policies."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.left: set[str] = set()  # runs of killed processes
        self.names: dict[str, str] = {}  # ids that runs were asked for by
        self.status: dict[str, str] = {}
        self.tagged: dict[str, dict[str, str]] = {}
        self.logged: dict[str, dict[str, float]] = {}
        self.artifacts: dict[str, dict[str, str | None]] = {}
        self.tables: dict[str, list[Mapping[str, Any]]] = {}
        self.registered: dict[str, str] = {}
        self.served: dict[str, dict[str, Any]] = {}  # version -> what its manifest keeps for serving
        self.aliases: dict[str, str] = {}
        self.cards: dict[str, str] = {}
        self.parameters: dict[str, object] = {}
        self.inputs: list[tuple[str, str]] = []
        self.described: dict[str, tuple[dict[str, object], dict[str, float]]] = {}  # child run -> parameters, figures

    def open_run(self, name: str, tags: Mapping[str, str], run_id: str | None, started: int | None = None) -> str:
        """Of an id that it does not know it makes one of its own, as MLflow does."""
        assert run_id is not None
        known = self.names.setdefault(run_id, run_id if run_id in self.left else f"run{len(self.opened)}")
        self.opened.append(known)
        self.tags(known, tags)
        return known

    def has_run(self, run_id: str) -> bool:
        return run_id in self.opened

    def describe_experiment(self) -> None:
        pass

    def child(self, parent: str, stage: str, started: int | None = None) -> str:
        return f"{parent}/{stage}"

    def cached_child(self, parent: str, stage: str, tags: Mapping[str, str], started: int | None = None) -> str | None:
        known = f"{parent}/{stage}"
        return None if self.tagged.get(known, {"cached": "true"})["cached"] == "false" else known

    def facts(
        self, run_id: str, tags: Mapping[str, str], params: Mapping[str, object], figures: Mapping[str, float], at: int
    ) -> None:
        self.tags(run_id, tags)
        self.described[run_id] = (dict(params), dict(figures))

    def close_run(self, run_id: str, status: str = "FINISHED", ended: int | None = None) -> None:
        self.status[run_id] = status

    def close_children(self, run_id: str, status: str = "FINISHED", ended: int | None = None) -> None:
        pass

    def close_killed(self, run_id: str, reason: str, ended: int | None = None) -> None:
        self.status[run_id] = f"KILLED: {reason}"

    def params(self, run_id: str, values: Mapping[str, object]) -> None:
        self.parameters = dict(values)

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        self.tagged.setdefault(run_id, {}).update(values)

    def metrics(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.timed(run_id, [(0, step, values) for step, values in points])

    def timed(self, run_id: str, points: Sequence[tuple[int, int, Mapping[str, float]]]) -> None:
        for _, _, values in points:
            self.logged.setdefault(run_id, {}).update(values)

    def lacking(self, run_id: str, points: Sequence[tuple[int, int, Mapping[str, float]]]) -> list[Any]:
        return [
            (at, step, {k: v for k, v in values.items() if k not in self.logged.get(run_id, {})}) for at, step, values in points
        ]

    def dataset(self, run_id: str, name: str, md5: str, source: str, profile: Mapping[str, Any]) -> None:
        self.inputs.append((run_id, md5))

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.artifacts.setdefault(run_id, {})[path.name] = folder

    def table(self, run_id: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        self.tables[name] = list(rows)

    def version_of(self, name: str, policy: str) -> str | None:
        return self.registered.get(policy)

    def register(self, name: str, run_id: str, model: Path, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        version = self.registered.setdefault(tags["policy_sha256"], str(len(self.registered) + 1))
        self.served[version] = dict(settings)
        self.tagged.setdefault(f"version {version}", {}).update(tags)
        return version

    def identify(self, name: str, version: str, policy: str) -> None:
        self.tagged.setdefault(f"version {version}", {})["policy_sha256"] = policy

    def alias(self, name: str, alias: str) -> str | None:
        return self.aliases.get(alias)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def require_files(self, name: str, version: str) -> None:
        pass

    def require_movable(self, name: str) -> None:
        pass

    def versions(self, name: str) -> list[RegisteredVersion]:
        return [
            RegisteredVersion(number, "", {"policy_sha256": policy}, 0.0, self.cards.get(number, ""))
            for policy, number in self.registered.items()
        ]

    def describe(self, name: str, version: str, description: str, tags: Mapping[str, str]) -> None:
        self.cards[version] = description
        self.tagged.setdefault(f"version {version}", {}).update(tags)


class FakeDisplay:
    """What a person would have seen."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def live(self) -> Iterator[None]:
        self.lines.append("live")
        yield
        self.lines.append("over")

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        self.lines.append(f"{stage} {done}/{total} {note}")

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        self.lines.append(f"{stage} {'cached' if cached else 'made'}")


def new_project(path: Path, *overrides: str) -> Project:
    """A project on the micro recipe."""
    found = Project(Home(path, path / ".ratchet"), load_recipe(MICRO, overrides))
    found.__dict__["tracker"] = FakeTracker()
    return found


def new_run(path: Path, *overrides: str, confirm: Any = confirm_in_ledger, recorded: bool = True) -> Run:
    """A claimed run of such a project."""
    project = new_project(path, *overrides)
    return Run(project, FakeDisplay(), claim_of(project), confirm, recorded=recorded)


def claim_of(project: Project) -> Claim:
    return acquired(project.ledger, identity_of(project), "here", lambda *_: None)


def tracker_of(run: Run) -> FakeTracker:
    assert isinstance(run.tracker, FakeTracker)
    return run.tracker


def lines_of(run: Run) -> list[str]:
    assert isinstance(run.display, FakeDisplay)
    return run.display.lines


def stage(run: Run, kind: type[Kind], files: Mapping[str, Any], cached: bool = False, key: str = "c0ffee00") -> Kind:
    """A committed stage: text as it is, a list as lines of JSON, everything else as JSON."""

    def write(path: Path) -> None:
        for name, value in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(value, str):
                write_text(path / name, value)
            elif isinstance(value, list):
                write_json_lines(path / name, value)
            else:
                write_json(path / name, value)

    return kind(run.context.store.commit(kind.name, key, write, {}), cached, 0.5)


def make_stages(run: Run, weights: str = "candidate", **facts: Any) -> None:
    """All stages up to the evaluation, as a run would have made them."""
    made = run.made
    pointer = f"outs:\n- md5: {'0' * 32}.dir\n  path: data\n"
    made.data = stage(
        run,
        DataStage,
        {"data.dvc": pointer, "data/summary.json": {"rows": {"train": 3}}, "report.html": "r", "data/dev.jsonl": [DEV]},
    )
    made.gold = stage(
        run,
        GoldStage,
        {
            "report.json": {"checks": [asdict(CHECK)], "mutation_score": 0.75, "reads_answers": True},
            "broken.jsonl": [],
            "missed.jsonl": [],
        },
    )
    start = stage(run, WarmupStage, {"model/model.safetensors": "start"})
    report = ValidationReport("verifier", True, [], {"length": "known <b>"}, "", [], {}, {}, {}, {}, 0.75)
    made.reward = stage(run, RewardStage, {"report.json": asdict(report)})
    trained = TrainingFacts("grpo", 8, 2, 4, None, None, True, {})
    values = {**asdict(trained), **facts}
    files = {"model/model.safetensors": weights, "facts.json": values, "metrics.jsonl": []}
    made.candidate = stage(run, TrainStage, {**files, ENVIRONMENT: environment().model_dump(mode="json")})
    rows = [
        {
            "prompt": "p\x1b",
            "completion": "c",
            "id": "a",
            "passed": True,
            "score": 1.0,
            "finished": True,
            "length": 3,
            "kl": 0.0,
        }
    ]
    files = {"summary.json": SUMMARY, "details.json": {}, "challenger_sampled.jsonl": rows, "incumbent_sampled.jsonl": rows}
    made.dev = stage(run, EvaluateStage, files)
    made.stages = [made.data, made.gold, start, made.reward, made.candidate, made.dev]


def verdict(outcome: Outcome = Outcome.REJECT, **values: Any) -> Verdict:
    """A verdict on the candidate of :func:`make_stages`."""
    return Verdict(outcome, ["a reason"], "candidate", "start", **values)
