"""Train reward models on preference pairs: split the pairs, train each member (Bradley-Terry), fit its temperature."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import logsigmoid

from ratchet.components.algorithms.learning_rate import learning_rate
from ratchet.components.checkpoints.checkpoint import Resumption, Tensors, load_weights, set_learning_rate, trained_state
from ratchet.components.errors import DataError
from ratchet.components.randomness import batch_indices, stream, torch_seed
from ratchet.components.recipe import RewardModel as RewardModelSettings
from ratchet.components.rewards.checks.check import MORE_PAIRS
from ratchet.components.rewards.learned.model import ROWS_AT_ONCE, RewardModel, add_lora, asked_of, merge_lora
from ratchet.components.rewards.learned.perturbations import claim_answers, restyle_answers
from ratchet.components.statistics.calibration import Floats, fit_temperature

ROWS_TOGETHER = 16  # per forward pass; answers differ in length, and padding a whole batch made almost half of it padding
FLOOR = 0.1  # share of the learning rate below which it does not decay
HELD_BACK = 4  # at most this part of the pairs, one in so many, is held back for either use

Pairs = list[Mapping[str, Any]]


class RewardStep(NamedTuple):
    """One training step's figures."""

    step: int
    loss: float
    accuracy: float


Watch = Callable[[RewardStep, int], None]  # a step, and the number of the member


class Parts(NamedTuple):
    """The training pairs by use; the parts are disjoint."""

    train: Pairs
    early_stop: Pairs
    calibration: Pairs


