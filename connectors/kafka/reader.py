"""The output topics as rows for a store: what `Drain` reads at scale, in place of the outbox.

*At least once*: a group's offsets are committed once the store holds the rows.
"""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import Thread
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
_LEAVE_SECONDS = 2.0
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
        self._opened = 0  # counts the clients that there were
        self._consumer: kafka.Consumer | None = None
        self._next: dict[_Place, int] = {}  # the offset to read next
        self._ends: dict[_Place, int] = {}  # where each partition ends, as the broker said last
        self._shorter: dict[_Place, Shorter] = {}
        self._position = 0  # of the last entry given
        self._given: deque[_Given] = deque()  # not acknowledged
        self._stored: dict[_Place, int] = {}  # acknowledged, and not on its way to be committed
        self._committing: dict[_Place, int] = {}

    def read(self, limit: int) -> list[Entry]:
        """Return what waits, of at most `limit` rows, as one entry; nothing if nothing waits.

        Raises:
            KafkaError: no broker answers at the start, or a topic is missing. The next call
                tries again.
        """
        try:
            consumer = self._consumer or self._open()
            self._commit()
            return self._read(consumer, limit)
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
        """Have the group's offsets up to the entry at `position` committed, waiting for nobody.

        What cannot be committed is tried again by later calls, of `read` too.
        """
        while self._given and self._given[0].position <= position:
            self._stored |= self._given.popleft().offsets
        self._commit()

    def _commit(self) -> None:
        consumer = self._consumer
        if consumer is None or self._committing or not self._stored:
            return
        offsets = [
            kafka.TopicPartition(topic, partition, offset)
            for (topic, partition), offset in self._stored.items()
        ]
        self._committing, self._stored = self._stored, {}
        consumer.commit(offsets=offsets, asynchronous=True)

    def _committed(self, opened: int, error: Any, places: Sequence[kafka.TopicPartition]) -> None:
        """Hear what became of a commit; the client calls this out of `consume`."""
        if opened != self._opened:
            return  # of a client that was let go of
        sent, self._committing = self._committing, {}
        failed = error or next((place.error for place in places if place.error), None)
        if failed is not None:
            self.faults.on_error(failed)
            self._stored = sent | self._stored

    def lag(self) -> int:
        """Return how many entries are not read yet, as far as the broker has told."""
        return sum(max(end - self._next[place], 0) for place, end in list(self._ends.items()))

    def close(self) -> None:
        """Commit what is stored, if the broker answers soon, and let go of it."""
        consumer = self._consumer
        if consumer is None:
            return
        end = time.monotonic() + _LEAVE_SECONDS
        while (self._committing or self._stored) and time.monotonic() < end:
            self._commit()
            consumer.poll(0.02)  # what it gives is not committed, so it comes again
        self._consumer = None
        self._opened += 1
        self._stored = self._committing | self._stored
        self._committing = {}
        # While a commit has no answer, the client would not be closed for most of a minute.
        closing = Thread(target=consumer.close, name="kafka-closing", daemon=True)
        closing.start()
        closing.join(_LEAVE_SECONDS)

    def _open(self) -> kafka.Consumer:
        preflight(self.settings, self.password, self.topics)
        consumer = kafka.Consumer(
            client(self.settings, self.password)
            | {
                "error_cb": self.faults.on_error,
                "group.id": self.group,
                "on_commit": partial(self._committed, self._opened),
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
