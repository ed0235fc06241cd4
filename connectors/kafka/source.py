"""A log in Kafka as a Bytewax source: partitions are shards, offsets its recovery state."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any

import confluent_kafka as kafka
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.kafka import wire
from connectors.kafka.admin import preflight
from connectors.kafka.alignment import Alignment
from connectors.kafka.faults import EXPIRED, LASTING, Faults, KafkaError, why
from connectors.kafka.loss import Shorter
from connectors.kafka.settings import REACH_SECONDS, KafkaSettings, client
from connectors.kafka.wire import Entry
from operators.messages import SECOND, Clock, Fused, Rejection

BATCH = 1000
_ANSWER_SECONDS = 15.0  # for the first word on a partition
AHEAD_NS = 60 * SECOND
ANEW = "begin anew under another 'prefix'"
_FETCH_KIB = 16 << 10  # that each partition may have read ahead


class _Partition(StatefulSourcePartition[tuple[str, Any], int]):
    def __init__(self, source: "KafkaSource", shard: int, resume: int | None) -> None:
        self.source = source
        self.shard = shard
        self.name = str(shard)
        self.topic = source.settings.topic(source.topic)
        self.waiting: deque[kafka.Message] = deque()  # read, and not handed on yet
        self.at_end = False  # nothing follows what was read
        # The last of the writer's own; what has one not above it is a repeat.
        self.number: int | None = None
        self.ended = False
        self.end: int | None = None  # where the log ends, as the broker said last
        self.shorter = Shorter()
        self.consumer = kafka.Consumer(
            client(source.settings, source.password)
            | {
                "error_cb": source.faults.on_error,
                "group.id": source.settings.topic("sources"),  # asked for, and never used
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 100,
                "fetch.message.max.bytes": 16 << 20,
                "queued.max.messages.kbytes": _FETCH_KIB,
            }
        )
        try:
            self.next_offset = self._first(resume)
            self.consumer.assign([self._place(self.next_offset)])
            source.alignment.begin(shard)
            if self.next_offset > 0:
                self._await_answer()
        except BaseException:
            self.consumer.close()
            raise

    def _place(self, offset: int = -1) -> kafka.TopicPartition:
        return kafka.TopicPartition(self.topic, self.shard, offset)

    def _first(self, resume: int | None) -> int:
        """Return the offset to begin with, once it is known that the log still has it."""
        try:
            low, _ = self.consumer.get_watermark_offsets(self._place(), timeout=REACH_SECONDS)
        except kafka.KafkaException as error:
            raise KafkaError(f"{self.topic} cannot be read: {why(error.args[0])}") from error
        wanted = self.source.start.get(self.shard) if resume is None else resume
        if wanted is None:
            if low > 0 and self.source.whole:
                raise KafkaError(
                    f"{self.topic}, partition {self.shard}, begins at {low}, and no state tells "
                    f"what came before; {ANEW}"
                )
            return int(low)
        if resume is None and low == wanted + 1:  # `start` was handed on before
            return int(low)
        if wanted < low:
            raise self._expired(wanted, low)
        return wanted

    def _await_answer(self) -> None:
        """Read on until the broker has answered for this offset: the log may be shorter."""
        end = time.monotonic() + _ANSWER_SECONDS
        while not self.waiting and not self.at_end:
            self._read(timeout=0.05)
            if time.monotonic() >= end:
                raise KafkaError(f"{self.topic} cannot be read: no broker answered in time")

    # ----------------------------------------------------------------------- Bytewax's calls

    def next_batch(self) -> list[tuple[str, Any]]:
        if self.ended or self.source.stop.is_set():
            raise StopIteration
        alignment = self.source.alignment
        if alignment.waits(self.shard):
            return []
        if not self.waiting:
            self._read(timeout=0)
        batch: list[tuple[str, Any]] = []
        decode, name, waiting = self.source.decode, self.name, self.waiting
        while waiting:
            entry = entry_of(waiting[0])
            if entry.type == wire.END and self.source.until_end:
                self.ended = True  # and not passed: after a restart it is read again
                alignment.end(self.shard)
                return batch
            waiting.popleft()
            self.next_offset = entry.offset + 1
            if entry.type == wire.END:
                continue
            if self._repeated(entry):
                continue
            message = decode(entry)
            batch.append((name, message))
            if self._timed(message) and alignment.waits(self.shard):
                break
            if type(message) is Rejection and entry.type != "rejection":
                self.source.refused += 1
        self._rest(resting=self.at_end and not waiting)
        return batch

    def _rest(self, *, resting: bool) -> None:
        """Take note of whether nothing follows what was handed on."""
        if resting:
            self.source.caught_up.add(self.shard)
        self.source.alignment.rest(self.shard, resting=resting)

    def _repeated(self, entry: Entry) -> bool:
        """Say whether the writer has sent an entry before, and take note of its number."""
        if not entry.number:
            return False
        if self.number is not None and entry.number <= self.number:
            self.source.repeated += 1
            return True
        if self.number is not None and entry.number > self.number + 1:
            raise KafkaError(
                f"{self.topic}, partition {self.shard}, lacks the entries {self.number + 1} to "
                f"{entry.number - 1} at {entry.offset}: the broker has lost them; {ANEW}"
            )
        self.number = entry.number
        return False

    def _timed(self, message: Any) -> bool:
        """Take note of how far event time has come, if the message tells."""
        kind = type(message)
        if kind is Clock:
            self.source.alignment.clock(self.shard, message.ts_event)
        elif kind is Fused:
            self.source.alignment.clock(self.shard, message.cross.ts_close)
        else:
            return False
        return True

    def snapshot(self) -> int:
        return self.next_offset

    def close(self) -> None:
        self.source.alignment.end(self.shard)
        self.source.parts.pop(self.shard, None)
        self.consumer.close()

    # ------------------------------------------------------------------------- the broker

    def _read(self, timeout: float) -> None:
        for message in self.consumer.consume(BATCH, timeout=timeout):
            error = message.error()
            if error is None:
                self.waiting.append(message)
                self.at_end = False
            elif error.name() == "_PARTITION_EOF":
                self.at_end = True
            else:
                self._fault(error)
                continue
            self.source.faults.answered()
        self.source.look_again()
        said = self.consumer.get_watermark_offsets(self._place(), cached=True)
        self.end = None if said is None or said[1] < 0 else int(said[1])
        if self.shorter.stays(self.end, self.next_offset):
            raise KafkaError(
                f"{self.topic}, partition {self.shard}, ends at {self.end}, but was read up to "
                f"{self.next_offset}: the broker has lost entries; restore its data, or "
                f"{ANEW}"
            )

    def _fault(self, error: kafka.KafkaError) -> None:
        if error.name() in EXPIRED:
            raise self._expired(self.next_offset, None)
        if error.fatal() or error.name() in LASTING:
            raise KafkaError(f"{self.topic}, partition {self.shard}, cannot be read: {why(error)}")
        self.source.faults.on_error(error)  # the client goes on trying

    def _expired(self, wanted: int, low: int | None) -> KafkaError:
        begins = "" if low is None else f", which begins at {low}"
        return KafkaError(
            f"{self.topic}, partition {self.shard}, no longer has the offset {wanted}{begins}: "
            f"what comes before was dropped or lost; {ANEW}, and raise the topic's retention"
        )


def entry_of(message: kafka.Message) -> Entry:
    """Return what a broker's message says, not decoded yet."""
    said: dict[str, Any] = dict(message.headers() or ())
    stamp = message.timestamp()[1]
    return Entry(
        type=_text(said.get("type")),
        version=_text(said.get("v")),
        value=message.value(),
        offset=message.offset() or 0,
        ts_init=max(stamp, 0) * 1_000_000,  # ms
        key=message.key(),
        number=_number(said.get("n")),
    )


