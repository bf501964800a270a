"""Launches a job's ranks with torchrun: ``python -P -m ratchet.components.launch.torchrun JOB_DIRECTORY [--join NODE]``.

With ``--join`` this machine is a further node of a job that another one, node 0, began; both see the directory.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ratchet.components.launch.job import Exit, Job, Request
from ratchet.components.launch.meeting import LOOPBACK, on_loopback
from ratchet.components.launch.processes import Process

JOIN = "--join"
ONE_NODE = "ratchet-one-node"  # our rendezvous


def arguments(job: Job, request: Request, node: int) -> list[str]:
    """What torchrun is called with. It restarts nothing: whoever follows the job decides that."""
    launch = request.launch
    # Not c10d, torchrun's dynamic rendezvous: whoever reaches its store runs code here, since it unpickles what it reads.
    several = ["--rdzv-backend=static", f"--rdzv-endpoint={launch.address}", f"--node-rank={node}"]
    meet = several if launch.nodes > 1 else [f"--rdzv-backend={ONE_NODE}", f"--local-addr={LOOPBACK}"]
    size = [f"--nnodes={launch.nodes}", f"--nproc-per-node={launch.local_workers}", "--max-restarts=0"]
    options = [*size, f"--rdzv-id={job.id}", *meet, f"--log-dir={job.folder / 'torchrun'}"]
    return [*options, "--no-python", sys.executable, "-P", "-u", "-m", request.entry, str(job.folder)]


def main() -> int:
    """The exit code."""
    job, node = _asked(sys.argv[1:])
    if node == 0 and not job.is_launched_by(Process.own()):
        print("the job's record names another launcher", file=sys.stderr)
        return 1
    request = job.request()
    if not 0 <= node < request.launch.nodes:
        print(f"the job has nodes 0 to {request.launch.nodes - 1}, and none has the number {node}", file=sys.stderr)
        return 1
    os.chdir(request.folder)
    os.environ["OMP_NUM_THREADS"] = str(request.threads)  # ranks that share cores would otherwise take all of them each

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    if request.launch.nodes == 1:
        from ratchet.components.launch.one_node import register

        register()
        os.environ |= on_loopback()
    try:
        run(parse_args(arguments(job, request, node)))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            job.note_exit(Exit(rank, failure.pid, failure.exitcode, failure.timestamp))
        return 1
    return 0


def _asked(command: Sequence[str]) -> tuple[Job, int]:
    """The job, and this node's number in it."""
    parser = argparse.ArgumentParser(prog=f"python -P -m {__spec__.name}", allow_abbrev=False)
    parser.add_argument("job", type=Path, help="its directory")
    parser.add_argument(JOIN, type=int, default=0, metavar="NODE", help="this node's number, from 1")
    asked = parser.parse_args(command)
    return Job(asked.job.absolute()), asked.join


if __name__ == "__main__":
    sys.exit(main())
