"""Live feeds as a Bytewax source: a thread for the sockets, the dataflow's for the log."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import msgspec
import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.feeds import Feed, Inbox, InboxSettings, Received
from connectors.journal import Journal, first_offset, read_journal, segments
from connectors.recorder import Recorder
from connectors.selector import Selector
from connectors.sequencer import Sequencer, SequencerSettings
from operators.errors import EngineError, InputError
from operators.messages import SECOND, Raw

BATCH = 1000
_AHEAD_NS = 5 * SECOND  # that a clock may be set back between two runs
_TICK_NS = 500_000_000  # how often a silent feed is looked for
_MOST_REST = 30.0  # seconds before a feed whose code failed is begun again
_REMEMBERED_BYTES = 96 << 20  # of the log before a restart: minutes of a busy one
_OLDEST_WARM = 600 * SECOND
_LEAVE = 10.0  # seconds that feeds get to close their connections


class LiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How live input is taken in."""

    inbox: InboxSettings = InboxSettings()
    fsync_seconds: float = 1.0  # of input that a power cut may cost
    # Of the journal; older segments are deleted once the flow has seen them. Record what is to
    # be kept.
    keep_bytes: int = 8 << 30
    segment_bytes: int = 64 << 20


class Warm(NamedTuple):
    """An entry to begin an empty log with: its kind, when it was (ns), and its payload."""

    kind: str
    at: int
    payload: bytes


