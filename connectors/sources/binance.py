"""Binance spot, live: trades and quotes by WebSocket, and what it lost by REST.

What goes into the log is the venue's bytes. Beside them the feed keeps, for each symbol, which
trade ids stand in the log: so it drops what two overlapping connections both bring, proves
what is missing, and fetches exactly that.
"""

import asyncio
import ssl
from contextlib import suppress
from time import monotonic

from connectors.feeds import FeedHealth, Inbox
from connectors.sources.binance_backfill import Backfill
from connectors.sources.binance_dial import Dialler
from connectors.sources.binance_group import Group
from connectors.sources.binance_holes import Losses, Track
from connectors.sources.binance_intake import Intake
from connectors.sources.binance_past import Past
from connectors.sources.binance_plan import BinanceSettings, plan
from connectors.sources.binance_rest import BinanceRest
from operators.messages import Raw

__all__ = ["BinanceFeed", "BinanceSettings"]

NAME = "binance"
_REPORT_SECONDS = 0.25
_STAGGER = 0.05  # connections are replaced apart from one another, by this share of their age


class BinanceFeed:
    """The feed of `symbols`, which are named as the venue names them.

    Payloads go to the inbox verbatim, kind "binance"; what was fetched goes as kind
    "binance_rest", an envelope around the venue's rows. Losses are told as holes.
    """

    def __init__(
        self,
        settings: BinanceSettings,
        symbols: tuple[str, ...],
        tls: ssl.SSLContext | None = None,
        name: str = NAME,
    ) -> None:
        """Plan the connections; nothing is opened yet.

        Raises:
            ValueError: the symbols cannot be shared out over connections.
        """
        self.name = name
        self.settings = settings
        self.symbols = tuple(symbols)
        self.health = FeedHealth(name)
        self.tls = tls
        self.shards = plan(settings, self.symbols)
        self.tracks = {symbol: Track(symbol) for symbol in self.symbols}
        self.past = Past(name, settings)
        self.groups: list[Group] = []

    def remember(self, raw: Raw) -> None:
        """Learn from an entry of the log before a restart what came last."""
        self.past.remember(raw, self.tracks)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled. Nothing that a venue or a network does ends it."""
        settings, health = self.settings, self.health
        losses = Losses(self.name, health, inbox)
        async with BinanceRest(settings, health, self.tls) as rest:
            backfill = Backfill(settings, rest, losses, inbox, health)
            intake = Intake(self.name, settings, self.tracks, losses, backfill)
            dialler = Dialler(settings, self.tls, health, inbox.clock)
            self.groups = [
                Group(
                    shard,
                    [self.tracks[symbol] for symbol in shard.symbols],
                    dialler,
                    intake,
                    settings.rotation_seconds * (1.0 - _STAGGER * place / len(self.shards)),
                )
                for place, shard in enumerate(self.shards)
            ]
            intake.groups = {symbol: g for g in self.groups for symbol in g.shard.symbols}
            if self.past.take_up(self.tracks, losses):
                for group in self.groups:
                    group.holes_open = True
            try:
                async with asyncio.TaskGroup() as tasks:
                    for group in self.groups:
                        tasks.create_task(group.keep(), name=f"binance {group.shard.symbols[0]}")
                    tasks.create_task(self._report(intake, rest))
            finally:
                health.state = "stopped"
                with suppress(asyncio.CancelledError):
                    await backfill.stop()
                self.past.look_back(self.tracks)  # in case it is begun again

    async def _report(self, intake: Intake, rest: BinanceRest) -> None:
        """Keep the health true, and look after what no message brings up."""
        while True:
            self._judge(rest)
            intake.tick()
            await asyncio.sleep(_REPORT_SECONDS)

    def _judge(self, rest: BinanceRest) -> None:
        health = self.health
        now = monotonic()
        lines = [g.line for g in self.groups if g.line is not None and g.line.alive]
        down = [group for group in self.groups if group.line is None]
        notes = [rest.note] if rest.note else []
        if down:
            why = next((group.dial.note for group in down if group.dial.note), "connecting")
            notes.insert(0, f"{len(down)} of {len(self.groups)} connections are down: {why}")
        silent = [now - line.data_heard for line in lines]
        if not lines:
            begun = any(g.dial.note for g in self.groups) or health.counts["connections"]
            health.state = "cut" if begun else "starting"
        else:
            # The symbols of a connection that is down have their holes in the log.
            quiet = min(silent) >= self.settings.silence_seconds
            health.state = "quiet" if quiet else "up"
        health.note = ". ".join(notes)
        gauges = health.gauges
        gauges["connections_open"] = float(sum(len(group.lines) for group in self.groups))
        gauges["silent_seconds"] = max(silent, default=0.0)
        gauges["lag_seconds"] = max((line.lag for line in lines if line.lagged), default=0.0)
