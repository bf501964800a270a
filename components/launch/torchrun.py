"""Launches a job's ranks with torchrun: ``python -m ratchet.components.launch.torchrun JOB_DIRECTORY [--join]``.

With ``--join`` this machine is a further node of a job that another one began; both see the directory.
"""

import os
import sys
from pathlib import Path

from ratchet.components.launch.job import Exit, Job, Request
from ratchet.components.launch.processes import Process

JOIN = "--join"


def arguments(job: Job, request: Request) -> list[str]:
    """What torchrun is called with. It restarts nothing: whoever follows the job decides that."""
    launch = request.launch
    meet = [f"--rdzv-endpoint={launch.address or 'localhost:0'}", f"--rdzv-id={job.id}", "--rdzv-backend=c10d"]
    alone = ["--local-addr=127.0.0.1"] if launch.nodes == 1 else []
    size = [f"--nnodes={launch.nodes}", f"--nproc-per-node={launch.local_workers}", "--max-restarts=0"]
    return [*size, *meet, *alone, f"--log-dir={job.folder / 'torchrun'}", "-m", request.entry, str(job.folder)]


def main() -> int:
    """The exit code."""
    job, joins = Job(Path(sys.argv[1]).absolute()), JOIN in sys.argv[2:]
    if not joins and not job.is_launched_by(Process.own()):
        print("the job's record names another launcher", file=sys.stderr)
        return 1
    request = job.request()
    os.chdir(request.folder)
    os.environ["OMP_NUM_THREADS"] = str(request.threads)  # ranks that share cores would otherwise take all of them each

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(arguments(job, request)))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            job.note_exit(Exit(rank, failure.pid, failure.exitcode, failure.timestamp))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
