"""How the log does, for Prometheus: read from sources, sinks and readers, counted nowhere else."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from connectors.kafka.reader import KafkaRowReader
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource


class KafkaCollector(Collector):
    """Expose the lag of sources and readers, what sinks wait for, and the clients' errors."""

    def __init__(
        self,
        sources: Sequence[KafkaSource] = (),
        sinks: Sequence[KafkaSink] = (),
        readers: Sequence[KafkaRowReader] = (),
    ) -> None:
        """Take what is asked at each scrape."""
        self.sources = sources
        self.sinks = sinks
        self.readers = readers

    def collect(self) -> Iterable[Any]:
        """Yield the metric families."""
        lag = GaugeMetricFamily(
            "nextgen_kafka_lag_entries",
            "Entries of a shard's log that are not handed on yet.",
            labels=("topic", "shard"),
        )
        refused = CounterMetricFamily(
            "nextgen_kafka_refused_entries", "Entries that nobody can read.", labels=("client",)
        )
        for source in self.sources:
            for shard, entries in source.lag().items():
                lag.add_metric((source.topic, str(shard)), entries)
            refused.add_metric((source.faults.name,), source.refused)
        behind = GaugeMetricFamily(
            "nextgen_kafka_reader_lag_entries",
            "Entries that a store has still to get.",
            labels=("group",),
        )
        lost = CounterMetricFamily(
            "nextgen_kafka_lost_entries",
            "Entries that were dropped before a group had read them.",
            labels=("group",),
        )
        for reader in self.readers:
            behind.add_metric((reader.group,), reader.lag())
            lost.add_metric((reader.group,), reader.lost)
            refused.add_metric((reader.faults.name,), reader.refused)
        sent = CounterMetricFamily(
            "nextgen_kafka_sent_entries", "Entries handed to a client.", labels=("client",)
        )
        waiting = GaugeMetricFamily(
            "nextgen_kafka_unacknowledged_entries",
            "Entries that no broker has acknowledged.",
            labels=("client",),
        )
        for sink in self.sinks:
            sent.add_metric((sink.faults.name,), sink.sent)
            waiting.add_metric((sink.faults.name,), sink.waiting)
        up = GaugeMetricFamily(
            "nextgen_kafka_up", "0 while a client has lost its brokers.", labels=("client",)
        )
        errors = CounterMetricFamily(
            "nextgen_kafka_errors", "Errors of a client, by name.", labels=("client", "error")
        )
        clients: list[Any] = [*self.sources, *self.sinks, *self.readers]
        for faults in [client.faults for client in clients]:
            up.add_metric((faults.name,), 0.0 if faults.lost else 1.0)
            for name, count in list(faults.counts.items()):
                errors.add_metric((faults.name, name), count)
        yield from (lag, refused, behind, lost, sent, waiting, up, errors)
