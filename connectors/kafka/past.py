"""Read a partition as it is now, from the beginning to the end; for what is small or compacted."""

import contextlib
from collections.abc import Iterator
from time import monotonic

import confluent_kafka as kafka

from connectors.kafka.faults import Faults, KafkaError, why
from connectors.kafka.settings import REACH_SECONDS, KafkaSettings, client
from connectors.kafka.source import entry_of
from connectors.kafka.wire import Entry

_BATCH = 500
_LOOK = 0.02  # seconds that a look waits for a whole batch
_SILENCE = 30.0  # seconds without an answer


def read_past(
    settings: KafkaSettings, password: str | None, topic: str, partition: int = 0
) -> Iterator[Entry]:
    """Yield what a partition holds up to its present end; `topic` is named without the prefix.

    Raises:
        KafkaError: the partition cannot be read.
    """
    name = settings.topic(topic)
    faults = Faults(f"past of {topic}")
    consumer = kafka.Consumer(
        client(settings, password)
        | {
            "error_cb": faults.on_error,
            "group.id": settings.topic("past"),  # asked for, and never used
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # a topic at its end is not waited for
            "allow.auto.create.topics": False,
        }
    )
    try:
        try:
            # Asked at once; left to the client, it would rest half a second first.
            with contextlib.suppress(kafka.KafkaException):  # it goes on trying by itself
                consumer.list_topics(timeout=REACH_SECONDS)
            consumer.assign([kafka.TopicPartition(name, partition, kafka.OFFSET_BEGINNING)])
        except kafka.KafkaException as error:
            raise KafkaError(f"{name} cannot be read: {why(error.args[0])}") from error
        heard = monotonic()
        while True:
            for message in consumer.consume(_BATCH, timeout=_LOOK):
                heard = monotonic()
                said = message.error()
                if said is not None and said.name() == "_PARTITION_EOF":
                    return
                if said is not None:
                    raise KafkaError(f"{name} cannot be read: {why(said)}")
                yield entry_of(message)
            if monotonic() - heard > _SILENCE:
                raise KafkaError(f"{name} cannot be read: no broker answered in time")
    finally:
        consumer.close()
