"""Keep one set of streams connected: again after a cut, and replaced without a break."""

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Protocol

from connectors.sources.binance_connection import Line
from connectors.sources.binance_dial import Dial, Dialler
from connectors.sources.binance_holes import Track
from connectors.sources.binance_plan import BinanceSettings, Shard

# Our own loop stood still for so long: what came meanwhile is in the socket, not read yet.
_HELD_UP_SECONDS = 0.5


class Keeper(Protocol):
    """Who is told what happens to a set of streams."""

    def deliver(self, line: Line, payload: bytes) -> None:
        """Take a message."""

    def cut(self, group: "Group", line: Line, cause: str) -> None:
        """Nothing comes any more, since the last message of `line`."""

    def again(self, group: "Group", line: Line) -> None:
        """Messages come again, on `line`."""

    def merged(self, group: "Group") -> None:
        """There is one connection again: what neither brought is lost."""


class Group:
    """The streams of one shard over one connection, or two while one replaces the other."""

    def __init__(
        self, shard: Shard, tracks: list[Track], dialler: Dialler, keeper: Keeper, rotation: float
    ) -> None:
        """Prepare; `rotation` is the age in seconds at which a connection is replaced."""
        self.shard = shard
        self.tracks = tracks
        self.dialler = dialler
        self.settings: BinanceSettings = dialler.settings
        self.keeper = keeper
        self.rotation = rotation
        self.dial: Dial = dialler.dial()
        self.line: Line | None = None  # in use; None while there is none
        self.lines: set[Line] = set()  # open
        self.overlap = False  # two are open, or about to be
        self.holes_open = False
        self.late = False  # what comes is so old that bars close without it
        self.cut_at: float | None = None  # since when nothing comes (monotonic)
        self._patience = self.settings.silence_seconds
        self._lagging_since: float | None = None
        self._stale_at = -self.settings.lag_again_seconds

    async def keep(self) -> None:
        """Keep the streams coming until cancelled."""
        try:
            line = await self._open()
            while True:
                due = await self._watch(line)
                if due in {"cut", "silent"}:
                    self._cut(line, due)
                    line = await self._open()
                else:
                    line = await self._replace(line, due)
        finally:
            for left in list(self.lines):
                left.leave()
            self.lines.clear()
            self.line = None

    async def _open(self) -> Line:
        line = await self._dialled()
        self.line = line
        return line

    async def _dialled(self) -> Line:
        line = await self.dialler.open(self.dial, self.shard.path, self.keeper.deliver)
        self.lines.add(line)
        return line

    def _cut(self, line: Line, cause: str) -> None:
        """Tell that nothing comes any more, and make sure of it."""
        line.drop()
        self.lines.discard(line)
        self.line = None
        self.cut_at = monotonic()
        self.keeper.cut(self, line, cause)
        self.dialler.lost(self.dial, line)

    # ---------------------------------------------------------------------- watching

    async def _watch(self, line: Line) -> str:
        """Return why `line` must be left, as soon as there is a reason."""
        while True:
            before = monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.check_seconds):
                    await line.stirred.wait()
            now = monotonic()
            if not line.alive:
                return "cut"
            if now - before > _HELD_UP_SECONDS:
                line.heard = line.data_heard = now
            if self.holes_open and now - line.opened > self.settings.settle_seconds / 3:
                self.keeper.again(self, line)  # nobody trades, but whoever did would be heard
            if line.shutting_down:
                return "shutdown"
            if now - line.opened > self.rotation:
                return "rotation"
            if self._dumb(line, now):
                return "silent"
            reason = self._silence(line, now) or self._lag(line, now)
            if reason:
                return reason

    def _dumb(self, line: Line, now: float) -> bool:
        """Say whether the other side is gone; ask it before."""
        silent = now - line.heard
        most = self.settings.silence_seconds
        if line.asked_at is not None and line.heard > line.asked_at:
            line.asked_at = None
        if silent < most / 2:
            return False
        if line.asked_at is None and line.ask():
            line.asked_at = now
        # An answer has half of the silence to come.
        return silent >= most and line.asked_at is not None and now - line.asked_at >= most / 2

    def _silence(self, line: Line, now: float) -> str:
        """Say whether another connection is to show if it is the market that is silent."""
        if line.data_heard > line.opened and now - line.data_heard < self.settings.silence_seconds:
            self._patience = self.settings.silence_seconds
        if now - line.data_heard < self._patience or line.asked_at is not None:
            return ""  # one that does not even answer is not in doubt
        self._patience = min(self._patience * 2, self.settings.most_silence_seconds)
        return "silence"

    def _lag(self, line: Line, now: float) -> str:
        """Say whether what comes has been old for long; not again soon after."""
        if not line.lagged or line.lag <= self.settings.lag_seconds:
            self._lagging_since = None
            return ""
        if self._lagging_since is None:
            self._lagging_since = now
        if (
            now - self._lagging_since < self.settings.lag_patience_seconds
            or now - self._stale_at < self.settings.lag_again_seconds
        ):
            return ""
        self._stale_at = now
        return "lag"

    # --------------------------------------------------------------------- replacing

    async def _replace(self, old: Line, due: str) -> Line:
        """Return the connection to use from now on: a new one that delivers, if it can be had."""
        counts = self.dialler.health.counts
        counts[{"lag": "stale", "silence": "probes"}.get(due, "rotations")] += 1
        now = monotonic()
        if now - old.opened < self.settings.stable_seconds:
            self.dial.due = now + self.dial.backoff.next()  # not in a circle
        if due == "rotation":
            self.dial.host = 0
            self.dial.failures = 0
        self.overlap = True
        opening = asyncio.create_task(self._dialled())
        try:
            new = await self._opened_beside(old, opening)
            if new is None:  # the old one went first
                self.overlap = False
                self.keeper.merged(self)
                new = await opening
                self.line = new
                return new
            return await self._hand_over(old, new)
        finally:
            opening.cancel()
            self.overlap = False
            self.keeper.merged(self)

    async def _opened_beside(self, old: Line, opening: asyncio.Task[Line]) -> Line | None:
        """Return the new connection; None if the old one was cut before it stood."""
        while True:
            before = monotonic()
            await asyncio.wait({opening}, timeout=self.settings.check_seconds)
            now = monotonic()
            if now - before > _HELD_UP_SECONDS:
                old.heard = now
            if opening.done():
                return opening.result()
            if not old.alive:
                self._cut(old, "cut")
                return None
            if self._dumb(old, now):
                self._cut(old, "silent")
                return None

    async def _hand_over(self, old: Line, new: Line) -> Line:
        """Let both deliver until nothing is missing between them; return which one stays."""
        settings = self.settings
        brought = old.messages
        began = monotonic()
        while new.alive and old.alive:
            now = monotonic()
            delivered = 0.0 if new.first_data is None else now - new.first_data
            whole = all(track.pending is None for track in self.tracks)
            if now - began >= settings.overlap_seconds:
                break
            if whole and delivered >= settings.overlap_least_seconds:
                break
            await asyncio.sleep(settings.check_seconds / 2)
        if not new.alive:
            self.lines.discard(new)
            self.dialler.lost(self.dial, new)
            old.last_ns = max(old.last_ns, new.last_ns)
            return old  # which is watched again: if it is gone as well, that is a cut
        if new.first_data is None and old.alive and old.messages > brought:
            new.drop()  # open and dumb, while the market is not
            self.lines.discard(new)
            self.dial.due = monotonic() + self.dial.backoff.next()
            return old
        self.line = new
        self.dial.failures = 0
        if old.alive and old.messages == brought and new.first_data is not None:
            # It was open and dumb while the market was not: half-open.
            self.keeper.cut(self, old, "silent")
            self.keeper.again(self, new)
        if old.alive:
            await old.close()  # what is on its way still comes
        old.drop()
        self.lines.discard(old)
        return new
