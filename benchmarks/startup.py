"""How long ``ratchet --help`` takes, warm: the median of ten processes, in seconds of wall time and of processor time.

python -m benchmarks.startup
"""

import resource
import statistics
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "ratchet", "--help"]
TIMES = 10


def measured() -> tuple[float, float]:
    """Wall time and processor time of one process; the second does not depend on what else the machine does."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(COMMAND, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    measured()  # reads the files from the disk
    walls, processors = zip(*(measured() for _ in range(TIMES)), strict=True)
    print(
        f"ratchet --help, median of {TIMES}: {statistics.median(walls):.2f} s, {statistics.median(processors):.2f} s on a CPU"
    )


if __name__ == "__main__":
    main()