def split_pairs(pairs: Sequence[Mapping[str, Any]], settings: RewardModelSettings, seed: int) -> Parts:
    """Labels are flipped (``label_noise``) before the split, because all parts represent the same annotators.

    Raises:
        DataError: if no pair is left to train on, or none to end early on.
    """
    stopping = settings.early_stop_pairs if settings.early_stop else 0
    order = stream(seed, "pair_parts").permutation(len(pairs))
    noisy = flipped(pairs, settings.label_noise, seed)
    drawn = [noisy[i] for i in order]
    stopping, calibrating = (min(wanted, len(pairs) // HELD_BACK) for wanted in (stopping, settings.calibration_pairs))
    parts = Parts(drawn[stopping + calibrating :], drawn[:stopping], drawn[stopping : stopping + calibrating])
    if not parts.train:
        raise DataError(f"there are no pairs to train a reward model on. {MORE_PAIRS} Or use reward.kind=verifier.")
    if settings.early_stop and not parts.early_stop:
        raise DataError(
            f"reward.model.early_stop needs {HELD_BACK} training pairs, of which it takes one, and the data has {len(pairs)}. "
            f"{MORE_PAIRS} Or set reward.model.early_stop=null."
        )
    return parts


def member_seed(seed: int, number: int) -> int:
    """The seed of one member of an ensemble; the first uses the run's."""
    return seed if number == 0 else torch_seed(seed, "reward_member", number)


def train_members(
    settings: RewardModelSettings,
    source: str | Path,
    pairs: Sequence[Mapping[str, Any]],
    device: torch.device,
    seed: int,
    watch: Watch,
    template_date: str | None = None,
    resumption: Resumption | None = None,
) -> list[RewardModel]:
    """Every member of the recipe's reward model, trained and calibrated."""
    resumption = resumption or Resumption()
    parts = split_pairs(pairs, settings, seed)
    trunk = partial(RewardModel.from_trunk, source, device=device, revision=settings.revision, template_date=template_date)
    numbers = range(settings.members)
    return [_member(settings, trunk, parts, seed, number, watch, resumption.part(str(number))) for number in numbers]


def _member(
    settings: RewardModelSettings,
    trunk: Callable[..., RewardModel],
    parts: Parts,
    seed: int,
    number: int,
    watch: Watch,
    resumption: Resumption,
) -> RewardModel:
    own_seed = member_seed(seed, number)
    torch.manual_seed(torch_seed(own_seed, "reward_model"))
    model = trunk(seed=own_seed)
    if settings.lora is not None:
        model = add_lora(model, settings.lora.rank, settings.lora.alpha, torch_seed(own_seed, "reward_lora"))
    stop = EarlyStop(parts.early_stop, settings.early_stop, settings.evaluate_every) if settings.early_stop else None
    steps = train_reward_model(
        model,
        claim_answers(restyle_answers(parts.train, settings.restyle, own_seed), settings.claims, own_seed),
        steps=settings.steps,
        batch=settings.batch,
        lr=settings.lr,
        lr_warmup=settings.lr_warmup,
        seed=own_seed,
        objective=Objective(settings.margin, settings.centring, settings.label_smoothing, settings.length_debiased),
        early_stop=stop,
        resumption=resumption,
    )
    for step in steps:
        watch(step, number)
    if settings.lora is not None:
        model = merge_lora(model)
    model.temperature = fit_temperature(score_differences(model, parts.calibration))
    return model


def score_differences(model: RewardModel, pairs: Pairs) -> Floats:
    """r_chosen - r_rejected, [n]."""
    prompts = [asked_of(pair) for pair in pairs]
    chosen, rejected = (model.score(prompts, [pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    found: Floats = np.array(chosen) - np.array(rejected)
    return found


def save_members(members: Sequence[RewardModel], path: Path) -> None:
    """One model in ``path`` itself, several in its folders ``0``, ``1``, ..."""
    if len(members) == 1:
        members[0].save(path)
        return
    for number, member in enumerate(members):
        member.save(path / str(number))


@dataclass(frozen=True)
class Objective:
    """Additions to the plain Bradley-Terry loss; see :func:`preference_loss`."""

    margin: float = 0.0
    centring: float = 0.0
    label_smoothing: float = 0.0
    length_debiased: bool = False


@dataclass(frozen=True)
class EarlyStop:
    """Training ends after ``patience`` evaluations without a lower loss on ``pairs``; the best weights are kept."""

    pairs: Sequence[Mapping[str, Any]]
    patience: int
    every: int


class EncodedPair(NamedTuple):
    """A pair as tokens, and its margin."""

    chosen: list[int]
    rejected: list[int]
    margin: float


def preference_loss(
    chosen: Tensor, rejected: Tensor, objective: Objective, margins: Tensor, length: Tensor | float = 0.0
) -> Tensor:
    """Mean over pairs of -(1 - e) log sigmoid(d) - e log sigmoid(-d) + c (r_chosen + r_rejected)^2.

    d = r_chosen - r_rejected + length - margin. Bradley-Terry with a margin: Llama 2, arXiv:2307.09288 eq. 2; centring:
    Eisenstein et al. 2023, arXiv:2312.09244; label smoothing e: Mitchell 2023, "A note on DPO with noisy preferences".

    Args:
        chosen: scores [B].
        rejected: scores [B].
        margins: [B], by how much chosen must win.
        length: [B], what the difference in length explains (length debiasing), or 0.
    """
    difference = chosen - rejected + length - margins
    smooth = objective.label_smoothing
    loss = -(1 - smooth) * logsigmoid(difference) - smooth * logsigmoid(-difference)
    return (loss + objective.centring * (chosen + rejected) ** 2).mean()


def train_reward_model(
    reward_model: RewardModel,
    pairs: Sequence[Mapping[str, Any]],
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    lr_warmup: int = 20,
    objective: Objective = Objective(),
    early_stop: EarlyStop | None = None,
    resumption: Resumption | None = None,
) -> Iterator[RewardStep]:
    """Minimise :func:`preference_loss`; the learning rate rises over ``lr_warmup`` steps and decays linearly to a tenth.

    Nothing is trained until the steps are iterated over, and the model is back in evaluation mode only after the last. A
    resumed training yields the steps that its checkpoint covers first.

    Args:
        pairs: rows with prompt, chosen, rejected and, optionally, margin.
    """
    resumption = resumption or Resumption()
    encoded = encode_pairs(reward_model, pairs, objective.margin)
    stopping = _EarlyStopping(reward_model, objective, early_stop)
    slope = length_slope(encoded) if objective.length_debiased else 0.0
    parameters = [p for p in reward_model.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    taken = resumption.begin({"model": (reward_model.model, optimizer)})
    stopping.resume(resumption)
    yield from (RewardStep(step, *figures) for step, figures in enumerate(taken))
    reward_model.model.train()
    for step in range(len(taken), steps):
        if stopping.ended:
            break
        torch.manual_seed(torch_seed(seed, "reward_step", step))  # for dropout, if the trunk has any
        set_learning_rate(optimizer, lr * learning_rate(step, steps, lr_warmup, FLOOR))
        drawn = [encoded[i] for i in batch_indices(seed, "pairs", step, batch, len(encoded))]
        loss, difference = _forward(reward_model, drawn, objective, slope)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        # Two waits for the device per step, so that every step can be shown.
        figures = loss.item(), float((difference > 0).float().mean())
        stopping.observe(step, slope)
        resumption.after(figures, stopping.state, {"best": stopping.best} if stopping.best else None)
        yield RewardStep(step, *figures)
    stopping.restore()
    reward_model.model.eval()


def flipped(pairs: Sequence[Mapping[str, Any]], label_noise: float, seed: int) -> list[Mapping[str, Any]]:
    """The pairs, with the labels of a share of them swapped; a higher share swaps the same ones and others."""
    flips = stream(seed, "label_noise").random(len(pairs)) < label_noise
    exchanged = ({**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs)
    return [other if flip else row for row, other, flip in zip(pairs, exchanged, flips, strict=True)]


def encode_pairs(reward_model: RewardModel, pairs: Sequence[Mapping[str, Any]], margin: float) -> list[EncodedPair]:
    """Tokens of both answers, chosen first; a row's own margin overrides the recipe's."""
    prompts = [asked_of(row) for row in pairs]
    chosen, rejected = (reward_model.encode(prompts, [row[side] for row in pairs]) for side in ("chosen", "rejected"))
    margins = [margin if row.get("margin") is None else float(row["margin"]) for row in pairs]
    return [EncodedPair(*encoded) for encoded in zip(chosen, rejected, margins, strict=True)]


def length_slope(pairs: Sequence[EncodedPair]) -> float:
    """b of P(chosen wins) = sigmoid(b log(tokens of chosen / tokens of rejected)): how far length alone separates the pairs.

    In training b absorbs what length explains, and the scores learn the rest; in use it is left out. A ridge of 0.01 b^2 and
    bounds of 20 keep it finite if length separates them perfectly.
    """
    logs = np.array([_log_ratio(pair) for pair in pairs])
    found = minimize_scalar(
        lambda b: float(np.logaddexp(0, -b * logs).mean() + 0.01 * b**2), bounds=(-20, 20), method="bounded"
    )
    return float(found.x)


def _log_ratio(pair: EncodedPair) -> float:
    return math.log(len(pair.chosen) / len(pair.rejected))


def _forward(
    reward_model: RewardModel, pairs: Sequence[EncodedPair], objective: Objective, slope: float
) -> tuple[Tensor, Tensor]:
    """Loss, and the scores' differences [B]. One pass over 2B sequences: the chosen answers, then the rejected ones."""
    device, count = reward_model.model.device, len(pairs)
    scores = reward_model.forward([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], ROWS_TOGETHER)
    margins = torch.tensor([pair.margin for pair in pairs], device=device)
    length = slope * torch.tensor([_log_ratio(pair) for pair in pairs], device=device)
    return preference_loss(scores[:count], scores[count:], objective, margins, length), scores[:count] - scores[count:]


class _EarlyStopping:
    """Watches the loss on pairs that are not trained on."""

    def __init__(self, reward_model: RewardModel, objective: Objective, settings: EarlyStop | None) -> None:
        self.reward_model, self.objective, self.settings = reward_model, objective, settings
        self.pairs = encode_pairs(reward_model, settings.pairs, objective.margin) if settings else []
        self.lowest, self.misses = math.inf, 0
        self.best: Tensors = {}

    @property
    def ended(self) -> bool:
        return self.settings is not None and self.misses >= self.settings.patience

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of this beside the best weights."""
        return {"misses": self.misses, "lowest": self.lowest if self.best else None}

    def resume(self, resumption: Resumption) -> None:
        self.misses = resumption.state.get("misses", 0)
        if resumption.state.get("lowest") is not None:
            self.lowest, self.best = resumption.state["lowest"], resumption.others("best")

    def observe(self, step: int, slope: float) -> None:
        if self.settings is None or (step + 1) % self.settings.every:  # steps count from 0
            return
        loss = self._loss(slope)
        if loss < self.lowest:
            self.lowest, self.misses = loss, 0
            self.best = {name: value.detach().clone() for name, value in trained_state(self.reward_model.model).items()}
        else:
            self.misses += 1

    def _loss(self, slope: float) -> float:
        self.reward_model.model.eval()
        with torch.no_grad():
            chunks = [self.pairs[i : i + ROWS_AT_ONCE] for i in range(0, len(self.pairs), ROWS_AT_ONCE)]
            losses = [len(c) * _forward(self.reward_model, c, self.objective, slope)[0].item() for c in chunks]
        self.reward_model.model.train()
        return sum(losses) / len(self.pairs)

    def restore(self) -> None:
        if self.best:
            load_weights(self.reward_model.model, self.best)
