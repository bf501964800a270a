"""A rank of a training: ``python -m ratchet.components.run.rank JOB_DIRECTORY``, started by torchrun or in Ray's workers."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.code.source_code import ROOT, sources_digest
from ratchet.components.errors import RankError
from ratchet.components.launch.job import Job
from ratchet.components.launch.processes import here
from ratchet.components.launch.rank import Heart, run_rank
from ratchet.components.stages.stage import Silent

if TYPE_CHECKING:
    from ratchet.components.launch.ranks import Ranks


class Telling(Silent):
    """An observer that writes progress and phases into the job's record. Figures are read from the checkpoints."""

    def __init__(self, job: Job, heart: Heart, first: bool) -> None:
        self.job, self.heart, self.first = job, heart, first

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        if self.first:
            self.job.progress(done, total, note)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self.heart.phase(name)


def train(job: Job, heart: Heart, ranks: "Ranks") -> None:
    """Train with the other ranks; the first saves what all have made."""
    import torch

    from ratchet.components.code.user_code import own_process
    from ratchet.components.run.steps import configure_torch
    from ratchet.components.stages.environment import computing
    from ratchet.components.stages.loaded_training import Order
    from ratchet.components.stages.preparation import prepare_training
    from ratchet.components.storage.files import commit_directory

    own_process()
    request = job.request()
    check_code(request.order)
    order = Order.from_json(request.order)
    configure_torch(request.threads)
    # Of all ranks: as many, on one machine, share the threads that a rebuild is given.
    computed = computing(order.recipe.threads or torch.get_num_threads() * ranks.size)
    observer = Telling(job, heart, ranks.first)
    training = prepare_training(order, observer, lambda: job.stop_asked, ranks)
    training.run(observer)
    if ranks.first:
        with heart.phase("result"):
            commit_directory(job.result, partial(training.save_with_facts, computed=computed), {})


def check_code(order: Mapping[str, Any]) -> None:
    """
    Raises:
        RankError: if whoever gave the order runs another Ratchet, under whose name this one's result would be recorded.
    """
    from ratchet.components.stages.launched import CODE

    if order.get(CODE) != sources_digest():
        raise RankError(
            f"the ranks on {here()} import Ratchet from {ROOT}, and its code is not that of the run. Install the run's code "
            "there (pip install), or name its folder in PYTHONPATH; if it was edited meanwhile, run the same command."
        )


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]), train)