class FeedThread:
    """All feeds as asyncio tasks in one daemon thread.

    A feed ends only when it is cancelled; one whose code fails is logged, counted "failed" and
    begun again. `every_second` is awaited there, for reports.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        inbox: Inbox,
        every_second: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare the thread."""
        self.feeds = feeds
        self.inbox = inbox
        self.every_second = every_second
        self._log = structlog.get_logger(__name__)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = Event()
        self._ended = asyncio.Event()
        self._thread = Thread(target=self._run, name="feeds", daemon=True)

    def start(self) -> None:
        """Start every feed."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel the feeds and wait until their connections are closed."""
        if not self._thread.is_alive():
            return
        self._running.wait(_LEAVE)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_LEAVE)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        tasks = [asyncio.create_task(self._keep(feed), name=feed.name) for feed in self.feeds]
        if self.every_second is not None:
            tasks.append(asyncio.create_task(self._report(self.every_second)))
        await self._ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LEAVE) if tasks else None

    async def _keep(self, feed: Feed) -> None:
        rest = 1.0
        while True:
            try:
                await feed.run(self.inbox)
            except Exception:  # noqa: BLE001 - one feed's fault must not cost the others
                # Without the exception's text, which may hold what a venue sent.
                self._log.error("feed_failed", feed=feed.name, exc_info=False)
                feed.health.counts["failed"] += 1
                feed.health.state, feed.health.note = "cut", "its code failed; it is begun again"
            else:
                return  # it said in its health why it cannot go on
            await asyncio.sleep(rest)
            rest = min(rest * 2, _MOST_REST)

    async def _report(self, report: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await report()
            except (OSError, EngineError) as error:
                self._log.warning("health_not_written", error=type(error).__name__)


class LiveLog:
    """What feeds deliver, as a log: chosen, ordered, journaled, recorded; one thread calls it.

    *At least once over restarts, exactly once in the journal*: `take` first gives again what
    the journal holds from `resume` on, then goes on live.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        inbox: Inbox,
        selector: Selector,
        journal: Journal,
        sequencer: Sequencer,
        *,
        resume: int = 0,
        recorder: Recorder | None = None,
        keep_bytes: int = 8 << 30,
    ) -> None:
        """Tell the feeds what came last, and stand ready to read what the flow has not seen."""
        self.inbox = inbox
        self.selector = selector
        self.journal = journal
        self.sequencer = sequencer
        self.recorder = recorder
        self.keep_bytes = keep_bytes
        end = journal.next_offset  # what is written from now on is handed on as it comes
        self._again = (
            item
            for item in read_journal(journal.folder, start=resume)
            if isinstance(item, Raw) and item.offset < end
        )
        self._caught_up = end <= resume
        self._ticked = 0
        _remember(feeds, journal.folder)
        if recorder is not None:
            recorder.resume(journal.folder, end)
        for received in selector.begin(inbox.clock()):
            self._offer(received)

    def take(self) -> list[Raw]:
        """Return the next entries, at most `BATCH` messages and the Clocks between them."""
        if not self._caught_up:
            batch = list(islice(self._again, BATCH))
            if batch:
                return batch
            self._caught_up = True
        now = self.inbox.clock()  # before taking: what comes later is behind these Clocks
        taken = self.inbox.take(BATCH)
        for received in taken:
            for passed in self.selector.pass_on(received):
                self._offer(passed)
        if len(taken) < BATCH:
            if abs(now - self._ticked) >= _TICK_NS:
                self._ticked = now
                for passed in self.selector.tick(now):
                    self._offer(passed)
            self.sequencer.advance(now)
        new = self.sequencer.take()
        if self.recorder is not None:
            self.recorder.write(new)
        return new

    def settled(self, offset: int) -> None:
        """Make the journal durable; entries before `offset` are not needed for a restart."""
        self.journal.sync()
        recorded = offset if self.recorder is None else self.recorder.complete_offset
        self.journal.prune(min(offset, recorded), self.keep_bytes)

    def close(self) -> None:
        """Complete journal and recording."""
        self.journal.close()
        if self.recorder is not None:
            self.recorder.close()

    def _offer(self, received: Received) -> None:
        self.sequencer.offer(received.feed, received.kind, received.payload, received.ts_init)


def _remember(feeds: Sequence[Feed], folder: Path) -> None:
    """Show the feeds the log's end: what of theirs came last before a restart, and when.

    The last Clock goes to all of them: until then we were running.
    """
    by_name = {feed.name: feed for feed in feeds}
    size, start = 0, 0
    for segment in reversed(segments(folder)):  # each start begins one, so they may be small
        size += segment.stat().st_size
        start = first_offset(segment) or 0
        if size > _REMEMBERED_BYTES:
            break
    last: Raw | None = None
    for item in read_journal(folder, start=start):
        if not isinstance(item, Raw):
            continue
        if item.path in by_name:
            by_name[item.path].remember(item)
        elif item.kind == "clock":
            last = item
    if last is not None:
        for feed in feeds:
            feed.remember(last)


class LiveSource(FixedPartitionedSource[Raw, int]):
    """Live feeds as one partition, "0"; after a restart it goes on where the flow stood.

    `open_log` makes the log, given the offset to go on from, and the thread that fills it. Once
    `stop` is set the feeds are closed, what waits is handed on, and the input ends.
    """

    def __init__(self, open_log: Callable[[int], tuple[LiveLog, FeedThread]], stop: Event) -> None:
        """Prepare the source; nothing is opened yet."""
        self.open_log = open_log
        self.stop = stop

    def list_parts(self) -> list[str]:
        """Return the one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Partition":  # noqa: ARG002
        """Open the journal and start the feeds."""
        return _Partition(self, resume_state or 0)


class _Partition(StatefulSourcePartition[Raw, int]):
    def __init__(self, source: LiveSource, resume: int) -> None:
        self.stop = source.stop
        self.log, self.thread = source.open_log(resume)
        self.next_offset = self.snapshots = resume
        self.started = False

    def next_batch(self) -> list[Raw]:
        stopping = self.stop.is_set()
        if not self.started:
            # Only now is the whole flow built: what came before would wait for it.
            self.thread.start()
            self.started = True
        if stopping:
            self.thread.stop()
        batch = self.log.take()
        if batch:
            self.next_offset = batch[-1].offset + 1
        elif stopping:
            raise StopIteration
        return batch

    def snapshot(self) -> int:
        # What the flow's state holds must not be in a journal that a power cut takes back.
        self.log.settled(self.snapshots)
        self.snapshots = self.next_offset
        return self.next_offset

    def close(self) -> None:
        self.thread.stop()
        self.log.close()


def _begin_warm(journal: Journal, warm: Sequence[Warm], now: int) -> None:
    """Begin an empty journal with `warm`, unless its last Clock is of another time than `now`."""
    age = now - warm[-1].at
    if not 0 <= age <= _OLDEST_WARM:
        structlog.get_logger(__name__).warning("no_warm_start", seconds_old=age // SECOND)
        return
    for entry in warm:
        journal.append("warm", entry.kind, entry.at, entry.payload)
    journal.flush()
    journal.last_clock = warm[-1].at


def open_live_log(
    feeds: Sequence[Feed],
    folder: Path,
    selector: Selector,
    settings: LiveSettings,
    sequencer: SequencerSettings,
    make_clock: Callable[[int | None], Callable[[], int]],
    *,
    resume: int = 0,
    recorder: Recorder | None = None,
    every_second: Callable[[], Awaitable[None]] | None = None,
    first: int = 0,
    warm: Sequence[Warm] = (),
) -> tuple[LiveLog, FeedThread]:
    """Open the journal in `folder` and everything between it and the feeds.

    An empty journal begins at the offset `first`, with the entries of `warm`, the last of them a
    Clock; not where that is more than ten minutes old: a warm-up is better than features over
    such a hole. `make_clock` gives the clock of the run,
    told the last Clock of the journal.

    Raises:
        JournalError: the journal cannot be opened.
        InputError: it ends in the future.
        StoreError: the recording cannot be written.
    """
    journal = Journal(
        folder,
        fsync_seconds=settings.fsync_seconds,
        segment_bytes=settings.segment_bytes,
        first=first,
    )
    fresh = journal.next_offset == first
    clock = make_clock(warm[-1].at if fresh and warm else journal.last_clock)
    if fresh and warm:
        _begin_warm(journal, warm, clock())
    ahead = (journal.last_clock or 0) - clock()
    if ahead > _AHEAD_NS:
        journal.close()
        raise InputError(
            f"the log at {folder} ends {ahead / SECOND:.0f} s ahead of the clock, and no bar could "
            "close until then; set the clock, name another --store, or begin anew by --overwrite"
        )
    inbox = Inbox(settings.inbox, clock)
    made = Sequencer(
        journal, sequencer, feeds={feed.name: feed.symbols for feed in feeds}, clock=clock
    )
    log = LiveLog(
        feeds,
        inbox,
        selector,
        journal,
        made,
        resume=resume,
        recorder=recorder,
        keep_bytes=settings.keep_bytes,
    )
    return log, FeedThread(feeds, inbox, every_second)
