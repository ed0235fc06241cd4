"""Replay recorded inputs into a flow: as fast as it goes, or at a multiple of true speed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Event
from time import monotonic

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.inlet import Inlet
from connectors.sources.entries import Progress
from connectors.sources.inputs import ReplayInputs, iterate, symbols_in
from connectors.sources.interjections import Interjections
from operators.messages import SECOND, Raw

__all__ = ["Progress", "ReplayInputs", "ReplaySource", "iterate", "symbols_in"]

BATCH = 1000
# A source that sleeps longer holds up the whole dataflow at each epoch.
_NAP = 0.01
_LONGEST_PAUSE = 600 * SECOND  # of the recording; nights and weekends are not waited for
_TIMED = frozenset({"binance", "bar", "clock"})


class ReplaySource(FixedPartitionedSource[Raw, int]):
    """The log of `inputs` as one partition, "0"; resuming goes on at the next offset.

    `speed` is a multiple of true speed, None as fast as it goes; entries received before
    `fast_until` (ns) come as fast as they go in any case. Once `stop` is set the input ends.
    `on_progress` gets a `Progress` with each batch. Orders that come by `inlet` get the next
    place in the log, and keep it. *Replays exactly: the same offsets hold the same entries each
    time.*
    """

    def __init__(
        self,
        inputs: ReplayInputs,
        *,
        speed: float | None = None,
        fast_until: int | None = None,
        stop: Event | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        inlet: Inlet | None = None,
    ) -> None:
        """Prepare a replay; nothing is read yet."""
        self.inputs = inputs
        self.speed = speed
        self.fast_until = fast_until
        self.stop = stop or Event()
        self.on_progress = on_progress
        self.inlet = inlet

    def list_parts(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Partition":  # noqa: ARG002
        """Open the log at its beginning, or at the offset of the last snapshot."""
        return _Partition(self, resume_state or 0)


class _Partition(StatefulSourcePartition[Raw, int]):
    def __init__(self, source: ReplaySource, resume: int) -> None:
        self.source = source
        self.progress = Progress()
        self.log = iterate(source.inputs, self.progress)
        self.next_offset = resume
        self.skipped = resume == 0
        self.pace = None if source.speed is None else Pace(source.speed, source.fast_until)
        self.held: Raw | None = None  # read, but not due yet
        self.orders = None if source.inlet is None else Interjections(source.inlet, resume)
        self.awake: datetime | None = None

    def next_batch(self) -> list[Raw]:
        if self.source.stop.is_set():
            raise StopIteration
        if not self.skipped:  # read again what was already handed on
            before = self.next_offset - (0 if self.orders is None else self.orders.shift)
            next(islice(self.log, before, before), None)
            self.skipped = True
        batch = self._next(BATCH) if self.orders is None else self._with_orders(self.orders)
        if batch:
            self.next_offset = batch[-1].offset + 1
            if self.source.on_progress is not None:
                self.source.on_progress(self.progress)
        elif self.held is None:
            raise StopIteration
        return batch

    def _with_orders(self, orders: Interjections) -> list[Raw]:
        """Return the orders whose place this is, or the entries up to the next one's."""
        if batch := orders.at(self.next_offset):
            self.awake = None
            return batch
        return orders.behind(self._next(orders.room(self.next_offset, BATCH)))

    def _next(self, most: int) -> list[Raw]:
        return list(islice(self.log, most)) if self.pace is None else self._due(self.pace, most)

    def _due(self, pace: "Pace", most: int) -> list[Raw]:
        batch: list[Raw] = []
        self.awake = None
        while len(batch) < most:
            raw = self.held or next(self.log, None)
            self.held = None
            if raw is None:
                break
            wait = pace.wait(raw, monotonic())
            if wait > 0:
                self.held = raw
                self.awake = datetime.now(UTC) + timedelta(seconds=min(wait, _NAP))
                break
            batch.append(raw)
        return batch

    def next_awake(self) -> datetime | None:
        return self.awake

    def snapshot(self) -> int:
        return self.next_offset


class Pace:
    """Say how long an entry must wait so that the log runs at a multiple of true speed.

    >>> pace = Pace(2.0)
    >>> def at(seconds):
    ...     return Raw(offset=0, path="", kind="clock", ts_init=seconds * SECOND, payload=b"")
    >>> pace.wait(at(100), 0.0), pace.wait(at(103), 0.0), pace.wait(at(103), 1.5)
    (0.0, 1.5, 0.0)
    """

    def __init__(self, speed: float, fast_until: int | None = None) -> None:
        """Run at `speed` from the first entry received at `fast_until` (ns) or later."""
        self.speed = speed
        self.fast_until = fast_until
        self.latest: int | None = None  # receive time of the last entry that had to be waited for
        self.due = 0.0

    def wait(self, raw: Raw, now: float) -> float:
        """Return the seconds from `now` (monotonic) until `raw` is due; 0.0 if it is."""
        if raw.kind not in _TIMED or raw.ts_init < (self.fast_until or 0):
            return 0.0
        if self.latest is None:
            self.latest, self.due = raw.ts_init, now
        elif (step := raw.ts_init - self.latest) > 0:
            due = self.due + (0 if step > _LONGEST_PAUSE else step) / SECOND / self.speed
            if due > now:
                return due - now
            self.latest, self.due = raw.ts_init, due
        return 0.0
