"""What Ray Train calls in each of its workers: it starts the rank there, the same process that torchrun would start.

The rank has a process of its own because Ray calls this in a thread, in which neither signals nor limits on phases work, and
so that the worker holds no model, no process group and no device.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.launch.failure import is_final
from ratchet.components.launch.job import Exit, Job
from ratchet.components.launch.meeting import store_at
from ratchet.components.launch.processes import end

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

UNNEEDED = "RAY_AUTH_TOKEN"  # by ranks, which do not speak with Ray


def run_in_worker(config: Mapping[str, Any]) -> None:
    """
    Raises:
        RuntimeError: if the rank failed in a way that a restart may fix.
    """
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    context, job = train.get_context(), Job(Path(config["folder"]))
    if is_final(job):  # an earlier attempt ended by an error that would come again
        return
    rank = context.get_world_rank()
    store = _store() if rank == 0 else None  # for as long as this function runs
    where = broadcast_from_rank_zero(None if store is None else [store.host, store.port])
    end(beat.process for beat in job.beats() if beat.rank == rank)  # of an earlier attempt, whose worker was killed
    environment = {
        **{name: value for name, value in os.environ.items() if name != UNNEEDED},
        "RANK": str(rank),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": where[0],
        "MASTER_PORT": str(where[1]),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there; no rank opens one
    }
    run_rank_process(job, rank, environment)


def run_rank_process(job: Job, rank: int, environment: Mapping[str, str]) -> None:
    """
    Raises:
        RuntimeError: if the rank failed in a way that a restart may fix.
    """
    request = job.request()
    threads = {"OMP_NUM_THREADS": str(request.threads)}
    command = [sys.executable, "-P", "-m", request.entry, str(job.folder)]
    process = subprocess.Popen(command, cwd=request.folder, env={**environment, **threads}, stdin=subprocess.DEVNULL)
    code = process.wait()
    if code == 0:
        return
    job.note_exit(Exit(rank, process.pid, code, int(time.time())))
    for beat in job.beats():
        if beat.rank == rank:
            job.beat(replace(beat, ended=True))  # it is not silent while Ray starts another in its place
    if not is_final(job):
        raise RuntimeError(f"rank {rank} ended with {code}; its log is {job.log(rank)}")


def _store() -> "TCPStore":
    """Where the ranks meet, on this node."""
    import ray

    return store_at(ray.util.get_node_ip_address())
