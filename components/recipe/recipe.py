"""The recipe: all sections, and the rules that concern more than one of them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ratchet.components.pretrained.template_date import FIXED
from ratchet.components.recipe.balanced import with_balanced_gold
from ratchet.components.recipe.base import IsoDate, Name, Section, date_of
from ratchet.components.recipe.benchmarks import missing_measure
from ratchet.components.recipe.builtin_graders import Label, Numbers, TextSimilarity
from ratchet.components.recipe.data import PAIR_COLUMNS, PROBLEM_COLUMNS, Data
from ratchet.components.recipe.evaluation import Evaluation, Slice
from ratchet.components.recipe.formulas import with_formula
from ratchet.components.recipe.gate import AllOf, Gate, Guard, Primary
from ratchet.components.recipe.gold import REMEDY, Gold, columns_read, default_gold, is_similarity, with_default_reward
from ratchet.components.recipe.graders import GraderSettings, Multi
from ratchet.components.recipe.launch import Launch
from ratchet.components.recipe.measures import OF_LABELS, OF_NUMBERS, OF_TEXTS, kind_of, samples_needed
from ratchet.components.recipe.notify import Notification
from ratchet.components.recipe.policy import Policy
from ratchet.components.recipe.response import Response, with_response
from ratchet.components.recipe.retention import Retention
from ratchet.components.recipe.reward import Reward
from ratchet.components.recipe.roles import Roles
from ratchet.components.recipe.run_limits import RunLimits
from ratchet.components.recipe.schedule import Schedule
from ratchet.components.recipe.train import Train
from ratchet.components.storage.digests import digest_of


class Recipe(Section):
    """A complete run. ``seed: slot`` derives the seed from the logical date, so each scheduled run trains a new candidate."""

    name: Name  # name of the experiment and of the registered model in MLflow
    # slot: derived from the logical date, so that each scheduled run trains a new candidate.
    seed: Annotated[int, Field(ge=0, lt=2**63)] | Literal["slot"] = 7
    template_date: IsoDate | None = None  # shown by chat templates that call strftime_now
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA if there is a GPU, else the CPU
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads; 0 leaves torch's choice
    data: Data = Data()
    policy: Policy = Policy()
    response: Response | None = None  # written as task.response
    graders: dict[Name, GraderSettings] = Field(default_factory=dict)  # by the names that gold, formulas and guards use
    gold: Gold = Gold()
    reward: Reward = Reward()
    train: Train = Train()
    launch: Launch = Launch()  # the processes that train
    evaluation: Evaluation = Evaluation()
    gate: Gate
    retention: Retention = Retention()
    limits: RunLimits = RunLimits()
    schedule: Schedule = Schedule()
    notify: list[Notification] = Field(default_factory=list)  # who is told how runs end
    roles: Roles = Roles()  # who may make decisions by hand

    @model_validator(mode="before")
    @classmethod
    def _task_is_of_the_data(cls, values: Any) -> Any:
        """``task`` stands beside ``data`` in a file; it is kept with the data, whose version depends on it."""
        if not isinstance(values, dict) or "task" not in values or not isinstance(values.get("data", {}), dict):
            return values
        others = {name: value for name, value in values.items() if name != "task"}
        if "task" in others.get("data", {}):
            raise ValueError("task is given twice, as task and as data.task; remove one")
        return {**others, "data": {**others.get("data", {}), "task": values["task"]}}

    _default_reward = model_validator(mode="before")(with_default_reward)
    _paid_by_formula = model_validator(mode="before")(with_formula)
    _responds = model_validator(mode="before")(with_response)
    _balances = model_validator(mode="before")(with_balanced_gold)  # the later one runs first

    @model_validator(mode="after")
    def _gold_judges(self) -> "Recipe":
        if self.gold.grader is None and default_gold(self.reward) is None:
            raise ValueError(
                f"reward.kind={self.reward.kind} has no verifier that could be gold, by which dev, sentinel and gate judge; "
                f"write {REMEDY}"
            )
        if self.gold.grader is not None and self.gold.grader not in self.graders:
            known = f"they are {', '.join(self.graders)}" if self.graders else f"write {REMEDY}"
            raise ValueError(f"gold.grader is {self.gold.grader!r}, which is not one of graders; {known}")
        primary = self.gate.rules.primary
        if isinstance(primary, AllOf):
            resolved = primary.model_copy(update={"all_of": [self._resolved(one) for one in primary.all_of]})
            _require_distinct(one.measure for one in resolved.all_of)
            self._judge_by(resolved)
        else:
            self._judge_by(self._resolved(primary))
        return self

    def _resolved(self, primary: Primary) -> Primary:
        """The gold, under any of its names or none, as ``accuracy`` where it says right or wrong, else as ``gold``."""
        names = ["gold"] if self.gold.grader is None else ["gold", f"grader/{self.gold.grader}"]
        if primary.measure not in names and "measure" in primary.model_fields_set:
            return primary
        return primary.model_copy(update={"measure": "accuracy" if self.gold_settings.scores == "binary" else "gold"})

    def _judge_by(self, primary: Primary | AllOf) -> None:
        """Replace the primary while the recipe is being made."""
        rules = self.gate.rules.model_copy(update={"primary": primary})
        self.__dict__["gate"] = self.gate.model_copy(update={"rules": rules})

    @model_validator(mode="after")
    def _gold_is_more_than_similar(self) -> "Recipe":
        if is_similarity(self.gold_settings) and not self.gold.allow_similarity:
            raise ValueError(
                "the gold is how similar a text is to the reference, and a wrong answer in the right words scores high; name a "
                "grader that tells right from wrong, or accept it with gold.allow_similarity: true"
            )
        return self

    @model_validator(mode="after")
    def _judges_have_limits(self) -> "Recipe":
        """The gate's tests and bounds of the gold, and of graders in rules, hold for scores whose limits are known."""
        judges = [] if self.gold.grader is None else [self.gold.grader]
        for name in [*judges, *self.guarding]:
            settings = self.graders[name]
            if isinstance(settings, Multi) and settings.range is None:
                raise ValueError(
                    f"graders.{name} judges, as the gold or in a rule of the gate, and its range is null, so that its scores "
                    f"have no limits; give graders.{name}.range the formula's lowest and highest value, such as [-1, 2]"
                )
        return self

    @model_validator(mode="after")
    def _gold_tells_rows_apart(self) -> "Recipe":
        """Resolve ``data.distinct``, while the recipe is being made: it has the kept columns that the gold's templates read."""
        read = {name for name in columns_read(self.gold_settings) if self.data.keeps(f"item.{name}")}
        if read - set(self.data.distinct):
            distinct = [*self.data.distinct, *sorted(read - set(self.data.distinct))]
            self.__dict__["data"] = self.data.model_copy(update={"distinct": distinct})
        return self

    @model_validator(mode="after")
    def _reward_model_has_pairs(self) -> "Recipe":
        split = self.data.split
        if self.reward.needs_model and (split.pairs == 0 or not 0 < split.pairs_heldout < 1):
            raise ValueError(
                f"reward.kind={self.reward.kind} trains a reward model, but data.split leaves no pairs to train or to "
                "validate it on; raise data.split.pairs, and put data.split.pairs_heldout between 0 and 1"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_has_whole_weights(self) -> "Recipe":
        if self.train.optimizer == "adamw_8bit" and self.launch.weights == "sharded":
            raise ValueError(
                "train.optimizer=adamw_8bit quantises whole tensors, and launch.weights=sharded cuts them; "
                "use train.optimizer=adamw, or launch.weights=replicated"
            )
        return self

    @model_validator(mode="after")
    def _rules_can_be_measured(self) -> "Recipe":
        samples = self.evaluation.samples
        for name in self.gate.rules.measures:
            if samples_needed(name) > samples:
                raise ValueError(f"{name} needs {samples_needed(name)} samples per item; raise evaluation.samples ({samples})")
            self._check_measure(name)
        for primary in self.gate.rules.primaries:
            if primary.test == "mcnemar" and samples > 1 and not kind_of(primary.measure).per_item:
                raise ValueError(f"test mcnemar takes one sample per item, and evaluation.samples is {samples}; use test: auto")
            if primary.test == "mcnemar" and self.data.group is not None:
                raise ValueError("test mcnemar takes independent items, and data.group ties some together; use test: auto")
        for guard in self.gate.rules.guards:
            self._check_guard(guard)
        return self

    def _check_measure(self, name: str) -> None:
        """Refuse a measure that the recipe's graders do not give."""
        if name.startswith("grader/") and name.removeprefix("grader/") not in self.graders:
            unknown, known = name.removeprefix("grader/"), ", ".join(self.graders) or "none"
            raise ValueError(
                f"gate.rules name {unknown!r}, which is neither a measure nor one of graders ({known}); "
                "correct it, or add it there"
            )
        if name in OF_NUMBERS and not (isinstance(self.gold_settings, Numbers) and self.gold_settings.form == "strict"):
            raise ValueError(f"the measure {name!r} exists where the gold is a number in its strict form; use another")
        if name in OF_LABELS and not isinstance(self.gold_settings, Label):
            raise ValueError(f"the measure {name!r} exists where the gold is of type label; use another")
        if name in OF_TEXTS and not (isinstance(self.gold_settings, TextSimilarity) and self.gold_settings.metric == "chrf"):
            raise ValueError(f"the measure {name!r} exists where the gold is of type text_similarity, metric chrf; use another")
        if name in ("accuracy", "greedy_accuracy") and not self.gold_settings.passes:
            raise ValueError(f"the measure {name!r} needs a gold that says right or wrong; use gold")

    def _check_guard(self, guard: Guard) -> None:
        places = ["sealed", "guard", *self.evaluation.benchmarks]
        if guard.on not in places:
            raise ValueError(f"a guard is on {guard.on!r}, which is not one of {', '.join(places)}; see evaluation.benchmarks")
        benchmark = self.evaluation.benchmarks.get(guard.on, "")
        if missing_measure(benchmark, guard.measure):
            raise ValueError(
                f"a guard is on {guard.measure!r} of the benchmark {guard.on!r}, which a library's task does not provide; it "
                "provides accuracy and, if the model generates text, length and diversity"
            )
        if guard.on == "guard" and self.data.split.guard == 0:
            raise ValueError("a guard is on the guard split, which is empty; raise data.split.guard")
        slices = {piece.name: piece for piece in self.evaluation.slices}
        if guard.slice is None:
            return
        if guard.slice not in slices:
            raise ValueError(f"a guard is on the slice {guard.slice!r}, which evaluation.slices does not have; add it there")
        if guard.on not in self.evaluation.benchmarks:
            _check_field(slices[guard.slice], PROBLEM_COLUMNS, self.data)

    @model_validator(mode="after")
    def _subsets(self) -> "Recipe":
        for subset in self.reward.validation.subsets:
            _check_field(subset, PAIR_COLUMNS, self.data)
        return self

    @property
    def gold_settings(self) -> GraderSettings:
        """The grader that is gold."""
        if self.gold.grader is not None:
            return self.graders[self.gold.grader]
        settings = default_gold(self.reward)
        assert settings is not None  # checked above
        return settings

    @property
    def paid_by_gold(self) -> bool:
        """Whether the reward is the gold itself."""
        return self.reward.kind == "verifier" and self.reward.verifier == self.gold_settings

    @property
    def guarding(self) -> dict[str, GraderSettings]:
        """The graders that the gate's rules measure by, besides the gold, by name."""
        return {name: self.graders[name] for name in self.graders if f"grader/{name}" in self.gate.rules.measures}

    @property
    def digest(self) -> str:
        """sha256 of what determines the result; not launch, places, retention, schedule, consent, limits, receivers, roles."""
        left_out: Any = {
            "launch": True,
            "retention": True,
            "limits": True,
            "schedule": True,
            "notify": True,
            "roles": True,
            "reward": {"limits"},
            "train": {"sampling": {"vllm"}},
            "gold": {"allow_similarity"},
        }
        return digest_of(self.model_dump(mode="json", exclude=left_out))

    @property
    def run_seed(self) -> int:
        """The resolved seed; ``with_slot`` must have been called if the recipe says ``slot``."""
        assert isinstance(self.seed, int), "seed: slot was not resolved"
        return self.seed

    @property
    def prompt_date(self) -> str:
        """The date in prompts whose template shows one: with a written seed, a run is the same on any day."""
        return self.template_date or FIXED

    def with_slot(self, slot: str) -> "Recipe":
        """The recipe with ``seed: slot`` replaced by a seed derived from the logical date, which prompts then show.

        A slot that does not begin with an ISO date has none.
        """
        if self.seed != "slot":
            return self
        seed = int(hashlib.sha256(f"{self.name}:{slot}".encode()).hexdigest()[:12], 16)
        return self.model_copy(update={"seed": seed, "template_date": self.template_date or date_of(slot)})


def _require_distinct(measures: Iterable[str]) -> None:
    names = list(measures)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"gate.rules.primary.all_of names {twice} twice; remove one")


def _check_field(piece: Slice, kept: Sequence[str], data: Data) -> None:
    """Refuse a slice by a field that the tables do not keep: it would be empty, and whatever is judged on it would fail."""
    if piece.field is not None and piece.field not in kept and not data.keeps(piece.field):
        raise ValueError(
            f"slice {piece.name!r} is by the field {piece.field!r}, which a dataset's tables do not keep ({', '.join(kept)}); "
            f"write item.{piece.field.removeprefix('item.')} with it in data.keep, or use a regular expression on the prompt"
        )
