"""Live, a portfolio waits for a shard only so long; what it decided without one stands in Kafka."""

import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.kafka.faults import KafkaError
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.sink import KafkaPartition, KafkaSink
from connectors.kafka.topics import BARRIERS
from connectors.kafka.wire import outgoing
from operators.messages import Barrier, Fused

_REST = 1.0  # seconds between attempts at brokers that take no barrier


class BarrierWatch:
    """Know which shards have reached which bar close, and since when the others are waited for.

    Nothing is due before `ready` says that what Kafka held at the start has been read: what was
    decided then was decided with it. Nor is any close up to `done`.

    >>> times = iter([0.0, 0.0, 0.1, 0.7])
    >>> watch = BarrierWatch((0, 1), seconds=0.5, clock=lambda: next(times))
    >>> watch.reached(0, 100)
    >>> watch.due() is None, watch.due() is None
    (True, True)
    >>> watch.due()
    Barrier(ts_close=100, shards=(0,))
    """

    def __init__(
        self,
        shards: Iterable[int],
        seconds: float,
        *,
        ready: Callable[[], bool] = lambda: True,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the shards that are waited for, and for how many seconds."""
        self.shards = tuple(sorted(shards))
        self.seconds = seconds
        self.ready = ready
        self.clock = clock
        self._done = done  # no barrier is due any more up to here
        self._begun = False
        self._reached = dict.fromkeys(self.shards, 0)
        self._since: dict[int, float] = {}  # closes that some shard has not reached

    def reached(self, shard: int, ts_close: int) -> None:
        """Take note of a shard's bar close."""
        if ts_close <= self._reached.get(shard, 0):
            return
        self._reached[shard] = ts_close
        if ts_close > self._done:
            self._since.setdefault(ts_close, self.clock())
        everyone = min(self._reached.values())
        for ts in [ts for ts in self._since if ts <= everyone]:
            del self._since[ts]

    def complete(self, ts_close: int) -> bool:
        """Say whether every shard has reached a bar close."""
        return min(self._reached.values()) >= ts_close

    def due(self) -> Barrier | None:
        """Return the barrier of the oldest close that was waited for long enough, if any."""
        now = self.clock()
        if not self._begun:
            if not self.ready():
                return None
            self._begun = True
            self._since = {ts: max(since, now) for ts, since in self._since.items()}
        oldest = min(self._since, default=None)
        if oldest is None or now - self._since[oldest] < self.seconds:
            return None
        del self._since[oldest]
        self._done = oldest
        there = [shard for shard in self.shards if self._reached[shard] >= oldest]
        return Barrier(ts_close=oldest, shards=tuple(there))


class BarrierLog:
    """Write barriers to Kafka, each safe when `keep` says so."""

    def __init__(self, settings: KafkaSettings, password: str | None) -> None:
        """Prepare; nothing is connected yet."""
        self._sink = KafkaSink(settings, password)
        self._part: KafkaPartition | None = None
        self._resting = 0.0

    def keep(self, barrier: Barrier) -> bool:
        """Write a barrier, and say whether it is known to last."""
        if time.monotonic() < self._resting:
            return False
        try:
            self._part = self._part or self._sink.build_part("barriers", "0", None)
            self._part.write_batch([outgoing(barrier, BARRIERS.name, partition=0)])
            self._part.snapshot()
        except KafkaError:
            self.close()  # the sink has said what is wrong
            self._resting = time.monotonic() + _REST
            return False
        return True

    def close(self) -> None:
        """Let go of the brokers."""
        if self._part is not None:
            self._part.close()
            self._part = None


class BarrierSource(FixedPartitionedSource[tuple[str, Any], None]):
    """Give the barriers of `watch`, each once `log` has made it last.

    One that cannot be written waits, and is forgotten if its close completes meanwhile. The
    input ends once `ended` is true or `stop` is set.
    """

    def __init__(
        self,
        watch: BarrierWatch | None,
        log: BarrierLog,
        ended: Callable[[], bool],
        stop: Event,
    ) -> None:
        self.watch = watch
        self.log = log
        self.ended = ended
        self.stop = stop

    def list_parts(self) -> list[str]:
        """One watch, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Partition":  # noqa: ARG002
        """Begin to watch."""
        return _Partition(self)


class _Partition(StatefulSourcePartition[tuple[str, Any], None]):
    def __init__(self, source: BarrierSource) -> None:
        self.source = source
        self.held: Barrier | None = None

    def next_batch(self) -> list[tuple[str, Any]]:
        source, watch = self.source, self.source.watch
        if source.stop.is_set() or source.ended():
            raise StopIteration
        if watch is None:
            return []
        if self.held is not None and watch.complete(self.held.ts_close):
            self.held = None
        self.held = self.held or watch.due()
        if self.held is None or not source.log.keep(self.held):
            return []
        barrier, self.held = self.held, None
        return [("barrier", barrier)]

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.source.log.close()


def watching(watch: BarrierWatch, message: Any) -> Any:
    """Tell `watch` what a shard has reached, and return the message."""
    if isinstance(message, Fused):
        watch.reached(message.cross.shard, message.cross.ts_close)
    return message
