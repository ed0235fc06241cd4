"""What the log before a restart tells the feed, and what it makes of it."""

import msgspec

from connectors.sources.binance_holes import Loss, Losses, Track
from connectors.sources.binance_ids import Tape
from connectors.sources.binance_messages import Data, PageError, peek, read_envelope, usable
from connectors.sources.binance_plan import BinanceSettings
from operators.checks import UNDECODABLE
from operators.messages import SECOND, Hole, HoleState, Raw

_hole = msgspec.json.Decoder(Hole).decode


class Past:
    """The ids that stand in the log, when its last entry came, and which holes it left."""

    def __init__(self, feed: str, settings: BinanceSettings) -> None:
        """Know of nothing."""
        self.feed = feed
        self.settings = settings
        self.last_ns: int | None = None
        self.ran_until = 0  # the log's last Clock
        self.holes: dict[tuple[str, int], Hole] = {}  # not resolved

    def remember(self, raw: Raw, tracks: dict[str, Track]) -> None:
        """Learn from one entry; those that mean nothing to us are passed over."""
        if raw.kind == "hole":
            self._hole(raw, tracks)
        elif raw.kind == "clock":
            self.ran_until = raw.ts_init
        elif raw.kind in {"binance", "binance_rest"}:
            self._trades(raw, tracks)

    def _trades(self, raw: Raw, tracks: dict[str, Track]) -> None:
        self.last_ns = raw.ts_init
        if raw.kind == "binance":
            found = peek(raw.payload)
            if not isinstance(found, Data) or found.e != self.settings.trades:
                return
            trade_id = found.a if found.e == "aggTrade" else found.t
            ids = [trade_id] if isinstance(trade_id, int) else []
            symbol = found.s or ""
            if not usable(found.p, found.q, found.T):
                return
        else:
            try:
                symbol, rows = read_envelope(raw.payload, self.settings.trades)
            except PageError:
                return
            ids = [row.id for row in rows]
        track = tracks.get(symbol)
        if track is None:
            return
        track.last_ns = raw.ts_init
        for trade_id in ids:
            track.tape.take(trade_id)

    def _hole(self, raw: Raw, tracks: dict[str, Track]) -> None:
        try:
            hole = _hole(raw.payload)
        except UNDECODABLE:
            return
        track = tracks.get(hole.symbol)
        if hole.feed != self.feed or track is None:
            return
        track.last_from = max(track.last_from, hole.ts_from)
        if hole.state in {HoleState.OPEN, HoleState.ENDED}:
            self.holes[hole.symbol, hole.ts_from] = hole
            return
        self.holes.pop((hole.symbol, hole.ts_from), None)
        if hole.first_id is not None and hole.last_id is not None:
            track.tape.forget(hole.first_id, hole.last_id)  # not fetched again if given up

    def take_up(self, tracks: dict[str, Track], losses: Losses) -> bool:
        """Begin the hole of each symbol over the time we were down; False if we never ran.

        Holes that the log left unresolved are filled with it. After a stop longer than
        `max_down_seconds` nothing is fetched, and all of them are given up.
        """
        since = self.last_ns
        if since is None:
            if not self.holes:
                return False
            since = min(hole.ts_from for hole in self.holes.values())
        # The venue may have been silent for long before we stopped.
        down = (losses.inbox.clock() - max(since, self.ran_until)) / SECOND
        most = self.settings.max_down_seconds
        hopeless = ""
        if down > most:
            hopeless = f"the engine was down for {down:.0f} s; up to {most:.0f} s are fetched"
        for track in tracks.values():
            if hopeless:
                track.tape = Tape()  # so that what was missed is not missed
            loss = losses.open(track, "down", since)
            loss.hopeless = hopeless
            for gap in track.tape.gaps:
                losses.lack(loss, gap)
            for hole in [hole for (name, _), hole in self.holes.items() if name == track.symbol]:
                left = Loss(msgspec.structs.replace(hole, ts_to=hole.ts_to or since), after=loss)
                track.losses.append(left)
                if hopeless:
                    losses.give_up(track, left, hopeless)
        self.holes.clear()
        return True

    def look_back(self, tracks: dict[str, Track]) -> None:
        """Treat a run that has ended as the past of the next one."""
        for track in tracks.values():
            if track.last_ns:
                self.last_ns = max(self.last_ns or 0, track.last_ns)
            for loss in track.losses:
                self.holes[track.symbol, loss.hole.ts_from] = loss.hole
            track.losses.clear()
            track.pending = track.suspect = track.source = track.mender = None
            for gap in track.tape.gaps:
                gap.owner = None
