"""Live, a portfolio waits for a shard only so long; what it decided without one stands in Kafka."""

import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.messages import Barrier, Fused


class BarrierWatch:
    """Know which shards have reached which bar close, and since when the others are waited for.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the shards that are waited for, and for how many seconds."""
        self.shards = tuple(sorted(shards))
        self.seconds = seconds
        self.clock = clock
        self._reached = dict.fromkeys(self.shards, 0)
        self._since: dict[int, float] = {}  # closes that some shard has not reached

    def reached(self, shard: int, ts_close: int) -> None:
        """Take note of a shard's bar close."""
        if ts_close <= self._reached.get(shard, 0):
            return
        self._reached[shard] = ts_close
        self._since.setdefault(ts_close, self.clock())
        everyone = min(self._reached.values())
        for ts in [ts for ts in self._since if ts <= everyone]:
            del self._since[ts]

    def due(self) -> Barrier | None:
        """Return the barrier of the oldest close that was waited for long enough, if any."""
        now = self.clock()
        for ts_close in sorted(self._since):
            if now - self._since[ts_close] < self.seconds:
                return None
            del self._since[ts_close]
            there = [shard for shard in self.shards if self._reached[shard] >= ts_close]
            return Barrier(ts_close=ts_close, shards=tuple(there))
        return None


class BarrierSource(FixedPartitionedSource[tuple[str, Any], None]):
    """Give the barriers of `watch`, each once `keep` has made it last.

    `keep` writes a barrier and returns when it is safe: it must be known to whoever decides
    again. The input ends once `ended` is true or `stop` is set.
    """

    def __init__(
        self,
        watch: BarrierWatch | None,
        keep: Callable[[Barrier], None],
        ended: Callable[[], bool],
        stop: Event,
    ) -> None:
        self.watch = watch
        self.keep = keep
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

    def next_batch(self) -> list[tuple[str, Any]]:
        source = self.source
        if source.stop.is_set() or source.ended():
            raise StopIteration
        barrier = None if source.watch is None else source.watch.due()
        if barrier is None:
            return []
        source.keep(barrier)
        return [("barrier", barrier)]

    def snapshot(self) -> None:
        return None


def watching(watch: BarrierWatch, message: Any) -> Any:
    """Tell `watch` what a shard has reached, and return the message."""
    if isinstance(message, Fused):
        watch.reached(message.cross.shard, message.cross.ts_close)
    return message
