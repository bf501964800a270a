"""Use of processors, memory, disk, network and GPU, measured by MLflow's own monitors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

INTERVAL = 5  # seconds, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise


@contextmanager
def system_metrics(record: Callable[[int, Mapping[str, float]], None]) -> Iterator[None]:
    """Pass (number of the sample, figures) to ``record``, from a thread, within the block.

    MLflow's own loop asks its server for the run before each sample: an outage would end it, and the block would wait for its
    requests. This one asks nobody.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class Monitor(SystemMetricsMonitor):  # type: ignore[misc]
        def monitor(self) -> None:
            while not self._shutdown_event.is_set():
                for _ in range(self.samples_before_logging):
                    self.collect_metrics()
                    if self._shutdown_event.wait(self.sampling_interval):
                        return
                self.publish_metrics(self.aggregate_metrics())

        def publish_metrics(self, metrics: Mapping[str, float]) -> None:
            prefix = self._metrics_prefix + (f"{self.node_id}/" if self.node_id else "")
            record(self._logging_step, {f"{prefix}{name}": value for name, value in metrics.items()})
            self._logging_step += 1
            for monitor in self.monitors:
                monitor.clear_metrics()

    monitor = Monitor(run_id="", sampling_interval=INTERVAL, tracking_uri="http://never-asked.invalid")
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