def _text(header: bytes | str | None) -> str:
    return header.decode(errors="replace") if isinstance(header, bytes) else header or ""


def _number(header: bytes | str | None) -> int:
    text = _text(header)
    return int(text) if text.isdecimal() and text.isascii() else 0


class KafkaSource(FixedPartitionedSource[tuple[str, Any], int]):
    """Read `shards` of a log as `(shard, message)`, each partition from its own offset.

    Partitions begin at the oldest entry, or at `start` (an entry that was handed on already), or
    where the last snapshot stood. What
    cannot be decoded comes as a `Rejection`. Of several shards none runs more than `ahead_ns`
    of event time ahead of the slowest. Input ends once `stop` is set, or with `until_end`
    partition by partition at the mark that `wire.end` makes. While no broker answers, it waits.

    Raises:
        KafkaError: at the start, no broker answers or the topic is not as expected; at any
            time, the log no longer has the offset to go on from.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        password: str | None = None,
        *,
        topic: str,
        shards: Sequence[int],
        decode: Callable[[Entry], Any] = wire.decode,
        start: Mapping[int, int] | None = None,
        stop: Event,
        until_end: bool = False,
        ahead_ns: int = AHEAD_NS,
        whole: bool = False,
        patient: bool = False,
    ) -> None:
        """Prepare the source; nothing is opened yet. `topic` is named without the prefix.

        `whole` refuses to begin at an oldest entry that is not the first; `patient` holds other
        shards back also for one that has nothing to give yet.
        """
        self.settings = settings
        self.password = password
        self.topic = topic
        self.shards = tuple(shards)
        self.decode = decode
        self.start = start or {}
        self.stop = stop
        self.until_end = until_end
        self.whole = whole
        self.alignment = Alignment(ahead_ns, patient=patient)
        self.caught_up: set[int] = set()  # shards that have been at the end of their logs
        self.faults = Faults(f"source {topic}")
        self.refused = 0  # entries that could not be decoded
        self.repeated = 0  # entries that their writer sent twice, around a crash of its own
        self.parts: dict[int, _Partition] = {}
        self._begun = 0

    @property
    def ended(self) -> bool:
        """Whether every partition has been read and closed."""
        return self._begun == len(self.shards) and not self.parts

    def list_parts(self) -> list[str]:
        """Return the shards as text."""
        return [str(shard) for shard in self.shards]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Partition:  # noqa: ARG002
        """Check the topic, and connect to its partition."""
        if int(for_part) >= self.settings.partitions:
            raise KafkaError(
                f"expected a shard below {self.settings.partitions}, found {for_part}; check "
                "the shards of this process and 'partitions'"
            )
        if not self.parts:
            preflight(self.settings, self.password, (self.topic,))
        part = _Partition(self, int(for_part), resume_state)
        self.parts[part.shard] = part
        self._begun += 1
        return part

    def look_again(self) -> None:
        """Check the topic again if the client has been told that it is not what it was."""
        last = self.faults.last
        if last is not None and last.name() in LASTING:
            self.faults.last = None
            preflight(self.settings, self.password, (self.topic,))

    def lag(self) -> dict[int, int]:
        """Return for each open shard how many entries are not handed on yet."""
        parts = list(self.parts.items())
        return {s: max(part.end - part.next_offset, 0) for s, part in parts if part.end is not None}
