"""Measures of all items together, by the names that recipes use; more is better of each.

Each is a function of totals [..., 3, k] to the measure [...]. Tallies of single items add up to these totals, so these measures
fit :func:`ratchet.components.statistics.paired.approximate_randomization`.
"""

from collections.abc import Callable

from ratchet.components.statistics.chrf import chrf
from ratchet.components.statistics.classification import balanced_accuracy, macro_f1, matthews_correlation
from ratchet.components.statistics.intervals import Floats

CORPUS_MEASURES: dict[str, Callable[[Floats], Floats]] = {
    "macro_f1": macro_f1,
    "mcc": matthews_correlation,
    "balanced_accuracy": balanced_accuracy,
    "chrf": chrf,
}
