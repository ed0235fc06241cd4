"""Keep one set of symbols connected: reconnect when cut or silent, rotate before Yahoo closes."""

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import structlog

from connectors.feeds import FeedHealth
from connectors.resilience import Backoff
from connectors.sources.yahoo_connection import Connection
from connectors.sources.yahoo_settings import YahooSettings

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """What a line tells its feed."""

    def deliver(self, line: "Line", connection: Connection, payload: bytes) -> None:
        """Take a frame."""

    def lost(self, line: "Line", cause: str, ts_from: int) -> None:
        """Take note that from `ts_from` (ns) on frames may be missing."""

    def patience(self, line: "Line") -> float | None:
        """Return after how many seconds silence is strange now; None where no market trades."""

    def check(self, line: "Line") -> None:
        """Look at what only time brings."""


class Line:
    """One connection at a time for a set of symbols; two while they change over."""

    def __init__(
        self,
        settings: YahooSettings,
        names: tuple[str, ...],
        health: FeedHealth,
        tls: ssl.SSLContext | None,
        clock: Callable[[], int],
        owner: Owner,
    ) -> None:
        """Serve Yahoo's `names`."""
        self.settings = settings
        self.names = names
        self.health = health
        self.tls = tls
        self.clock = clock
        self.owner = owner
        self.began_ns = clock()
        self.current: Connection | None = None
        self.newer: Connection | None = None
        self.lost_at: float | None = None  # until a price comes again
        self.ended = ""  # why the last connection did
        self._was_lost = False
        self._backoff = self._new_backoff()
        self._rotation_backoff = self._new_backoff()
        self._rotate_from = 0.0  # not before
        self._fruitless = 0  # connections in a row that brought nothing
        self._watched_from = 0.0  # silence counts from here, where a market has just opened
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def silent_seconds(self) -> float | None:
        """For how long no price has come though a market trades; None where none could."""
        if self.current is None or self.current.subscribed is None:
            return None
        heard = self.current.heard
        since = self.current.subscribed if heard is None else heard
        return monotonic() - max(since, self._watched_from)

    @property
    def limit(self) -> float | None:
        """How much silence is too much now."""
        patience = self.owner.patience(self)
        if patience is None:
            return None
        doubled = patience * 2.0 ** min(self._fruitless, 16)
        return min(doubled, max(self.settings.most_silent_seconds, patience))

    @property
    def state(self) -> str:
        """Whether it is "up", "quiet" or "cut"."""
        limit = self.limit
        if self.current is None or not self.current.alive:
            return "cut"
        if self.lost_at is not None and limit is not None:
            return "cut"  # connected, but nothing has come yet
        heard = self.current.heard
        # Where no market trades, prices may come all the same, as before and after a session.
        known = self.settings.quiet_seconds if limit is None else limit
        return "quiet" if heard is None or monotonic() - heard > known else "up"

    def hear(self) -> None:
        """Take note that a price came."""
        self._fruitless = 0
        self._backoff.reset()
        if self.lost_at is not None:
            self.health.gauges["cut_to_good_seconds"] = monotonic() - self.lost_at
            self.lost_at = None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                if self.current is None:
                    self.current = self._open()
                await self._wait()
                now = monotonic()
                if self.owner.patience(self) is None:
                    self._watched_from = now
                if self.current.task.done():
                    await self._replace(self.current, "cut")
                elif self._is_silent():
                    self.health.counts["stale"] += 1
                    self._fruitless += self.current.heard is None
                    self._stop(self.current)
                    await self._replace(self.current, "silent")
                else:
                    self._rotate(self.current, now)
                self.owner.check(self)
        finally:
            for connection in (self.current, self.newer):
                if connection is not None:
                    self._stop(connection)
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _wait(self) -> None:
        tasks = {c.task for c in (self.current, self.newer) if c is not None}
        await asyncio.wait(
            tasks, timeout=self.settings.check_seconds, return_when=asyncio.FIRST_COMPLETED
        )

    def _is_silent(self) -> bool:
        limit, silent = self.limit, self.silent_seconds
        return limit is not None and silent is not None and silent > limit

    async def _replace(self, current: Connection, cause: str) -> None:
        """Go on without `current`: with the newer one if there is one, else with a new one."""
        newer, self.newer = self.newer, None
        if newer is not None and newer.alive and newer.heard is not None:
            self._take_over(current, newer)  # it delivered before the other ended
            return
        last = self.began_ns if current.last_ns is None else current.last_ns
        self.ended = "silence" if cause == "silent" else current.ended
        log.warning("yahoo_lost", cause=cause, ended=self.ended, symbols=len(self.names))
        if self.lost_at is None:
            self.lost_at = monotonic()
        self._was_lost = True
        self.current = None
        self.owner.lost(self, cause, last)
        if newer is not None:
            if newer.task.done() or cause == "silent":  # if one is not served, nor is the other
                self._stop(newer)
            else:
                self.current = newer
                return
        self.owner.check(self)
        await asyncio.sleep(self._backoff.next())

    def _rotate(self, current: Connection, now: float) -> None:
        settings = self.settings
        newer = self.newer
        if newer is None:
            if now - current.started >= settings.max_age_seconds and now >= self._rotate_from:
                self.newer = self._open()
            return
        if newer.task.done():
            self._put_off(now)
        elif newer.subscribed is not None and now - newer.subscribed >= settings.overlap_seconds:
            missed = current.heard is not None and current.heard > newer.subscribed
            if newer.heard is not None or not missed:  # or the market is quiet
                self._stop(current)
                self._take_over(current, newer)
            elif now - newer.started >= settings.rotation_patience_seconds:
                self._put_off(now)

    def _take_over(self, older: Connection, newer: Connection) -> None:
        """Go on with the newer connection; a hole if the older one was dead before it came."""
        heard, subscribed = older.heard or 0.0, newer.subscribed or 0.0
        if newer.brought_news and heard < subscribed and older.last_ns is not None:
            log.warning("yahoo_lost", cause="silent", ended="silence", symbols=len(self.names))
            self.owner.lost(self, "silent", older.last_ns)
        self.current, self.newer = newer, None
        self._rotation_backoff.reset()
        self.health.counts["rotations"] += 1
        log.info("yahoo_rotated", symbols=len(self.names))

    def _put_off(self, now: float) -> None:
        if self.newer is not None:
            self._stop(self.newer)
        self.newer = None
        self._rotate_from = now + self._rotation_backoff.next()

    def _open(self) -> Connection:
        return Connection(
            self.settings, self.names, self.tls, self.clock, self._delivered, self._subscribed
        )

    def _delivered(self, connection: Connection, payload: bytes) -> None:
        self.owner.deliver(self, connection, payload)

    def _subscribed(self, _connection: Connection) -> None:
        self.health.counts["connections"] += 1
        if self._was_lost:
            self._was_lost = False
            self.health.counts["reconnects"] += 1

    def _stop(self, connection: Connection) -> None:
        """Close it beside everything else: a peer that is gone takes its time."""
        connection.task.cancel()
        self._closing.add(connection.task)
        connection.task.add_done_callback(self._closing.discard)

    def _new_backoff(self) -> Backoff:
        return Backoff(self.settings.backoff_first_seconds, self.settings.backoff_most_seconds)
