"""The simulated Tokyo feed: a market of our own making, told as if it were live.

Each message is a JSON object of `models.tokyo.events` with `feed` and our `symbol` before it;
every one says `"simulated":true`. The market is a function of its seed, so that whatever was
not delivered (while we were not running, or while the inbox was full) can be made again: such
trades follow with `"backfilled":true`, and the log has their hole.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

import msgspec
import structlog

from connectors.feeds import FeedHealth, Hole, HoleState, Inbox
from connectors.sources.sbi_backfill import Backfill, Remembered
from connectors.sources.sbi_settings import SbiSimSettings
from models.tokyo.events import Event, Trade
from models.tokyo.listings import listing
from models.tokyo.rules import TokyoError
from models.tokyo.sessions import Phase, next_start, phase_at, trades_between
from models.tokyo.simulator import Market
from operators.messages import SECOND, Raw

__all__ = ["SbiSimFeed", "SbiSimSettings"]

_LOG = structlog.get_logger(__name__)
_DAY = 86_400 * SECOND
_TURN = 500  # messages before other feeds of the event loop get their turn
_BURST = 0.25  # seconds of `max_rate` that may go out at once
_LAG_KEPT = 0.9  # of the smoothed lag, at each message
_SHORTEST, _LONGEST, _FILLING = 0.001, 0.05, 0.01  # seconds of sleep; the clock may be set
_ENCODE = msgspec.json.encode
_NOTES = {
    Phase.PRE_OPEN: "before the open",
    Phase.LUNCH: "lunch",
    Phase.PRE_CLOSE: "before the closing auction",
    Phase.CLOSED: "closed",
}


@dataclass(slots=True)
class _Line:
    """One symbol: where its stream stands."""

    symbol: str
    code: str
    head: bytes  # of its messages
    stream: Iterator[Event] | None = None
    event: Event | None = None  # the next
    known: int | None = None  # every trade up to here is delivered, or in a hole
    hole: Hole | None = None  # open


class SbiSimFeed:
    """Play the simulated market at the inbox's time, whatever that is set to."""

    def __init__(self, settings: SbiSimSettings, symbols: Mapping[str, str]) -> None:
        """Take the codes by our names of them, such as {"7203.T": "7203"}.

        Raises:
            TokyoError: A code is not of Tokyo's form.
        """
        self.name = "sbi"
        self.symbols = tuple(symbols)
        self.settings = settings
        self.health = FeedHealth(feed=self.name)
        self.market = Market(settings.seed)
        self._lines: dict[str, _Line] = {}
        for symbol, code in symbols.items():
            listing(code)
            head = b'{"feed":"sbi","symbol":' + _ENCODE(symbol) + b","
            self._lines[symbol] = _Line(symbol, code, head)
        self._remembered = Remembered(self.name)
        self._due: list[tuple[int, str]] = []  # heap of the lines' next events
        # Lines to bring to the present, and ended holes to fill from a time on.
        self._tasks: asyncio.Queue[_Line | tuple[Hole, int]] = asyncio.Queue()
        self._backfills: list[Backfill] = []
        self._allowance = 0.0  # messages that may go out now
        self._heard = 0  # when a message was last delivered

    def remember(self, raw: Raw) -> None:
        """Learn from an entry of the log before a restart what came last."""
        self._remembered.learn(raw)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled; closed hours are waited out."""
        for line in self._lines.values():
            line.known = self._remembered.known.get(line.symbol)
            line.hole = self._remembered.take_open(line.symbol)
            for unfinished in self._remembered.take_ended(line.symbol):
                self._tasks.put_nowait(unfinished)
            self._tasks.put_nowait(line)
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._prepare(inbox))
                    group.create_task(self._play(inbox))
            except* TokyoError as errors:  # the clock stands where no market is simulated
                sentence = str(errors.exceptions[0])
                if self.health.note != sentence:
                    _LOG.warning("market_not_simulated", feed=self.name, note=sentence)
                self.health.state, self.health.note = "stopped", sentence
                await asyncio.sleep(_LONGEST)
            self._begin_again()

    def _begin_again(self) -> None:
        """Bring every line to what is the present then."""
        self._due.clear()
        waiting = [self._tasks.get_nowait() for _ in range(self._tasks.qsize())]
        for line in self._lines.values():
            self._tasks.put_nowait(line)
        for task in waiting:
            if not isinstance(task, _Line):
                self._tasks.put_nowait(task)

    # ----------------------------------------------------------------------- preparing

    async def _prepare(self, inbox: Inbox) -> None:
        """Make the days up to now, in a thread: a stock's takes a tenth of a second."""
        while True:
            task = await self._tasks.get()
            if isinstance(task, _Line):
                await self._join(inbox, task)
            else:
                hole, after = task
                line = self._lines[hole.symbol]
                backfill = await asyncio.to_thread(Backfill, self.market, line.code, after)
                self._fill(line, backfill, hole)

    async def _join(self, inbox: Inbox, line: _Line) -> None:
        """Bring a line to the present; what it missed becomes a hole, and is made again."""
        before = line.known if line.hole is None else line.hole.ts_from
        now = inbox.clock()
        oldest = now - self.settings.backfill_days * _DAY
        if before is not None and before < oldest:
            if trades_between(before, oldest):
                self._give_up(inbox, line, before, oldest)
            before, line.hole = oldest, None
        start = now if before is None else max(now, before)
        stream = self.market.events(line.code, start, quotes=self.settings.quotes)
        event = await asyncio.to_thread(next, stream)
        missed: Backfill | None = None
        if before is not None and before < now:
            missed = await asyncio.to_thread(Backfill, self.market, line.code, before)
        joined = max(start, inbox.clock())
        while event.ts <= joined:
            event = next(stream)
        if missed is not None and before is not None:
            missed.until = joined
            if missed.next is not None or line.hole is not None:
                hole, line.hole = line.hole or self._hole(inbox, line, "down", before), None
                hole = msgspec.structs.replace(hole, state=HoleState.ENDED, ts_to=joined)
                inbox.put_hole(hole)
                self._fill(line, missed, hole)
        line.known, line.stream, line.event = joined, stream, event
        heappush(self._due, (event.ts, line.symbol))

    def _hole(self, inbox: Inbox, line: _Line, cause: str, after: int) -> Hole:
        """Return a new hole behind `after`, still open; it is not told yet."""
        self.health.counts["holes"] += 1
        return Hole(
            feed=self.name,
            symbol=line.symbol,
            cause=cause,
            ts_from=after,
            ts_to=None,
            state=HoleState.OPEN,
            found_at=inbox.clock(),
        )

    def _give_up(self, inbox: Inbox, line: _Line, after: int, until: int) -> None:
        """Write a hole that is too old to be filled."""
        hole = line.hole or self._hole(inbox, line, "down", after)
        self.health.counts["holes_unfilled"] += 1
        inbox.put_hole(
            msgspec.structs.replace(
                hole,
                state=HoleState.UNFILLED,
                ts_to=until,
                resolved_at=inbox.clock(),
                note=f"older than the {self.settings.backfill_days} days that are made again",
            )
        )

    def _fill(self, line: _Line, backfill: Backfill, hole: Hole) -> None:
        """Deliver a hole's trades as soon as rate and inbox allow."""
        assert hole.ts_to is not None  # it has ended
        backfill.head = line.head + b'"backfilled":true,'
        backfill.hole, backfill.until = hole, hole.ts_to
        self._backfills.append(backfill)
        _LOG.info("hole_found", feed=self.name, symbol=line.symbol, cause=hole.cause)

    # ------------------------------------------------------------------------- playing

    async def _play(self, inbox: Inbox) -> None:
        await asyncio.to_thread(phase_at, inbox.clock())  # half a second, the first time
        before, real_before, speed = inbox.clock(), time.monotonic(), 1.0
        while True:
            now, real = inbox.clock(), time.monotonic()
            if real > real_before:
                speed = max(1.0, (now - before) / SECOND / (real - real_before))
                earned = self._allowance + (real - real_before) * self.settings.max_rate
                self._allowance = min(earned, _BURST * self.settings.max_rate)
                before, real_before = now, real
            if not await self._deliver_due(inbox, now):
                continue
            self._deliver_missed(inbox)
            self._judge(now)
            wait = _LONGEST
            if self._due:
                wait = max(_SHORTEST, (self._due[0][0] - now) / SECOND / speed)
            await asyncio.sleep(min(wait, _FILLING if self._backfills else _LONGEST))

    async def _deliver_due(self, inbox: Inbox, now: int) -> bool:
        """Deliver what is due; False if that is so much that others must have their turn."""
        due = self._due
        for _ in range(_TURN):
            if not due or due[0][0] > now:
                return True
            line = self._lines[heappop(due)[1]]
            event = line.event
            assert event is not None  # lines in the heap have one
            assert line.stream is not None
            if now - event.ts > self.settings.late_ns:
                # The clock leapt, or we stood still: what lies between is missed.
                line.stream = line.event = None
                self._tasks.put_nowait(line)
                continue
            self._deliver(inbox, line, event, now)
            line.event = event = next(line.stream)
            heappush(due, (event.ts, line.symbol))
        await asyncio.sleep(0)
        return False

    def _deliver(self, inbox: Inbox, line: _Line, event: Event, now: int) -> None:
        counts, gauges = self.health.counts, self.health.gauges
        trade = isinstance(event, Trade)
        if not trade and self._allowance <= 0.0:
            counts["shed"] += 1
            return
        payload = line.head + _ENCODE(event)[1:]
        put = inbox.put(self.name, "sbi", payload, symbol=line.symbol, replaceable=not trade)
        if not put:
            counts["shed"] += 1
            if trade and line.hole is None:
                assert line.known is not None  # it has joined
                line.hole = self._hole(inbox, line, "shed", line.known)
                inbox.put_hole(line.hole)
            return
        self._sent(payload)
        self._heard = now
        lag = gauges.get("lag_seconds", 0.0)
        late = (now - event.ts) / SECOND
        gauges["lag_seconds"] = _LAG_KEPT * lag + (1.0 - _LAG_KEPT) * late
        if line.hole is None:
            line.known = event.ts
        elif trade:  # there is room again
            hole = msgspec.structs.replace(line.hole, state=HoleState.ENDED, ts_to=event.ts - 1)
            inbox.put_hole(hole)
            self._tasks.put_nowait((hole, hole.ts_from))
            line.hole, line.known = None, event.ts

    def _sent(self, payload: bytes) -> None:
        counts = self.health.counts
        counts["messages"] += 1
        counts["bytes"] += len(payload)
        self._allowance -= 1.0

    def _deliver_missed(self, inbox: Inbox) -> None:
        """Deliver trades of holes, as many as the rate and the inbox allow."""
        for _ in range(_TURN):
            if not self._backfills:
                return
            backfill = self._backfills[0]
            trade = backfill.next
            hole = backfill.hole
            assert hole is not None  # given with its making
            if trade is None:
                self._backfills.pop(0)
                self.health.counts["holes_filled"] += 1
                inbox.put_hole(
                    msgspec.structs.replace(
                        hole,
                        state=HoleState.FILLED,
                        resolved_at=inbox.clock(),
                        trades=hole.trades + backfill.made,
                    )
                )
                continue
            payload = backfill.head + _ENCODE(trade)[1:]
            if self._allowance <= 0.0 or not inbox.put(
                self.name, "sbi", payload, symbol=hole.symbol
            ):
                return
            self._sent(payload)
            self.health.counts["backfilled_trades"] += 1
            backfill.delivered()

    def _judge(self, now: int) -> None:
        """Say in the health report how the feed does."""
        health = self.health
        phase = phase_at(now)
        if phase in _NOTES:
            health.state = "quiet"
            starts = next_start(now) // SECOND
            at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(starts + 9 * 3600))
            health.note = f"Tokyo is {_NOTES[phase]}; trading goes on at {at} there"
            health.gauges["silent_seconds"] = 0.0
        else:
            health.state, health.note = "up", ""
            silent = now - self._heard if self._heard else 0
            health.gauges["silent_seconds"] = max(0.0, silent / SECOND)
