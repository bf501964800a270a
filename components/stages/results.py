"""The results that other stages read. They stand apart from the stages that make them, so that a stage's key covers the code
that reads its inputs, and not the code that made them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ratchet.components.data.pointers import POINTER, pointer_md5
from ratchet.components.stages.stage import Stage, StageResult
from ratchet.components.storage.digests import digest_of_digests, weights_digest
from ratchet.components.storage.files import files_below, policy_digest, read_json
from ratchet.components.storage.store import FACTS
from ratchet.components.storage.table import Table

STEPS = "steps.json"


class DataStage(StageResult):
    """``data/`` with a table per split, its pointer ``data.dvc``, ``report.html`` and ``steps.json``."""

    name = Stage.DATA

    @cached_property
    def version(self) -> str:
        """The DVC md5 of the dataset."""
        return pointer_md5(self.path / POINTER)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts after each step of preparation."""
        return dict(read_json(self.path / "data" / "summary.json"))

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """{name, title, before, dropped, examples} of each step of preparation; none of a version that was restored."""
        return list(read_json(self.path / STEPS)) if STEPS in self.files else []

    def table(self, name: str) -> Table:
        """Rows of one table of the version, each read when it is needed."""
        return Table(self.path / "data" / f"{name}.jsonl")

    def fold_digest(self, fold: str) -> str:
        """sha256 of a sealed fold's table."""
        return self.files[f"data/{fold}.jsonl"]


class PolicyStage(StageResult):
    """A stage that contains a policy in ``model/``."""

    name: ClassVar[Stage]

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def weights(self) -> str:
        """sha256 of the weights alone: what a rebuild is compared by."""
        return weights_digest(self.files)

    @cached_property
    def policy_digest(self) -> str:
        """sha256 of all that changes what the policy says: by this it is known everywhere."""
        return policy_digest(self.model, files_below("model", self.files))


@dataclass(frozen=True)
class FineTuned:
    """What a fine-tuning on demonstrations began with, and what it saw."""

    base_weights: str  # digests of the existing model
    base_policy: str
    demonstrations: int
    too_long: int  # rows left out
    without: int  # rows without a demonstration
    longest: int  # tokens of the longest row that was not left out

    def text(self) -> str:
        """In words, for people."""
        found = [(self.too_long, "that are too long"), (self.without, "without a demonstration")]
        left_out = " and ".join(f"{rows} {why}" for rows, why in found if rows)
        return f"fine-tuned on {self.demonstrations} demonstrations" + (f", rows left out: {left_out}" if left_out else "")


@dataclass(frozen=True)
class Learnt:
    """How far the warm-up of a tiny policy came that ends by what was learnt."""

    until: float  # policy.warmup.until
    share: float  # mean probability of the demonstrations
    steps: int  # taken
    most: int  # policy.warmup.steps

    def text(self) -> str:
        """In words, for people."""
        found = f"a sample is the demonstration in {self.share:.2f} of cases"
        if self.share >= self.until:
            return f"{found} after {self.steps} of at most {self.most} steps"
        return f"{found} after all {self.steps} steps, less than policy.warmup.until={self.until:g}"


class WarmupStage(PolicyStage):
    """The starting policy, warmed up here, or an existing model: as it is, or fine-tuned on the demonstrations."""

    name = Stage.WARMUP

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return dict(read_json(self.path / FACTS)) if FACTS in self.files else {}

    @property
    def tuned(self) -> FineTuned | None:
        """None where nothing was fine-tuned: of an existing model as it is, and of the tiny policy."""
        return FineTuned(**self._facts) if "base_weights" in self._facts else None

    @property
    def learnt(self) -> Learnt | None:
        """None where the warm-up's steps were fixed, and of an existing model."""
        return Learnt(**self._facts) if "until" in self._facts else None


class ChampionStage(PolicyStage):
    """The champion's policy, fetched from the registry."""

    name = Stage.CHAMPION


@dataclass(frozen=True)
class ValidationReport:
    """What the validation of a reward found, and what it advises."""

    kind: str
    passed: bool
    failed: list[str]
    waived: dict[str, str]  # check -> reason
    counts: str  # of the checks, in words
    checks: list[dict[str, Any]]
    pilot: dict[str, Any]
    curves: dict[str, Any]
    identity: dict[str, str]  # file -> sha256 of what gives the reward
    advice: dict[str, Any]
    mutation_score: float | None = None  # share of planted wrong answers that the gold caught


class GoldStage(StageResult):
    """``report.json``: what was found of the gold. ``broken.jsonl``: rows whose reference it does not accept.
    ``missed.jsonl``: planted wrong answers that it takes for right.
    """

    name = Stage.GOLD

    @cached_property
    def _report(self) -> dict[str, Any]:
        return dict(read_json(self.path / "report.json"))

    @property
    def checks(self) -> list[dict[str, Any]]:
        """Without waivers."""
        return list(self._report["checks"])

    @property
    def mutation_score(self) -> float | None:
        """The share of planted wrong answers that it caught; None if none was planted."""
        return self._report["mutation_score"]  # type: ignore[no-any-return]

    @property
    def reads_answers(self) -> bool:
        """Whether its grades of references say that an answer was read."""
        return self._report["reads_answers"]  # type: ignore[no-any-return]


class RewardStage(StageResult):
    """``report.json``, and ``model/`` where the reward has a learned part."""

    name = Stage.REWARD

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def model_digest(self) -> str:
        """One sha256 over the learned part's files; of no file without one. It does not depend on the validation."""
        return digest_of_digests(files_below("model", self.files))

    @cached_property
    def report(self) -> ValidationReport:
        return ValidationReport(**read_json(self.path / "report.json"))
