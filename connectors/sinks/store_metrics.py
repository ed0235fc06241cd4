"""How the stores do, for Prometheus; read from drains and outbox, counted nowhere else."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from connectors.sinks.drain import Drain
from connectors.sinks.outbox import Outbox

_LABELS = ("store",)


class StoreCollector(Collector):
    """Expose how each of `drains` does and, where they read an `outbox`, how far it is behind."""

    def __init__(self, drains: Sequence[Drain], outbox: Outbox | None = None) -> None:
        """Take what is asked at each scrape; a drain's reader has the name of its store."""
        self.drains = drains
        self.outbox = outbox

    def collect(self) -> Iterable[Any]:
        """Yield the metric families."""
        up = GaugeMetricFamily("nextgen_store_up", "1 while a store takes rows.", labels=_LABELS)
        written = CounterMetricFamily(
            "nextgen_store_written_rows", "Rows that a store has taken.", labels=_LABELS
        )
        retried = CounterMetricFamily(
            "nextgen_store_retries", "Attempts that failed and were made again.", labels=_LABELS
        )
        refused = CounterMetricFamily(
            "nextgen_store_refused_rows", "Rows that were put aside.", labels=_LABELS
        )
        seconds = SummaryMetricFamily(
            "nextgen_store_write_seconds", "How long writes of a batch took.", labels=_LABELS
        )
        for drain in self.drains:
            health = drain.health
            labels = (health.store,)
            up.add_metric(labels, float(health.state == "up"))
            written.add_metric(labels, health.counts["written"])
            retried.add_metric(labels, health.counts["retried"])
            refused.add_metric(labels, health.counts["refused"])
            seconds.add_metric(labels, health.writes, health.write_seconds)
        yield from (up, written, retried, refused, seconds)
        if self.outbox is not None:
            yield from self._of_outbox(self.outbox)

    def _of_outbox(self, outbox: Outbox) -> Iterable[Any]:
        rows = GaugeMetricFamily(
            "nextgen_store_backlog_rows", "Rows that wait for a store.", labels=_LABELS
        )
        size = GaugeMetricFamily(
            "nextgen_store_backlog_bytes", "Bytes that wait for a store.", labels=_LABELS
        )
        age = GaugeMetricFamily(
            "nextgen_store_backlog_seconds",
            "Event time by which a store is behind.",
            labels=_LABELS,
        )
        overrun = CounterMetricFamily(
            "nextgen_store_overrun_rows",
            "Rows lost to a store, since the outbox was full or damaged.",
            labels=_LABELS,
        )
        for drain in self.drains:
            labels = (drain.health.store,)
            backlog = outbox.backlog(drain.health.store)
            rows.add_metric(labels, backlog.rows)
            size.add_metric(labels, backlog.bytes)
            age.add_metric(labels, backlog.seconds)
            overrun.add_metric(labels, outbox.overrun(drain.health.store).rows)
        yield from (rows, size, age, overrun)
