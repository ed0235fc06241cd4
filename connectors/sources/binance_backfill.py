"""Fetch the trades that the stream lost, symbol by symbol, while live data goes on."""

import asyncio
from time import monotonic

import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.resilience import Backoff
from connectors.sources.binance_holes import Loss, Losses, Track
from connectors.sources.binance_ids import NEVER
from connectors.sources.binance_messages import Page, Row, envelope
from connectors.sources.binance_plan import BinanceSettings
from connectors.sources.binance_rest import PAGE, BinanceRest, RestError

log = structlog.get_logger(__name__)

_ROOM_SECONDS = 0.05  # how often a full inbox is looked at
_ROOM_SHARE = 0.5  # of the inbox: a backfill must not displace live data
_LAG_FIRST = 0.25  # seconds; REST is behind the stream by as much
_LAG_MOST = 30.0


class Backfill:
    """A task for each symbol that lacks trades; a few ask at once, within one budget.

    A page is asked for exactly; rows of it that were not asked for, or came meanwhile over the
    stream, are left out, and the others go into the log as the venue wrote them.
    """

    def __init__(
        self,
        settings: BinanceSettings,
        rest: BinanceRest,
        losses: Losses,
        inbox: Inbox,
        health: FeedHealth,
    ) -> None:
        """Prepare; nothing is asked yet."""
        self.settings = settings
        self.rest = rest
        self.losses = losses
        self.inbox = inbox
        self.health = health
        self._slots = asyncio.Semaphore(settings.backfills_at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    def mend(self, track: Track) -> None:
        """See to it that what a symbol lacks is fetched."""
        if track.mender is not None and not track.mender.done():
            track.wake.set()
            return
        track.wake.clear()
        track.mender = asyncio.create_task(self._mend(track), name=f"backfill {track.symbol}")
        self._tasks.add(track.mender)
        track.mender.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The error itself may hold what a venue sent.
            log.error("backfill_failed", error=type(task.exception()).__name__)
            self.health.counts["failed"] += 1

    async def _mend(self, track: Track) -> None:
        await asyncio.sleep(self.settings.grace_seconds)
        backoff = Backoff(_LAG_FIRST, _LAG_MOST)
        while True:
            got = await self._pass(track)
            self._give_up(track)
            self.losses.settle(track)
            if not any(loss.hole.ts_to is not None for loss in track.losses):
                return  # those still open begin it again at their end
            if got:
                backoff.reset()
            else:
                await self._rest(track, backoff)

    async def _rest(self, track: Track, backoff: Backoff) -> None:
        """Wait until there may be more, or news of what is missing."""
        seconds = backoff.next()
        tails = track.tails
        if tails and track.tape.page(1) is None:
            seconds = max(self._settled_at(tails) - monotonic(), seconds)
        try:
            async with asyncio.timeout(seconds):
                await track.wake.wait()
        except TimeoutError:
            return
        track.wake.clear()
        await asyncio.sleep(self.settings.grace_seconds)

    def _settled_at(self, tails: list[Loss]) -> float:
        return max(loss.ended for loss in tails) + self.settings.settle_seconds

    async def _pass(self, track: Track) -> int:
        """Ask once for everything that is missing; return how many trades came."""
        got = 0
        after = NEVER
        while True:
            await self._room()
            self.losses.refresh(track)
            ids = track.tape.page(PAGE, after)
            if ids is None:
                break
            first, after = ids
            page = await self._asked(track, first, after - first + 1)
            if page is not None:
                got += await self._deliver(track, page.rows, first, after)
        again = True
        while again and track.tails:
            more, again = await self._tail(track)
            got += more
        return got

    async def _tail(self, track: Track) -> tuple[int, bool]:
        """Ask for what is newer than all that is known.

        Returns how many trades came, and whether there are more to ask for at once.
        """
        asked = monotonic()
        first = track.tape.newest + 1
        end = first + PAGE - 1
        page = await self._asked(track, first, PAGE)
        if page is None:
            return 0, False
        sound = page.whole and all(first <= row.id <= end for row in page.rows)
        got = await self._deliver(track, page.rows, first, end)
        full = len(page.rows) >= PAGE
        tails = track.tails
        if tails and sound and not full and asked >= self._settled_at(tails):
            for loss in tails:
                loss.tail = False
        return got, full and got > 0

    async def _asked(self, track: Track, first: int, limit: int) -> Page | None:
        due = min(map(self._given_up_at, track.losses), default=monotonic())
        try:
            # A ban may last for days; the holes are given up meanwhile.
            async with asyncio.timeout(max(due - monotonic(), 0.0) + 0.1), self._slots:
                return await self.rest.page(track.symbol, first, limit)
        except (RestError, TimeoutError):
            self.health.counts["retries"] += 1
            return None

    async def _deliver(self, track: Track, rows: list[Row], first: int, last: int) -> int:
        """Put into the log what is wanted of a page; return how many trades that were."""
        while True:
            wanted = self._wanted(track, rows, first, last)
            if not wanted:
                return 0
            payload = envelope(track.symbol, self.settings.trades, wanted)
            if self.inbox.put(self.losses.feed, "binance_rest", payload, symbol=track.symbol):
                break
            await self._room()  # meanwhile the stream may have brought some of them
        for row in wanted:
            self._take(track, row.id)
        self.health.counts["backfilled_trades"] += len(wanted)
        return len(wanted)

    @staticmethod
    def _wanted(track: Track, rows: list[Row], first: int, last: int) -> list[Row]:
        """Return the rows that were asked for and are not in the log, by id, each once."""
        tape = track.tape
        newest = tape.newest
        by_id = {row.id: row for row in rows if first <= row.id <= last}
        return [
            by_id[trade_id]
            for trade_id in sorted(by_id)
            if (tape.owner_of(trade_id) is not None if trade_id <= newest else bool(track.tails))
        ]

    def _take(self, track: Track, trade_id: int) -> None:
        tape = track.tape
        owner: Loss | None
        if trade_id <= tape.newest:
            owner = tape.owner_of(trade_id)
            tape.take(trade_id)
        else:
            owner = track.tails[0]
            gap = tape.take(trade_id)
            if gap is not None:  # REST skipped some; they are asked for again
                self.losses.lack(owner, gap)
            self.losses.lacks(owner, trade_id, trade_id)
        if owner is not None:
            self.losses.got(owner, 1)

    async def _room(self) -> None:
        """Wait until the inbox has room for more than live data."""
        inbox = self.inbox
        most = inbox.settings
        while (  # noqa: ASYNC110 - the dataflow's thread empties it, and tells nobody
            len(inbox) > most.max_messages * _ROOM_SHARE
            or inbox.waiting_bytes > most.max_bytes * _ROOM_SHARE
        ):
            await asyncio.sleep(_ROOM_SECONDS)

    def _given_up_at(self, loss: Loss) -> float:
        return max(loss.found, loss.ended) + self.settings.give_up_seconds

    def _give_up(self, track: Track) -> None:
        for loss in list(track.losses):
            if loss.hole.ts_to is not None and monotonic() > self._given_up_at(loss):
                limit = self.settings.give_up_seconds
                note = f"REST did not bring them within {limit:.0f} s. {self.rest.note}"
                self.losses.give_up(track, loss, note.strip())
