"""The gate: pure decisions on paired results. Refusal is a value, not an exception; every doubt ends in INVALID."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluation.intervals import lower_bound_share, upper_bound
from components.evaluation.paired import mcnemar
from components.evaluation.power import items_needed, minimum_detectable_effect
from components.recipe import Rules
from components.records import ItemResult


@dataclass(frozen=True)
class Arms:
    """Two models' results on the same items. An item without a result is missing."""

    items: Sequence[str]
    challenger: Mapping[str, ItemResult]
    incumbent: Mapping[str, ItemResult]
    challenger_digest: str
    incumbent_digest: str


def check_power(dev: Arms, sealed_items: int, rules: Rules) -> str | None:
    """From dev results alone: why the gate could not see the target effect, or None if it could."""
    right = [(dev.challenger[i].correct, dev.incumbent[i].correct) for i in dev.items]
    alpha = rules.alpha_epoch / rules.uses_per_epoch
    discordance = float(np.mean([a != b for a, b in right])) if right else 1.0
    # The gain itself makes items discordant; a smaller gain could not have fewer than this.
    discordance = max(discordance, rules.target_effect)
    effect = minimum_detectable_effect(discordance, sealed_items, alpha)
    if effect <= rules.target_effect:
        return None
    needed = items_needed(discordance, rules.target_effect, alpha)
    return (
        f"{sealed_items} sealed items can show a gain of {effect:.3f} with power 0.8, not the wanted "
        f"{rules.target_effect:.3f}: {needed} items are needed. Add data, or raise gate.rules.target_effect."
    )


def check_integrity(arms: Arms, rules: Rules, expected: Mapping[str, str]) -> list[str]:
    """Reasons why the results cannot be judged; they depend on counts and digests, never on how well a model did.

    Args:
        expected: digest of each arm's weights (``challenger``, ``incumbent``) as the registry knows them.
    """
    reasons = []
    if not arms.items:
        reasons.append("there are no sealed items")
    if len(set(arms.items)) < len(arms.items):
        reasons.append("an item of the fold is listed twice")
    for name, results, digest in (
        ("challenger", arms.challenger, arms.challenger_digest),
        ("incumbent", arms.incumbent, arms.incumbent_digest),
    ):
        if digest != expected[name]:
            reasons.append(f"the {name} that was scored ({digest[:12]}) is not the one to judge ({expected[name][:12]})")
        missing = [i for i in arms.items if i not in results]
        if len(missing) > rules.max_missing * len(arms.items):
            reasons.append(f"{len(missing)} of {len(arms.items)} items have no result of the {name}")
        if set(results) - set(arms.items):
            reasons.append(f"the {name} was scored on items that are not of this fold")
        if any(not _finite(result) for result in results.values()):
            reasons.append(f"a figure of the {name} is not finite")
    if arms.challenger_digest == arms.incumbent_digest:
        reasons.append("challenger and incumbent are the same model")
    return reasons


def _finite(result: ItemResult) -> bool:
    return math.isfinite(result.length) and (result.kl is None or math.isfinite(result.kl))


@dataclass(frozen=True)
class SealedDecision:
    """Whether every rule held, with the figures behind it."""

    promote: bool
    figures: Mapping[str, float]
    reasons: list[str]


def decide(arms: Arms, rules: Rules, first_champion: bool) -> SealedDecision:
    """Superiority on the primary and every guard within its margin (an intersection-union test, each at its own level).

    A missing challenger item counts as wrong, a missing incumbent item as right.
    """
    alpha = rules.alpha_epoch / rules.uses_per_epoch
    if not arms.items:
        return SealedDecision(False, {}, ["there are no sealed items"])
    ours = np.array([i in arms.challenger and arms.challenger[i].correct for i in arms.items], dtype=bool)
    theirs = np.array([i not in arms.incumbent or arms.incumbent[i].correct for i in arms.items], dtype=bool)
    test = mcnemar(ours, theirs)
    both = [i for i in arms.items if i in arms.challenger and i in arms.incumbent]
    length_ours = np.array([arms.challenger[i].length for i in both], dtype=float)
    length_theirs = np.array([arms.incumbent[i].length for i in both], dtype=float)
    margin = upper_bound(length_ours - rules.max_length_ratio * length_theirs, rules.guard_alpha)
    divergence = np.array([math.nan if (kl := arms.challenger[i].kl) is None else kl for i in both])
    kl_bound = upper_bound(divergence, rules.guard_alpha)
    floor_bound = lower_bound_share(int(ours.sum()), len(ours), alpha)
    rule_results = {
        f"primary: p = {test.p_value:.3g} against alpha {alpha:.3g}": test.p_value <= alpha,
        f"guard: mean length at most {rules.max_length_ratio:g} times the incumbent's": margin <= 0,
        f"guard: KL to the starting policy at most {rules.max_kl:g} nats (bound {kl_bound:.3g})": kl_bound <= rules.max_kl,
    }
    if first_champion:
        rule_results[f"floor: accuracy above {rules.floor:g} (bound {floor_bound:.3g})"] = floor_bound > rules.floor
    figures = {
        "challenger_accuracy": float(ours.mean()),
        "incumbent_accuracy": float(theirs.mean()),
        "wins": float(test.wins),
        "losses": float(test.losses),
        "p_value": test.p_value,
        "challenger_length": float(length_ours.mean()),
        "incumbent_length": float(length_theirs.mean()),
        "kl": float(divergence.mean()),
        "items": float(len(arms.items)),
    }
    reasons = [f"{text}: {'held' if held else 'failed'}" for text, held in rule_results.items()]
    return SealedDecision(all(rule_results.values()), figures, reasons)
