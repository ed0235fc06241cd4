"""Take in Binance's messages: each once into the inbox, and what is missing into the holes."""

from time import monotonic

import structlog

from connectors.sources.binance_backfill import Backfill
from connectors.sources.binance_connection import Line
from connectors.sources.binance_group import Group
from connectors.sources.binance_holes import Loss, Losses, Track
from connectors.sources.binance_ids import NEVER, Gap
from connectors.sources.binance_messages import SHUTDOWN, Answer, Data, peek, usable
from connectors.sources.binance_plan import BinanceSettings
from operators.checks import MAX_ID, MILLISECOND
from operators.messages import SECOND

log = structlog.get_logger(__name__)

_LAG_WEIGHT = 0.05  # of the newest trade in the smoothed lag: some twenty count
_CONFIRMS = 1000  # ids behind one that leapt: a trade there shows that it was true
_SHED_SECONDS = 1.0  # without a trade, after which an inbox with room ends a loss
_ROOM_SHARE = 0.5


class Intake:
    """Where all connections deliver to; it never waits."""

    def __init__(
        self,
        name: str,
        settings: BinanceSettings,
        tracks: dict[str, Track],
        losses: Losses,
        backfill: Backfill,
    ) -> None:
        """Take what is known of each symbol, and who writes and fills its holes."""
        self.name = name
        self.kind = settings.trades
        self.settings = settings
        self.tracks = tracks
        self.losses = losses
        self.backfill = backfill
        self.inbox = losses.inbox
        self.clock = losses.inbox.clock
        self.health = losses.health
        self.groups: dict[str, Group] = {}  # by symbol
        self._shedding: dict[str, float] = {}  # symbol: when its last trade was shed (monotonic)

    def deliver(self, line: Line, payload: bytes) -> None:
        """Take a message as it came from the socket."""
        now = self.clock()
        counts = self.health.counts
        counts["messages"] += 1
        counts["bytes"] += len(payload)
        found = peek(payload)
        if isinstance(found, Answer):
            self._answered(line, found)
            return
        if found is None:
            self._odd(payload, now)
            return
        if found.e == SHUTDOWN:
            line.shutting_down = True
            line.stirred.set()
            return
        track = self.tracks.get(found.s) if found.s is not None else None
        if track is None:
            self._odd(payload, now)
            return
        if line.first_data is None:
            self._first(track, line)
        line.data_heard = line.heard
        line.last_ns = now
        line.messages += 1
        if found.e == self.kind:
            trade_id = found.a if self.kind == "aggTrade" else found.t
            if (
                isinstance(trade_id, int)
                and 0 <= trade_id <= MAX_ID
                and found.m is not None
                and usable(found.p, found.q, found.T)
            ):
                self._lag(line, found, now)
                self._trade(line, track, trade_id, payload, now)
            else:
                self._odd(payload, now)  # its id stays missing, so that it is fetched
        elif found.u is not None and found.b is not None:
            self._quote(track, found.u, payload, now)
        elif found.k is not None:
            self._candle(track, found, payload, now)
        else:
            self._odd(payload, now)

    # ------------------------------------------------------------- connections, as told

    def cut(self, group: Group, line: Line, cause: str) -> None:
        """Open a hole in each symbol of `group`, behind the last message of `line`."""
        for track in group.tracks:
            if _open(track):
                continue  # nothing has come since the one that is open
            tails = track.tails
            loss = self.losses.open(track, cause, line.last_ns)
            loss.after = tails[-1] if tails else None
            if track.pending is not None:  # what another connection shows to be missing
                self.losses.absorb(track, track.pending, loss)
                track.pending = None
        group.holes_open = True

    def again(self, group: Group, line: Line) -> None:
        """End the holes of `group`: what comes from now on comes by `line`."""
        group.holes_open = False
        now = self.clock()
        for track in group.tracks:
            for loss in _open(track):
                # A trade that came by this connection has shown what is missing before it.
                self.losses.end(track, loss, now, tail=track.source is not line)
                if loss.hopeless:
                    self.losses.give_up(track, loss, loss.hopeless, now)
            self._mend(track)

    def merged(self, group: Group) -> None:
        """Count as lost what neither of two connections brought."""
        for track in group.tracks:
            loss, track.pending = track.pending, None
            if loss is not None:
                self.losses.tell(track, loss)
                self._mend(track)

    def tick(self) -> None:
        """Look after what no message tells: trades that come late, and trades shed."""
        for group in dict.fromkeys(self.groups.values()):
            self._judge_lag(group)
        inbox = self.inbox
        room = len(inbox) < inbox.settings.max_messages * _ROOM_SHARE
        for symbol, at in list(self._shedding.items()):
            if room and monotonic() - at > _SHED_SECONDS:
                self._shed_end(self.tracks[symbol], self.clock())

    def _judge_lag(self, group: Group) -> None:
        """Open holes while the trades of a connection come late, and end them with the lag."""
        line = group.line
        if line is None or not line.alive or group.overlap:
            return
        most = self.settings.late_seconds
        if not group.late and line.lagged and line.lag > most:
            group.late = True
            since = self.clock() - int(line.lag * SECOND)
            for track in group.tracks:
                if not _open(track):
                    self.losses.open(track, "lag", since)
        elif group.late and line.lag < most / 2:
            group.late = False
            for track in group.tracks:
                for loss in _open(track):
                    if loss.hole.cause == "lag":
                        self.losses.end(track, loss, self.clock(), tail=False)
                self._mend(track)

    def _first(self, track: Track, line: Line) -> None:
        line.first_data = now = monotonic()
        group = self.groups[track.symbol]
        if group.cut_at is not None:
            self.health.gauges["cut_to_good_seconds"] = now - group.cut_at
            group.cut_at = None
        if group.holes_open:
            self.again(group, line)

    # ------------------------------------------------------------------------- messages

    def _trade(self, line: Line, track: Track, trade_id: int, payload: bytes, now: int) -> None:
        tape = track.tape
        if trade_id != tape.newest + 1 and not self._plausible(line, track, trade_id, payload, now):
            return
        if not self.inbox.put(self.name, "binance", payload, symbol=track.symbol, ts_init=now):
            self._shed(line, track, trade_id, now)
            return
        if trade_id == tape.newest + 1:
            tape.newest = trade_id
        elif trade_id > tape.newest:
            gap = tape.take(trade_id)
            if gap is not None:
                self._leapt(track, gap, now)
        else:
            self._late(track, trade_id)
        track.last_ns = now
        track.source = line
        if track.losses:
            self._shown(track, line)
        if self._shedding and track.symbol in self._shedding:
            self._shed_end(track, now)

    def _plausible(self, line: Line, track: Track, trade_id: int, payload: bytes, now: int) -> bool:
        """Say whether a trade out of sequence is to be taken in as new."""
        tape = track.tape
        if tape.knows(trade_id):
            self.health.counts["duplicates"] += 1
            self._shown(track, line)
            return False
        far = tape.newest != NEVER and trade_id - tape.newest > self.settings.leap_ids
        if far and not self._believed(track, trade_id, now):
            # The log holds what the venue sent; whether it is a trade, quality says.
            self.inbox.put(self.name, "binance", payload, symbol=track.symbol, ts_init=now)
            return False
        return True

    def _late(self, track: Track, trade_id: int) -> None:
        """Take in a trade that was missing, or is older than all that are known."""
        owner = track.tape.owner_of(trade_id) if trade_id >= track.tape.floor else None
        track.tape.take(trade_id)
        if owner is None:
            return
        self.losses.got(owner)
        if owner is track.pending and not owner.lacking:
            track.pending = None  # the two connections were out of step, no more
        self.losses.settle(track)

    def _believed(self, track: Track, trade_id: int, now: int) -> bool:
        """Say whether an id that leapt far is true: another came shortly before it."""
        suspect, track.suspect = track.suspect, trade_id
        if suspect is None or not 0 < trade_id - suspect <= _CONFIRMS:
            return False
        track.suspect = None
        gap = track.tape.take(suspect)
        if gap is not None:
            self._leapt(track, gap, now)
        return True

    def _leapt(self, track: Track, gap: Gap[Loss], now: int) -> None:
        """Say whose loss the ids of `gap` are, and have them fetched."""
        tails = track.tails
        if tails:
            loss = tails[0]
        elif self.groups[track.symbol].overlap:
            loss = track.pending or self.losses.open(track, "ids", track.last_ns, now, tell=False)
            track.pending = loss
        else:
            loss = self.losses.skipped(track, now)
        self.losses.lack(loss, gap)
        if loss is track.pending:
            return
        if loss.hole.ts_to is not None:
            # At once, and not when it is asked for: bars wait only for what they are told of.
            self.losses.refresh(track)
        if loss.lacking > self.settings.most_ids:
            self.losses.give_up(track, loss, f"more than {self.settings.most_ids} are not fetched")
        self._mend(track)

    def _shown(self, track: Track, line: Line) -> None:
        """A live trade shows how far the tape reaches: no loss has an open end any more."""
        track.source = line
        tails = track.tails
        for loss in tails:
            loss.tail = False
        if tails:
            self._mend(track)

    def _mend(self, track: Track) -> None:
        self.losses.settle(track)
        if any(loss.hole.ts_to is not None for loss in track.losses):
            self.backfill.mend(track)

    def _shed(self, line: Line, track: Track, trade_id: int, now: int) -> None:
        """Note a trade that the full inbox did not take, to be fetched once it has room."""
        self.health.counts["shed"] += 1
        if trade_id <= track.tape.newest:
            return  # it was missing before, and still is
        loss = self.losses.shed(track, now)
        gap = track.tape.lose(trade_id, loss)
        self.losses.lacks(loss, trade_id, trade_id)
        if gap is not None:
            self._leapt(track, gap, now)
        self._shown(track, line)
        self._shedding[track.symbol] = monotonic()

    def _shed_end(self, track: Track, now: int) -> None:
        del self._shedding[track.symbol]
        for loss in track.losses:
            if loss.hole.cause == "shed" and loss.hole.ts_to is None:
                self.losses.end(track, loss, now, tail=False, tell=False)
        self._mend(track)

    def _quote(self, track: Track, update_id: int, payload: bytes, now: int) -> None:
        if track.quotes.knows(update_id):
            self.health.counts["duplicates"] += 1
            return
        track.quotes.take(update_id)
        self._put(track, payload, now)

    def _candle(self, track: Track, found: Data, payload: bytes, now: int) -> None:
        candle = found.k
        if candle is None:
            return
        if not track.candles.take(candle.i, candle.t, found.E or 0, closed=candle.x):
            self.health.counts["duplicates"] += 1
            return
        self._put(track, payload, now, replaceable=not candle.x)

    def _put(self, track: Track, payload: bytes, now: int, *, replaceable: bool = True) -> None:
        if not self.inbox.put(
            self.name,
            "binance",
            payload,
            symbol=track.symbol,
            ts_init=now,
            replaceable=replaceable,
        ):
            self.health.counts["shed"] += 1

    def _odd(self, payload: bytes, now: int) -> None:
        """Put what has no known shape into the log all the same: normalise says what it is."""
        if not self.inbox.put(self.name, "binance", payload, ts_init=now, replaceable=True):
            self.health.counts["shed"] += 1

    def _answered(self, line: Line, answer: Answer) -> None:
        if answer.code is not None:
            self.health.counts["refused"] += 1
            log.warning("binance_refused", host=line.host, code=answer.code)

    def _lag(self, line: Line, found: Data, now: int) -> None:
        told = found.E if found.E is not None else found.T
        if told is None:
            return
        lag = (now - told * MILLISECOND) / SECOND
        line.lag = line.lag + (lag - line.lag) * _LAG_WEIGHT if line.lagged else lag
        line.lagged = True


def _open(track: Track) -> list[Loss]:
    """Return the hole in which nothing comes, if there is one; shedding is another matter."""
    return [loss for loss in track.losses if loss.hole.ts_to is None and loss.hole.cause != "shed"]
