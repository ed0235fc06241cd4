"""Kafka as the processes of a run see it, and what they must agree on.

The configuration stands in Kafka beside the log: ingest writes it, the others read it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from connectors.kafka.admin import ensure_topics, preflight
from connectors.kafka.past import read_past
from connectors.kafka.send import send
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource
from connectors.kafka.topics import (
    CONFIG,
    TOPICS,
)
from connectors.kafka.wire import Entry, Outgoing, decode
from connectors.sources.stopping import install_stop_signals
from flows.models import Models, load_models
from flows.recovery_faults import telling_of
from flows.services import Services, kafka_password
from flows.settings import Settings
from operators.errors import SettingsError

EPOCH = timedelta(seconds=1)
CONFIG_SECONDS = 60.0  # that a process waits for ingest to have begun
_LOOK = 0.2


class Agreed(msgspec.Struct, frozen=True):
    """What all processes of a run must agree on; `log` names this one log among all."""

    settings: Settings
    models: tuple[str, ...]
    partitions: int
    log: str


@dataclass(frozen=True)
class Broker:
    """Kafka as a process sees it."""

    settings: KafkaSettings
    password: str | None

    def send(self, entries: Sequence[Outgoing]) -> None:
        """Send entries, and wait until they are safe."""
        send(self.settings, self.password, entries)

    def past(self, topic: str, partition: int = 0) -> Iterator[Any]:
        """Yield the messages that a partition holds now."""
        return map(decode, read_past(self.settings, self.password, topic, partition))

    def sink(self) -> KafkaSink:
        """Return a sink of any topic."""
        return KafkaSink(self.settings, self.password)

    def source(
        self,
        topic: str,
        numbers: Sequence[int],
        start: dict[int, int],
        stop: Event,
        read: Callable[[Entry], Any],
        *,
        patient: bool = False,
    ) -> KafkaSource:
        """Return a source that goes on from `start` and ends where the topic ends."""
        return KafkaSource(
            self.settings,
            self.password,
            topic=topic,
            shards=numbers,
            decode=read,
            start=start,
            stop=stop,
            until_end=True,
            whole=True,
            patient=patient,
        )


def broker_of(services: Services) -> Broker:
    """Return Kafka, once it answers and has the topics.

    Raises:
        SettingsError: no Kafka is named.
        KafkaError: it cannot be reached, or has other topics than we expect.
    """
    settings, password = services.need_kafka(), kafka_password()
    ensure_topics(settings, password)
    preflight(settings, password, [topic.name for topic in TOPICS])
    return Broker(settings, password)


def config_entry(agreed: Agreed) -> Outgoing:
    """Return what ingest writes of the configuration."""
    return Outgoing(
        topic=CONFIG.name,
        type="config",
        value=msgspec.json.encode(agreed, order="sorted"),
        key=b"settings",
        partition=0,
    )


def agreed_at(broker: Broker) -> Agreed | None:
    """Return what ingest has written down last, if anything."""
    found: Agreed | None = None
    for entry in read_past(broker.settings, broker.password, CONFIG.name):
        try:
            found = msgspec.json.decode(entry.value or b"", type=Agreed)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise SettingsError(
                f"{broker.settings.topic(CONFIG.name)} was written by another version of the "
                f"engine ({error}); choose another 'prefix'"
            ) from error
    return found


def begin() -> Event:
    """Return what is set once this process is told to stop."""
    stop = Event()
    install_stop_signals(stop)
    return stop


def await_agreed(broker: Broker, stop: Event) -> tuple[Agreed, Models] | None:
    """Return what ingest has written down, and the models it names; None once `stop` is set."""
    limit = time.monotonic() + CONFIG_SECONDS
    while (agreed := agreed_at(broker)) is None:
        if stop.is_set():
            return None
        if time.monotonic() > limit:
            raise SettingsError(
                f"nothing has begun a log under the prefix '{broker.settings.prefix}'; start "
                "'nextgen ingest' first"
            )
        stop.wait(_LOOK)
    models = load_models(agreed.settings)
    if models.identities != agreed.models:
        raise SettingsError(
            "the models here are not those that the log was begun with; install the same onnx/"
        )
    return agreed, models


def run_to_end(flow: Dataflow, recovery: Path | None = None) -> None:
    """Run a flow in this process until its input ends."""
    config = None if recovery is None else RecoveryConfig(str(recovery))
    with telling_of(recovery):
        cli_main(flow, workers_per_process=1, epoch_interval=EPOCH, recovery_config=config)
