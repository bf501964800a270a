"""Watches training and says when it must end, and why. Rules and limits are the recipe's section ``train.sentinel``."""

from ratchet.components.training.sentinel.stop import ADVICE, NONFINITE, Stop, may_be_judged
from ratchet.components.training.sentinel.watch import DevResult, Sentinel, dev_result

__all__ = ["ADVICE", "NONFINITE", "DevResult", "Sentinel", "Stop", "dev_result", "may_be_judged"]
