"""Launches a job's ranks with Ray Train: ``python -P -m ratchet.components.launch.ray_train JOB_DIRECTORY``.

Without an address Ray runs on this machine alone: on the loopback address, with a token, without dashboard and usage
statistics. With one, this machine is a node of that cluster. To Ray goes the name of a function of ours and a directory's
name; what is to be done lies in that directory, as JSON, which all nodes see.
"""

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ratchet.components.launch.job import Job, Request
from ratchet.components.launch.meeting import on_loopback
from ratchet.components.launch.processes import Process
from ratchet.components.launch.ray_worker import run_in_worker

RESTARTS = 3  # of all ranks, from our last checkpoint, before the job fails
OBJECT_STORE = 100 * 2**20  # bytes: Ray's objects are not used, only its processes
STARTING = 600  # seconds in which a cluster must have begun, and provided the workers
SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(STARTING),
    "RAY_raylet_start_wait_time_s": str(STARTING),  # of our own cluster; Ray's 60 are too few where many processes start
}


def main() -> int:
    """The exit code."""
    job = Job(Path(sys.argv[1]).absolute())
    if not job.is_launched_by(Process.own()):
        print("the job's record names another launcher", file=sys.stderr)
        return 1
    request = job.request()
    os.environ |= SETTINGS if request.launch.address else {**SETTINGS, **_alone()}  # Ray reads them when it is imported
    temporary = Path(tempfile.mkdtemp(prefix="ratchet-ray-"))  # a socket's path must be short
    os.chdir(job.folder)  # Ray has its workers import from there, which must not be the project's folder
    import ray

    try:
        _connect(request, temporary)
        _fit(job, request)
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
    return 0


def _alone() -> dict[str, str]:
    """Settings of a cluster of this process: on the loopback address, and with a token, since whoever reaches Ray runs code.

    The first variable is named for the systems where Ray does so by itself; it works on all.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **token, **on_loopback()}


def _connect(request: Request, temporary: Path) -> None:
    """To the cluster at the address, or to one of this process, which ends with it."""
    import ray

    launch = request.launch
    if launch.address is not None:
        ray.init(address=launch.address, log_to_driver=False)
        return
    ray.init(
        address="local",
        num_cpus=launch.workers * request.threads,
        object_store_memory=OBJECT_STORE,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(temporary),
    )


def _fit(job: Job, request: Request) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    resources: dict[str, Any] = {"CPU": request.threads}
    gpus = request.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
    failures = FailureConfig(max_failures=RESTARTS, controller_failure_limit=RESTARTS)
    DataParallelTrainer(
        run_in_worker,
        train_loop_config={"folder": str(job.folder)},
        scaling_config=ScalingConfig(num_workers=request.launch.workers, use_gpu=gpus, resources_per_worker=resources),
        run_config=RunConfig(name=job.id, storage_path=str(job.folder / "ray"), failure_config=failures),
    ).fit()


if __name__ == "__main__":
    sys.exit(main())
