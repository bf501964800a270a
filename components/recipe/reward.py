"""The section ``reward``: what is trained against, and the checks it must pass first."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from ratchet.components.recipe.base import Count, Name, Positive, Section, Share
from ratchet.components.recipe.builtin_graders import Numbers
from ratchet.components.recipe.evaluation import Slice, distinct
from ratchet.components.recipe.grader_base import ProjectFile, without_empty_files
from ratchet.components.recipe.graders import GraderSettings, with_type
from ratchet.components.recipe.limits import Limits

CHECKS = (
    "pair_accuracy",
    "length_baseline",
    "short_chosen_accuracy",
    "worst_subset",
    "calibration",
    "finiteness",
    "range",
    "identity",
    "batch_invariance",
    "padding_invariance",
    "text_invariance",
    "format_perturbation",
    "hack_strings",
    "sycophancy",
    "length_correlation",
    "agreement",
    "silent_groups",
    "noise",
    "best_of_n",
    "gold_references",
    "gold_planted",
    "gold_stable",
    "gold_alone",
    "gold_faults",
    "gold_parsed",
    "gold_signal",
)


class RewardLora(Section):
    """Low-rank adapters (arXiv:2106.09685) on every linear layer except the score head, which is fully trained."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16  # rank of the two factors
    alpha: Count = 32  # the adapter is scaled by alpha / rank


class RewardModel(Section):
    """A Bradley-Terry reward model trained on preference pairs, or a pretrained one."""

    pretrained: str | None = None  # a directory or hub id of a sequence classifier with one label; nothing is trained
    revision: str | None = None  # commit of a hub id
    base: str | None = None  # a model directory; by default the starting policy's trunk
    steps: Count = 400  # optimiser steps
    batch: Count = 32  # pairs per step
    lr: Positive = 3e-4  # peak learning rate
    lr_warmup: Annotated[int, Field(ge=0)] = 20  # steps in which the learning rate rises linearly; the last has lr
    label_noise: Share = 0.0  # share of training pairs with flipped labels; held-out pairs are untouched
    margin: Annotated[float, Field(ge=0)] = 0.0  # margin by which chosen must win
    centring: Annotated[float, Field(ge=0)] = 0.0  # weight of (r_chosen + r_rejected)^2
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # share of the label that each pair gives to its other answer
    length_debiased: bool = False  # a coefficient of log length absorbs what length explains, and is then dropped
    lora: RewardLora | None = None  # trains an adapter in place of all weights
    early_stop: Count | None = None  # evaluations without a lower loss before training ends; null trains all steps
    evaluate_every: Count = 50  # steps between those evaluations
    early_stop_pairs: Count = 256  # taken from the training pairs
    calibration_pairs: Annotated[int, Field(ge=0)] = 256  # taken from the training pairs to fit the temperature; 0: no fit
    restyle: Share = 0.0  # share of training answers in another layout or with another marker, so that style carries no signal
    claims: Share = 0.0  # share of training prompts in which the user claims an answer, chosen or rejected at random
    members: Annotated[int, Field(ge=1, le=16)] = 1  # models with different seeds
    combine: Literal["mean", "min", "mean_minus_sd"] = "mean"  # how the scores of several members become one
    sd_weight: Annotated[float, Field(ge=0)] = 1.0  # lambda of mean_minus_sd

    @model_validator(mode="after")
    def _pretrained_is_not_trained(self) -> "RewardModel":
        if self.pretrained is not None and (self.base is not None or self.members > 1 or self.label_noise > 0):
            raise ValueError("a pretrained reward model is not trained; remove base, members and label_noise")
        return self


