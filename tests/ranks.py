"""Ranks of a training in processes of their own, which talk over gloo on the loopback address."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from ratchet.components.launch.ranks import ONE, joined

Result = TypeVar("Result")
LIMIT = timedelta(seconds=60)


def on_ranks(size: int, work: Callable[..., Result], *arguments: Any) -> list[Result]:
    """What ``work(ranks, *arguments)`` returned on each rank; in this process, if there is only one."""
    if size == 1:
        return [work(ONE, *arguments)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [_process(rank, size).submit(_rank, rank, size, port, work, arguments) for rank in range(size)]
    return [future.result() for future in started]


@cache
def _process(rank: int, size: int) -> ProcessPoolExecutor:
    """It stays for other tests, because importing takes longer than the work, and stays this rank: torch caches where it is."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _rank(rank: int, size: int, port: int, work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    import torch

    torch.set_num_threads(1)
    here = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in here.items()})
    with joined(LIMIT) as ranks:
        return work(ranks, *arguments)
