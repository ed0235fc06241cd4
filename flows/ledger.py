"""The gap ledger: every hole by venue, symbol, ids and times, and the share of data lost.

It is made of two records. *Holes* are what a feed knows: nothing came for a while, and what
was done about it. *Gaps* are what trade ids prove missing, and how many came after all. Where
another feed stood in, the ids of the first go on without us: such a gap is covered, and not lost,
once the holes beside it are filled.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from connectors.sinks.coverage import UNDONE, Coverage
from connectors.sinks.retention import forgotten
from operators.messages import SECOND, HoleState

BUDGET = 0.01  # of all trades: what may be lost


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger; times in UNIX ns."""

    kind: str  # "hole", as a feed told it, or "gap", as ids prove it
    feed: str  # of a gap the venue
    symbol: str
    cause: str  # how it was found
    state: HoleState
    ts_from: int
    ts_to: int | None  # when messages came again; None while it is open
    resolved_at: int | None = None
    first_id: int | None = None
    last_id: int | None = None
    trades: int = 0  # that came after all
    missing: int | None = None  # None where no id tells
    note: str = ""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Trades used, trades missing, and the share that is missing of both."""

    used: int
    missing: int

    @property
    def lost(self) -> float:
        """The share lost, in [0, 1].

        >>> Share(used=99, missing=1).lost, Share(used=0, missing=0).lost
        (0.01, 0.0)
        """
        return self.missing / (self.used + self.missing) if self.missing else 0.0

    @property
    def within(self) -> bool:
        """Whether the share is within the budget."""
        return self.lost <= BUDGET

    def told(self) -> dict[str, Any]:
        """Return it as JSON would hold it."""
        return {"used": self.used, "missing": self.missing, "share": self.lost}


def ledger(
    store: sqlite3.Connection, symbol: str | None = None, state: HoleState | None = None
) -> list[Entry]:
    """Return every hole and gap, of one `symbol` or in one `state` if told, oldest first."""
    entries = [*_holes(store), *_gaps(store), *_late(store)]
    wanted = [
        entry
        for entry in entries
        if (symbol is None or entry.symbol == symbol) and (state is None or entry.state is state)
    ]
    return sorted(
        wanted, key=lambda entry: (entry.ts_from, entry.symbol, entry.kind, entry.first_id or 0)
    )


def _holes(store: sqlite3.Connection) -> Iterable[Entry]:
    for row in store.execute("SELECT * FROM holes"):
        state = HoleState(row["state"])
        first, last = row["first_id"], row["last_id"]
        known = first is not None and last is not None
        missing = max(last - first + 1 - row["trades"], 0) if known else None
        yield Entry(
            kind="hole",
            feed=row["feed"],
            symbol=row["symbol"],
            cause=row["cause"],
            state=state,
            ts_from=row["ts_from"],
            ts_to=row["ts_to"],
            resolved_at=row["resolved_at"],
            first_id=first,
            last_id=last,
            trades=row["trades"],
            # All that was missed is there, here or from another feed.
            missing=missing if state in UNDONE else 0,
            note=row["note"],
        )


class _Late(msgspec.Struct):
    symbol: str
    venue: str
    trade_id: int
    ts_event: int
    backfilled: bool = False


def _late(store: sqlite3.Connection) -> Iterable[Entry]:
    """Yield the trades that came, or were fetched, when their bars could change no more.

    Their ids are seen, so that no gap tells of them.
    """
    query = "SELECT payload, ts_init FROM rejections WHERE reason = 'late'"
    for row in store.execute(query):
        try:
            tick = msgspec.json.decode(row["payload"], type=_Late)
        except msgspec.DecodeError:  # a quote or a bar
            continue
        if tick.backfilled:
            yield Entry(
                kind="gap",
                feed=tick.venue,
                symbol=tick.symbol,
                cause="late",
                state=HoleState.UNFILLED,
                ts_from=tick.ts_event,
                ts_to=row["ts_init"],
                first_id=tick.trade_id,
                last_id=tick.trade_id,
                missing=1,
                note="its bar could not be changed any more",
            )


def _gaps(store: sqlite3.Connection) -> Iterable[Entry]:
    coverage = Coverage(store)
    for row in store.execute("SELECT * FROM gaps"):
        missing = row["last_id"] - row["first_id"] + 1 - row["filled"]
        begin, end = row["ts_from"], row["ts_to"]
        covered = missing > 0 and coverage.covers(row["symbol"], row["venue"], begin, end)
        state = HoleState.COVERED if covered else HoleState.UNFILLED
        yield Entry(
            kind="gap",
            feed=row["venue"],
            symbol=row["symbol"],
            cause="ids",
            state=state if missing else HoleState.FILLED,
            ts_from=begin,
            ts_to=end,
            first_id=row["first_id"],
            last_id=row["last_id"],
            trades=row["filled"],
            missing=0 if covered else missing,
            note=f"{missing:,} trades while another feed stood in" if covered else "",
        )


def lost_share(store: sqlite3.Connection) -> tuple[Share, dict[str, Share]]:
    """Return the share of trades lost, in all and by symbol.

    Used are the trades of all bars, as they are known now. Missing are those that ids prove
    missing, and those of unfilled holes with ids that no later message has proved yet.
    """
    used: defaultdict[str, int] = defaultdict(int)
    query = "SELECT symbol, sum(trades) FROM final_bars GROUP BY symbol"
    opened = "SELECT key, count FROM tallies WHERE name = 'open_trades'"
    for symbol, trades in (*store.execute(query), *store.execute(opened)):
        used[symbol] += trades or 0
    missing: defaultdict[str, int] = defaultdict(int)
    proved: defaultdict[str, list[Entry]] = defaultdict(list)
    for gap in _gaps(store):
        proved[gap.symbol].append(gap)
        missing[gap.symbol] += gap.missing or 0
    for trade in _late(store):
        missing[trade.symbol] += trade.missing or 0
    for hole in _holes(store):
        told = any(_overlap(hole, gap) for gap in proved[hole.symbol] if hole.missing)
        missing[hole.symbol] += 0 if told else hole.missing or 0
    by_symbol = {
        symbol: Share(used=used[symbol], missing=missing[symbol])
        for symbol in sorted(used.keys() | missing.keys())
    }
    past = forgotten(store)
    whole = Share(
        used=sum(used.values()) + past.get("trades", 0),
        missing=sum(missing.values()) + past.get("missing_trades", 0),
    )
    return whole, by_symbol


def totals(store: sqlite3.Connection) -> dict[str, Any]:
    """Return the share lost against the budget, and the outages, as one JSON object."""
    whole, _ = lost_share(store)
    return {**whole.told(), "budget": BUDGET, "within": whole.within, **outages(store)}


def _overlap(hole: Entry, gap: Entry) -> bool:
    assert hole.first_id is not None  # else nothing is missing by id
    assert hole.last_id is not None
    assert gap.first_id is not None  # a gap has ids
    assert gap.last_id is not None
    return hole.first_id <= gap.last_id and gap.first_id <= hole.last_id


def outages(store: sqlite3.Connection) -> dict[str, Any]:
    """Return holes by state and cause, and how long they were, as one JSON object.

    `outage_seconds` is by feed the time in which at least one symbol had a hole; open holes
    count up to the last bar. `back_seconds` is from the last good message to the next,
    `resolved_seconds` to when the hole was filled or given up.
    """
    newest = store.execute("SELECT coalesce(max(ts_close), 0) FROM bars").fetchone()[0]
    states: defaultdict[str, int] = defaultdict(int)
    causes: defaultdict[str, int] = defaultdict(int)
    spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    back: list[int] = []
    resolved: list[int] = []
    fetched = untold = 0
    for hole in _holes(store):
        states[hole.state] += 1
        causes[hole.cause] += 1
        fetched += hole.trades
        untold += hole.missing is None
        end = max(newest, hole.ts_from) if hole.ts_to is None else hole.ts_to
        spans[hole.feed].append((hole.ts_from, end))
        if hole.ts_to is not None:
            back.append(hole.ts_to - hole.ts_from)
        if hole.resolved_at is not None:
            resolved.append(hole.resolved_at - hole.ts_from)
    return {
        "holes": dict(sorted(states.items())),
        "causes": dict(sorted(causes.items())),
        "fetched_trades": fetched,
        "holes_without_ids": untold,  # not filled, and no id tells how much is missing
        "outage_seconds": {feed: _union(each) for feed, each in sorted(spans.items())},
        "back_seconds": _mean_and_most(back),
        "resolved_seconds": _mean_and_most(resolved),
    }


def _union(spans: list[tuple[int, int]]) -> float:
    """Return how many seconds at least one of the spans covers.

    >>> _union([(5 * SECOND, 7 * SECOND), (0, 2 * SECOND), (SECOND, 3 * SECOND)])
    5.0
    """
    total = until = 0
    for begin, end in sorted(spans):
        total += max(end - max(begin, until), 0)
        until = max(until, end)
    return total / SECOND


def _mean_and_most(spans: list[int]) -> dict[str, Any]:
    if not spans:
        return {"n": 0, "mean": None, "max": None}
    return {
        "n": len(spans),
        "mean": round(sum(spans) / len(spans) / SECOND, 3),
        "max": round(max(spans) / SECOND, 3),
    }