class RewardValidation(Section):
    """The checks a reward must pass before anything is trained against it; docs/rewards.md has each check and its remedy.

    The bound of a figure's interval on the bad side must be within its threshold.
    """

    pair_accuracy_lower_bound: Share = 0.65  # lower bound of the accuracy on held-out pairs
    min_gain_over_length: float = 0.0  # accuracy beyond that of preferring by length
    min_short_chosen_accuracy: Share = 0.5  # accuracy on pairs whose chosen answer is the shorter
    subsets: list[Slice] = Field(default_factory=list)  # subsets of the pairs, each judged separately
    min_worst_subset: Share = 0.5  # accuracy in the worst of them
    max_calibration_error: Share = 0.1  # ECE of sigmoid(r_chosen - r_rejected)
    max_batch_shift: Positive = 1e-4  # standard deviations of the reward
    max_text_shift: Positive = 0.25  # standard deviations, for white space, line ends, Unicode forms
    max_format_drop: Share = 0.1  # loss of pair accuracy, for each restyling
    max_hack_percentile: Share = 0.5  # percentile of a hack string among the policy's real answers
    max_sycophancy: Positive = 0.25  # standard deviations that a wrong answer gains when the user claims it
    max_length_correlation: Share = 0.5  # |Somers' D| of reward given length among equally right samples of a prompt
    min_agreement: Share = 0.6  # AUC against the verifier, among samples of one prompt
    max_silent_groups: Share = 0.9  # zero-variance groups: prompts whose samples all have one reward
    min_signal_share: Share = 0.25  # rho: the share of within-prompt variance that is reproducible
    max_best_of_n_fall: Share = 0.1  # gold accuracy at a smaller n less that at the largest n
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # chance that a check passes whose true figure is beyond its threshold
    pairs: Count = 4096  # held-out pairs used at most
    samples: Count = 256  # prompts sampled from the current policy
    rounds: Annotated[int, Field(ge=1, le=8)] = 3  # each doubles the prompts, until every check is decided
    group: Annotated[int, Field(ge=2, le=1024)] = 8  # samples per prompt
    repeats: Annotated[int, Field(ge=2, le=16)] = 2  # times the same samples are scored, to measure the reward's noise
    waive: dict[str, str] = Field(default_factory=dict)  # check -> reason to accept its failure; every report shows it

    _distinct = field_validator("subsets")(distinct)

    @field_validator("waive")
    @classmethod
    def _named_with_a_reason(cls, waive: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in waive if name not in CHECKS]
        if unknown:
            raise ValueError(f"there is no check {unknown[0]!r}; the checks are {', '.join(CHECKS)}")
        mute = [name for name, reason in waive.items() if not reason.strip()]
        if mute:
            raise ValueError(f"the waiver of {mute[0]} has no reason; write why its failure is acceptable")
        return waive


class Failures(Section):
    """Retries of a verifier or function that raises; what still fails is missing, never a zero."""

    retries: Annotated[int, Field(ge=0, le=20)] = 2  # how often a failed call is repeated
    pause: Annotated[float, Field(ge=0)] = 0.5  # seconds before the first retry; it doubles
    max_rate: Share = 0.01  # share of completions with faults, above which the run stops


class Term(Section):
    """One term of a weighted sum; a model's score is squashed into (0, 1)."""

    name: Name  # name in the metrics
    weight: float  # weight of its score in the sum
    of: Literal["verifier", "model", "custom"] = "verifier"  # what gives the score
    verifier: GraderSettings = Numbers()  # used by of: verifier
    function: str | None = None  # used by of: custom

    _typed = field_validator("verifier", mode="before")(with_type)

    @model_validator(mode="after")
    def _has_its_function(self) -> "Term":
        if (self.of == "custom") != (self.function is not None):
            raise ValueError("function requires of: custom, and vice versa; set both or neither")
        return self


class Reward(Section):
    """The training reward."""

    kind: Literal["verifier", "model", "mix", "sum", "custom"] = "mix"
    verifier: GraderSettings = Numbers()  # used by verifier and mix
    verifier_weight: Annotated[float, Field(ge=0)] = 1.0  # used by mix
    model_weight: Annotated[float, Field(ge=0)] = 0.2  # used by mix; the model's score is squashed into (0, 1)
    terms: list[Term] = Field(default_factory=list)  # used by sum
    function: str | None = None  # used by custom: module:function, or file.py:function from the project's root
    response: str | dict[str, Any] | None = None  # schema of a function's sample.output_json; by default that of task.response
    failures: Failures = Failures()
    limits: Limits = Limits()  # limits on the process of each function
    environment: list[str] = Field(default_factory=list)  # names of variables that the functions need, such as JUDGE_URL
    files: list[ProjectFile] = Field(default_factory=list)  # files that the functions read, from the project's root
    model: RewardModel = RewardModel()
    validation: RewardValidation = RewardValidation()

    _typed = field_validator("verifier", mode="before")(with_type)

    @model_validator(mode="after")
    def _kind_has_its_parts(self) -> "Reward":
        if (self.kind == "custom") != (self.function is not None):
            raise ValueError("reward.function requires reward.kind=custom, and vice versa; set both or neither")
        if self.kind == "mix" and self.verifier_weight + self.model_weight == 0:
            raise ValueError("both weights of the mix are zero; raise reward.verifier_weight or reward.model_weight")
        if (self.kind == "sum") != bool(self.terms):
            raise ValueError("reward.terms requires reward.kind=sum, and vice versa; set both or neither")
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ValueError("two terms of the sum have the same name; give each a unique name")
        return self

    @model_serializer(mode="wrap")
    def _older_digests_stay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty_files(handler(self))

    @property
    def verifiers(self) -> list[GraderSettings]:
        """The graders in it."""
        if self.kind in ("verifier", "mix"):
            return [self.verifier]
        return [term.verifier for term in self.terms if term.of == "verifier"]

    @property
    def needs_model(self) -> bool:
        return self.kind in ("model", "mix") or any(term.of == "model" for term in self.terms)

    @property
    def functions(self) -> list[str]:
        """Import paths of the user's own functions."""
        return [path for path in (self.function, *(term.function for term in self.terms)) if path is not None]
