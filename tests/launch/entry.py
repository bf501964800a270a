"""A rank whose work its order names: ``python -m tests.launch.entry JOB_DIRECTORY``."""

import os
import sys
import time
from pathlib import Path

from ratchet.components.errors import PausedError, RewardError
from ratchet.components.launch.job import Job
from ratchet.components.launch.rank import Heart, run_rank
from ratchet.components.launch.ranks import Ranks
from ratchet.components.storage.files import write_json


def work(job: Job, heart: Heart, ranks: Ranks) -> None:
    does = job.request().order["does"]
    with heart.phase("update"):
        if does == "raise":
            raise RewardError("the judge is down")
        if does == "pause":
            raise PausedError("limits.samples")
        if does == "hang":
            time.sleep(60)
    print("to the log")
    write_json(job.folder / f"done.{ranks.rank}.json", {"threads": os.environ.get("OMP_NUM_THREADS"), "folder": os.getcwd()})


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]), work)
