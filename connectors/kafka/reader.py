"""The output topics as rows for a store: what `Drain` reads at scale, in place of the outbox.

*At least once*: a group's offsets are committed once the store holds the rows.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import confluent_kafka as kafka
import structlog

from connectors.kafka.admin import preflight
from connectors.kafka.faults import EXPIRED, LASTING, Faults, KafkaError, why
from connectors.kafka.loss import Shorter
from connectors.kafka.records import RecordError, refused_row, row_of
from connectors.kafka.settings import REACH_SECONDS, KafkaSettings, client
from connectors.kafka.source import entry_of
from connectors.kafka.topics import OUTPUTS
from connectors.sinks.drain import Entry

type _Place = tuple[str, int]  # a topic's full name and a partition

_OUTPUTS = tuple(topic.name for topic in OUTPUTS)
_FETCH_KIB = 4 << 10  # that each partition may have read ahead


class _Given(NamedTuple):
    """How far each partition was read when the entry `position` was given."""

    position: int
    offsets: dict[_Place, int]


class KafkaRowReader:
    """All partitions of the output topics, in the order in which each partition holds its rows.

    One reader a group: partitions are assigned, not shared out. What holds no row of ours
    becomes a row of `rejections`. Entries that the broker dropped before they were read are
    counted and logged, and reading goes on behind them. Not for more than one thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        password: str | None = None,
        *,
        group: str,
        topics: Sequence[str] = _OUTPUTS,
    ) -> None:
        """Prepare the reader; it connects when it is first read. Names go without the prefix."""
        self.settings = settings
        self.password = password
        self.group = settings.topic(group)
        self.topics = tuple(topics)
        self.faults = Faults(f"reader {group}")
        self.refused = 0  # entries that hold no row
        self.lost = 0  # entries that were gone before they were read
        self._log = structlog.get_logger(__name__).bind(group=self.group)
        self._consumer: kafka.Consumer | None = None
        self._next: dict[_Place, int] = {}  # the offset to read next
        self._ends: dict[_Place, int] = {}  # where each partition ends, as the broker said last
        self._shorter: dict[_Place, Shorter] = {}
        self._position = 0  # of the last entry given
        self._given: deque[_Given] = deque()  # not acknowledged
        self._stored: dict[_Place, int] = {}  # acknowledged, and not committed

    def read(self, limit: int) -> list[Entry]:
        """Return what waits, of at most `limit` rows, as one entry; nothing if nothing waits.

        Raises:
            KafkaError: no broker answers at the start, or a topic is missing. The next call
                tries again.
        """
        try:
            return self._read(self._consumer or self._open(), limit)
        except KafkaError:
            self.close()  # what was read and not given is read again, from what was committed
            raise

    def _read(self, consumer: kafka.Consumer, limit: int) -> list[Entry]:
        rows = []
        moved: dict[_Place, int] = {}
        for message in consumer.consume(limit, timeout=0):
            error = message.error()
            if error is not None:
                self._fault(message, error)
                continue
            self.faults.answered()
            entry = entry_of(message)
            place = (message.topic() or "", message.partition() or 0)
            moved[place] = self._next[place] = entry.offset + 1
            try:
                rows.append(row_of(entry))
            except RecordError as problem:
                self.refused += 1
                self._log.warning("record_refused", topic=place[0], why=str(problem))
                rows.append(refused_row(entry))
        self._look(consumer)
        if not rows:
            return []
        self._position += 1
        self._given.append(_Given(self._position, moved))
        return [Entry(self._position, rows)]

    def ack(self, position: Any) -> None:
        """Commit the group's offsets up to the entry at `position`.

        Raises:
            KafkaError: they could not be committed; the next call commits them too.
        """
        while self._given and self._given[0].position <= position:
            self._stored |= self._given.popleft().offsets
        consumer = self._consumer
        if consumer is None or not self._stored:
            return
        offsets = [
            kafka.TopicPartition(topic, partition, offset)
            for (topic, partition), offset in self._stored.items()
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except kafka.KafkaException as error:
            raise KafkaError(f"{self.group} cannot commit: {why(error.args[0])}") from error
        self._stored.clear()

    def lag(self) -> int:
        """Return how many entries are not read yet, as far as the broker has told."""
        return sum(max(end - self._next[place], 0) for place, end in list(self._ends.items()))

    def close(self) -> None:
        """Let go of the broker."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _open(self) -> kafka.Consumer:
        preflight(self.settings, self.password, self.topics)
        consumer = kafka.Consumer(
            client(self.settings, self.password)
            | {
                "error_cb": self.faults.on_error,
                "group.id": self.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "fetch.message.max.bytes": 16 << 20,
                "queued.max.messages.kbytes": _FETCH_KIB,
            }
        )
        try:
            self._next = self._begin(consumer)
        except kafka.KafkaException as error:
            consumer.close()
            raise KafkaError(
                f"the offsets of {self.group} cannot be read: {why(error.args[0])}"
            ) from error
        self._shorter = {place: Shorter() for place in self._next}
        consumer.assign([kafka.TopicPartition(*place, at) for place, at in self._next.items()])
        self._consumer = consumer
        return consumer

    def _begin(self, consumer: kafka.Consumer) -> dict[_Place, int]:
        """Return for each partition where the group stands, or the oldest entry."""
        every = [
            kafka.TopicPartition(self.settings.topic(topic), partition)
            for topic in self.topics
            for partition in range(self.settings.partitions)
        ]
        begin: dict[_Place, int] = {}
        for place in consumer.committed(every, timeout=REACH_SECONDS):
            low, _ = consumer.get_watermark_offsets(place, timeout=REACH_SECONDS)
            begin[place.topic, place.partition] = max(place.offset, int(low))
            if 0 <= place.offset < low:
                self._lose((place.topic, place.partition), int(low) - place.offset)
        return begin

    def _fault(self, message: kafka.Message, error: kafka.KafkaError) -> None:
        if error.name() in EXPIRED:
            self._rewind((message.topic() or "", message.partition() or 0))
        elif error.fatal() or error.name() in LASTING:
            raise KafkaError(f"{message.topic()} cannot be read: {why(error)}")
        else:
            self.faults.on_error(error)  # the client goes on trying

    def _look(self, consumer: kafka.Consumer) -> None:
        """Take note of where partitions end; begin anew with one that came back without data."""
        for place, read in list(self._next.items()):
            said = consumer.get_watermark_offsets(kafka.TopicPartition(*place), cached=True)
            if said is None or said[1] < 0:
                continue
            self._ends[place] = int(said[1])
            if self._shorter[place].stays(self._ends[place], read):
                self._rewind(place)

    def _rewind(self, place: _Place) -> None:
        """Go on with the oldest entry that the broker has."""
        consumer = self._consumer
        assert consumer is not None  # reading
        where = kafka.TopicPartition(*place)
        try:
            low, _ = consumer.get_watermark_offsets(where, timeout=REACH_SECONDS)
            where.offset = int(low)
            consumer.seek(where)
        except kafka.KafkaException as error:
            raise KafkaError(f"{place[0]} cannot be read: {why(error.args[0])}") from error
        self._lose(place, max(int(low) - self._next[place], 0))
        self._next[place] = int(low)
        self._shorter[place] = Shorter()

    def _lose(self, place: _Place, count: int) -> None:
        self.lost += count
        self._log.error("records_lost", topic=place[0], partition=place[1], entries=count)
