"""What was lost of each symbol, as the log is told: found, ended, and filled or given up."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic

import msgspec

from connectors.feeds import FeedHealth, Hole, HoleState, Inbox
from connectors.sources.binance_ids import NEVER, Candles, Gap, Recent, Tape

_GROWS_SECONDS = 10.0  # losses of ids follow one another; so long they are one hole


@dataclass(slots=True, eq=False)
class Loss:
    """A hole that is not resolved yet, and how many of its trades are still missing."""

    hole: Hole  # as it is known now
    found: float = field(default_factory=monotonic)
    fresh: bool = True  # the log knows it as it is
    wanted: bool = True  # its trades are to be fetched
    lacking: int = 0
    # The stream came back, and has not shown yet which trade is the newest: there may be more
    # missing behind the last one known.
    tail: bool = False
    ended: float = 0.0
    after: "Loss | None" = None  # not filled before this one, whose tail it shares
    resolved: bool = False
    lost: int = 0  # trades that ever lacked
    hopeless: str = ""  # why nothing of it is fetched


@dataclass(slots=True, eq=False)
class Track:
    """One symbol: what of it stands in the log, and what should."""

    symbol: str
    tape: Tape[Loss] = field(default_factory=Tape)
    quotes: Recent = field(default_factory=Recent)
    candles: Candles = field(default_factory=Candles)
    losses: list[Loss] = field(default_factory=list)  # unresolved, oldest first
    last_ns: int = 0  # receipt of the last trade
    last_from: int = 0  # of its last hole: two must not begin alike
    suspect: int | None = None  # an id that leapt too far to be believed at once
    source: object = None  # the connection of the last trade
    pending: Loss | None = None  # missing, unless the other connection still brings it
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    mender: "asyncio.Task[None] | None" = None

    @property
    def tails(self) -> list[Loss]:
        """Return the losses whose end is open."""
        return [loss for loss in self.losses if loss.tail]


class Losses:
    """Writes the holes of all symbols: OPEN, ENDED, then FILLED or UNFILLED."""

    def __init__(self, feed: str, health: FeedHealth, inbox: Inbox) -> None:
        """Count in `health` and write to `inbox`."""
        self.feed = feed
        self.health = health
        self.inbox = inbox

    def open(
        self, track: Track, cause: str, ts_from: int, ts_to: int | None = None, *, tell: bool = True
    ) -> Loss:
        """Begin a hole behind `ts_from` (ns), which has ended already where `ts_to` is given.

        One that is not told may turn out to be none.
        """
        hole = Hole(
            feed=self.feed,
            symbol=track.symbol,
            cause=cause,
            ts_from=ts_from,
            ts_to=None if ts_to is None else max(ts_to, ts_from),
            state=HoleState.OPEN if ts_to is None else HoleState.ENDED,
            found_at=self.inbox.clock(),
        )
        loss = Loss(hole, wanted=tell)
        if tell:
            self.tell(track, loss)
        return loss

    def tell(self, track: Track, loss: Loss) -> None:
        """Let the log know a hole that was held back."""
        loss.wanted = True
        hole = loss.hole
        ts_from = max(hole.ts_from, track.last_from + 1)
        ts_to = None if hole.ts_to is None else max(hole.ts_to, ts_from)
        loss.hole = msgspec.structs.replace(hole, ts_from=ts_from, ts_to=ts_to)
        track.last_from = ts_from
        track.losses.append(loss)
        self.health.counts["holes"] += 1
        self._write(loss)

    def skipped(self, track: Track, ts_to: int) -> Loss:
        """Return the hole of ids that a live stream skipped, which ends at `ts_to` (ns)."""
        last = track.losses[-1] if track.losses else None
        if (
            last is not None
            and last.hole.cause == "ids"
            and not last.hole.trades
            and monotonic() - last.found < _GROWS_SECONDS
        ):
            last.hole = msgspec.structs.replace(last.hole, ts_to=max(ts_to, last.hole.ts_from))
            last.fresh = False
            return last
        return self.open(track, "ids", track.last_ns, ts_to)

    def shed(self, track: Track, now: int) -> Loss:
        """Return the hole of trades that the inbox did not take, open or open again."""
        for loss in reversed(track.losses):
            if loss.hole.cause == "shed" and not loss.hole.trades:
                loss.hole = msgspec.structs.replace(loss.hole, ts_to=None, state=HoleState.OPEN)
                loss.fresh = False
                return loss
        return self.open(track, "shed", track.last_ns or now)

    def end(self, track: Track, loss: Loss, ts_to: int, *, tail: bool, tell: bool = True) -> None:
        """End a hole: messages come again. With a `tail`, what is missing must be asked for.

        With `tell` off, the log is told later: it need not hear of each pause in a long loss.
        """
        ts_to = max(ts_to, loss.hole.ts_from)
        loss.hole = msgspec.structs.replace(loss.hole, ts_to=ts_to, state=HoleState.ENDED)
        loss.ended = monotonic()
        loss.tail = tail and track.tape.newest != NEVER
        if tail and track.tape.newest == NEVER and not loss.hopeless:
            loss.hopeless = "no trade before it is known, from which to ask on"
        loss.fresh = False
        if tell:
            self.refresh(track)

    def lack(self, loss: Loss, gap: Gap[Loss]) -> None:
        """Note that a gap is of this hole."""
        gap.owner = loss
        self.lacks(loss, gap.first, gap.last)

    @staticmethod
    def lacks(loss: Loss, first: int, last: int) -> None:
        """Note that ids, `first` to `last`, are missing in this hole."""
        loss.lacking += last - first + 1
        loss.lost += last - first + 1
        known = loss.hole
        loss.hole = msgspec.structs.replace(
            known,
            first_id=first if known.first_id is None else min(known.first_id, first),
            last_id=last if known.last_id is None else max(known.last_id, last),
        )
        loss.fresh = False

    def absorb(self, track: Track, held: Loss, loss: Loss) -> None:
        """Make what a hole lacks, that the log was never told of, part of another."""
        for gap in track.tape.gaps:
            if gap.owner is held:
                self.lack(loss, gap)

    @staticmethod
    def got(loss: Loss, fetched: int = 0) -> None:
        """Note that one trade came late, or that `fetched` ones were fetched."""
        loss.lacking -= fetched or 1
        if fetched:
            loss.hole = msgspec.structs.replace(loss.hole, trades=loss.hole.trades + fetched)

    def refresh(self, track: Track) -> None:
        """Tell the log what has changed."""
        for loss in track.losses:
            if not loss.fresh:
                self._write(loss)

    def settle(self, track: Track) -> None:
        """Write the holes FILLED that lack nothing more."""
        for loss in list(track.losses):
            blocked = loss.after is not None and not loss.after.resolved
            if loss.hole.ts_to is None or loss.lacking or loss.tail or blocked:
                continue
            came_late = loss.lost and not loss.hole.trades
            self._resolve(
                track,
                loss,
                state=HoleState.FILLED,
                first_id=loss.hole.first_id if loss.hole.trades else None,
                last_id=loss.hole.last_id if loss.hole.trades else None,
                note="the stream itself brought them late" if came_late else "",
            )
            self.health.counts["holes_filled"] += 1

    def give_up(self, track: Track, loss: Loss, note: str, ts_to: int | None = None) -> None:
        """Write a hole UNFILLED; `note` says why. It ends at `ts_to` if it is open still."""
        missing = track.tape.disown(loss)
        if ts_to is not None and loss.hole.ts_to is None:
            loss.hole = msgspec.structs.replace(loss.hole, ts_to=max(ts_to, loss.hole.ts_from))
        if missing is not None:
            loss.hole = msgspec.structs.replace(loss.hole, first_id=missing[0], last_id=missing[1])
            note = f"{loss.lacking} of {loss.lost} trades are missing: {note}"
        self._resolve(track, loss, state=HoleState.UNFILLED, note=note)
        self.health.counts["holes_unfilled"] += 1

    def _resolve(self, track: Track, loss: Loss, **known: object) -> None:
        loss.hole = msgspec.structs.replace(loss.hole, resolved_at=self.inbox.clock(), **known)
        loss.resolved = True
        loss.tail = False
        track.losses.remove(loss)
        self._write(loss)

    def _write(self, loss: Loss) -> None:
        loss.fresh = True
        self.inbox.put_hole(loss.hole)
