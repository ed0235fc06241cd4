"""Kafka as the end of a stream: nothing counts as written before the brokers have said so.

*At least once; entries carry the identity of what they hold*: those sent since the last
snapshot come again after a crash.
"""

import contextlib
import time
from typing import Any

import confluent_kafka as kafka
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.kafka.admin import partitions_of
from connectors.kafka.faults import Faults, KafkaError, unusable, why
from connectors.kafka.settings import KafkaSettings, client
from connectors.kafka.wire import Outgoing

# Of what waits for the brokers; then the flow waits too.
IN_FLIGHT_MESSAGES = 100_000
IN_FLIGHT_KIB = 128 << 10
_LARGEST = 16 << 20  # bytes of one message, as topics.py allows
# What calls raise once the client has given up for good: its error, or one about that error.
_FATAL = (kafka.KafkaException, SystemError)
_SLICE = 0.25  # seconds of a wait between two looks at what came back


class KafkaPartition(StatefulSinkPartition[Outgoing, None]):
    """One client, that sends; also of use without a flow."""

    def __init__(self, sink: "KafkaSink") -> None:
        self.settings = sink.settings
        self.faults = sink.faults
        self.failed: Any = None  # the first message that the brokers did not take
        self.sent = 0
        made = client(self.settings, sink.password) | {
            "error_cb": self.faults.on_error,
            "enable.idempotence": True,  # no repeats and no other order on the client's retries
            "acks": "all",
            "partitioner": "consistent",  # as partitions.py
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": _LARGEST,
            "queue.buffering.max.messages": IN_FLIGHT_MESSAGES,
            "queue.buffering.max.kbytes": IN_FLIGHT_KIB,
            # Longer than we wait: it is for us to give up, not for the client to drop.
            "message.timeout.ms": int(self.settings.delivery_seconds * 2_000) + 60_000,
        }
        try:
            self.producer = kafka.Producer(made)
        except kafka.KafkaException as error:
            raise unusable(error) from error
        # To send to a topic that is not there makes it, on some brokers.
        self.partitions = partitions_of(self.producer, self.faults, self.settings)
        sink.part = self

    def write_batch(self, values: list[Outgoing]) -> None:
        """Send entries. Raises KafkaError if one was not taken."""
        for value in values:
            if value.after_all:
                self._flush()
            self._send(value)
        self._hear(0)
        self._check()

    def _send(self, value: Outgoing) -> None:
        topic = self.settings.topic(value.topic)
        partition = -1 if value.partition is None else value.partition
        if partition >= self.partitions.get(topic, 0):
            raise KafkaError(
                f"expected the topic {topic} with more than {max(partition, 0)} partitions, found "
                f"{self.partitions.get(topic, 'none of that name')}; create the topics first, "
                "or check 'prefix' and 'partitions'"
            )
        headers: list[tuple[str, str | bytes | None]] = [
            ("type", value.type.encode()),
            ("v", value.version.encode()),
        ]
        if value.number is not None:
            headers.append(("n", b"%d" % value.number))
        end = time.monotonic() + self.settings.delivery_seconds
        while True:
            try:
                self.producer.produce(
                    topic,
                    value=value.value,
                    key=value.key,
                    partition=partition,
                    headers=headers,
                    on_delivery=self._delivered,
                )
            except BufferError:  # the queue is full: what left it makes room
                self._hear(_SLICE)
                self._check()
                self._give_up_after(end)
            except kafka.KafkaException as error:
                if error.args[0].fatal() or error.args[0].name() == "_FATAL":
                    raise self._forgotten(error) from error
                raise KafkaError(f"{topic} takes no entry: {why(error.args[0])}") from error
            else:
                self.sent += 1
                return

    def _hear(self, seconds: float, *, flush: bool = False) -> int:
        """Take the brokers' word, waiting so long for it; after a flush return what still waits."""
        try:
            return self.producer.flush(seconds) if flush else self.producer.poll(seconds)
        except _FATAL as error:
            raise self._forgotten(error) from error

    def _forgotten(self, error: BaseException) -> KafkaError:
        return KafkaError(
            f"Kafka at {self.settings.bootstrap} no longer knows what was sent to it "
            f"({_name(error)}); if it came back without its data, restore them; then start again: "
            "the run goes on from its last snapshot"
        )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.faults.answered()
        elif self.failed is None:
            self.failed = (message.topic(), error)

    def _check(self) -> None:
        if self.failed is not None:
            topic, error = self.failed
            raise KafkaError(f"{topic} did not take an entry: {why(error)}")

    def _give_up_after(self, end: float) -> None:
        if time.monotonic() >= end:
            raise KafkaError(
                f"Kafka at {self.settings.bootstrap} acknowledged nothing for "
                f"{self.settings.delivery_seconds:.0f} s, and {len(self.producer)} entries wait; "
                "once it runs, start again: the run goes on from its last snapshot"
            )

    def snapshot(self) -> None:
        """Wait until the brokers have acknowledged all that was sent: it will not come again."""
        self._flush()

    def _flush(self) -> None:
        end = time.monotonic() + self.settings.delivery_seconds
        waiting = len(self.producer)
        # Anything acknowledged gives the rest as long again: it is slow, but alive.
        while left := self._hear(_SLICE, flush=True):
            self._check()
            if left < waiting:
                waiting, end = left, time.monotonic() + self.settings.delivery_seconds
            self._give_up_after(end)
        self._check()

    def close(self) -> None:
        """Let go of the brokers, once they have had the time to acknowledge."""
        # Input's end has its snapshot: something waits only if that failed, or the flow did. To
        # wait for a dead broker would keep the process from ending, and to raise would abort it.
        if left := len(self.producer):
            self.faults.counts["unacknowledged"] += left
            structlog.get_logger(__name__).error("kafka_unacknowledged", entries=left)
        self.producer.purge()
        with contextlib.suppress(*_FATAL):  # told before, and again by each call
            self.producer.flush(_SLICE)


def _name(error: BaseException) -> str:
    """Return the client's name of a fatal error."""
    known = error if isinstance(error, kafka.KafkaException) else error.__cause__
    return known.args[0].name() if isinstance(known, kafka.KafkaException) else "unknown"


class KafkaSink(FixedPartitionedSink[Outgoing, None]):
    """Send `(key, Outgoing)` to Kafka; the key is the stream's own and is not sent.

    A snapshot waits until all is acknowledged, up to `delivery_seconds` without any progress;
    a full queue makes the flow wait. Guarantee: *At least once; entries carry the identity of
    what they hold.*

    Raises:
        KafkaError: when it is built, no broker answers; later, an entry was not taken or
            nothing was acknowledged in time.
    """

    def __init__(self, settings: KafkaSettings, password: str | None = None) -> None:
        self.settings = settings
        self.password = password
        self.faults = Faults("sink")
        self.part: KafkaPartition | None = None

    @property
    def sent(self) -> int:
        """How many entries were handed to the client."""
        return 0 if self.part is None else self.part.sent

    @property
    def waiting(self) -> int:
        """How many entries the brokers have not acknowledged."""
        return 0 if self.part is None else len(self.part.producer)

    def list_parts(self) -> list[str]:
        """One client, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> KafkaPartition:  # noqa: ARG002
        """Connect; there is no position to resume."""
        return KafkaPartition(self)
