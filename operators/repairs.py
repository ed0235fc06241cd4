"""Closed bars that may still change: how holes mark them, and backfill and leaps complete them.

Functions of a `BarState`, which they change. A bar is kept while it is recent, while an
unresolved hole reaches it, and on from there as long as bars only carry its price on.
"""

from collections.abc import Iterable

from models.calendars import Calendar
from operators.messages import Bar, BarQuality, Hole, HoleState, Reason, Tick
from operators.open_bars import BarSettings, BarState, Kept, OpenBar

_HOLES = 256  # of a symbol; a feed that breaks more often than that has none of them filled
_LEAPS = 8
_INCOMPLETE = frozenset({HoleState.OPEN, HoleState.ENDED})
# The feed behind which another stood in may still fetch what it missed before that.
_WAITED_FOR = _INCOMPLETE | {HoleState.COVERED}
_MARKED = frozenset({BarQuality.GAP, BarQuality.BACKFILLED})


def quality_of(
    state: BarState, ts_close: int, entry: Kept, settings: BarSettings, *, closing: bool = False
) -> BarQuality:
    """Return how the bar came to be, as far as is known.

    It is a gap while any hole reaches it that is not filled, in a feed that the symbol used at
    that time. A filled hole makes it backfilled, unless the bar is just `closing` and was
    complete before anybody saw it.
    """
    start = ts_close - settings.interval_ns
    filled = False
    for hole in state.holes.values():
        if hole.state is HoleState.FILLED:
            filled = filled or _reaches(hole, ts_close, settings)
        elif _overlaps(hole, start, ts_close) and state.switches.used_within(
            hole.feed, max(start, hole.ts_from), min(ts_close, hole.ts_to or ts_close)
        ):
            return BarQuality.GAP
    if entry.cut and not filled:
        return BarQuality.GAP
    if entry.trades is not None and entry.trades.backfilled:
        return BarQuality.BACKFILLED
    if filled and not closing and (entry.bar is None or entry.bar.quality in _MARKED):
        return BarQuality.BACKFILLED
    return BarQuality.OBSERVED if entry.traded else BarQuality.QUIET


def learn(state: BarState, hole: Hole, settings: BarSettings, calendar: Calendar) -> None:
    """Take what is now known of a hole; bars that it marks otherwise are told again."""
    key = (hole.feed, hole.ts_from)
    before = state.holes.pop(key, None)
    if len(state.holes) >= _HOLES:
        resolved = (k for k, other in state.holes.items() if other.state not in _WAITED_FOR)
        del state.holes[next(resolved, next(iter(state.holes)))]
    state.holes[key] = hole
    state.reviewed = 0
    for leap in state.leaps:
        _restore(state, hole, leap, settings, calendar)
    resolved_now = hole.state not in _INCOMPLETE
    for ts_close, entry in state.kept.items():
        touched = _reaches(hole, ts_close, settings) or (
            before is not None and _reaches(before, ts_close, settings)
        )
        if not touched or entry.given:
            continue
        told = None if entry.bar is None else entry.bar.quality
        if resolved_now or (
            told is not None and told is not quality_of(state, ts_close, entry, settings)
        ):
            _mark(state, ts_close)
            state.due = True
            return  # what follows is looked at when it is told


def merge(state: BarState, tick: Tick, ts_close: int, settings: BarSettings) -> Reason | None:
    """Add a trade that was asked for later to its closed bar; say why that cannot be."""
    entry = state.kept.get(ts_close)
    if entry is None:
        return Reason.LATE
    if entry.given:
        return Reason.DUPLICATE  # the bar was made from the same trades
    if entry.trades is None:
        entry.trades = OpenBar()
    entry.trades.add_tick(tick)
    _changed(state, ts_close, settings)
    return None


def leap(
    state: BarState, before: int, ts_close: int, settings: BarSettings, calendar: Calendar
) -> None:
    """Note that Clock leapt from `before` to `ts_close`, and keep the bars that holes explain."""
    found = (before, ts_close, state.price)
    state.leaps = [*state.leaps, found][-_LEAPS:]
    for hole in list(state.holes.values()):
        _restore(state, hole, found, settings, calendar)
    for at in [at for at in state.open if at < ts_close]:
        entry = state.kept.get(at)
        if entry is None or entry.trades is not None or state.open[at].delivered is not None:
            continue
        came = entry.trades = state.open.pop(at)
        entry.quotes = came.quotes
        if came.quotes:
            entry.spread, entry.imbalance = came.spread, came.imbalance
        if came.sizes:
            _changed(state, at, settings)


def retell(state: BarState, settings: BarSettings, calendar: Calendar) -> tuple[Bar, ...]:
    """Make the bars again from the first that changed; return those that differ, ascending.

    Bars without trades take over the price before them, wherever that changed. A bar before
    the symbol's first price came into being as soon as a trade fetched gives it one. One that
    Clock leapt over does when its hole is filled, or from the first trade fetched on.
    """
    first, state.changed, state.due = state.changed, None, False
    if first is None:
        return ()
    told: list[Bar] = []
    price: float | None = None
    linked = born = False
    interval = settings.interval_ns
    for ts_close, entry in state.kept.items():
        if ts_close < first:
            continue
        if linked and entry.follows:
            entry.carried = price
        quality = quality_of(state, ts_close, entry, settings)
        filled = quality is BarQuality.BACKFILLED
        born = entry.leapt and (born or entry.bar is not None or entry.traded or filled)
        if (
            not entry.given
            and (born or not entry.leapt)
            and not _held(state, ts_close, entry, settings)
        ):
            session = calendar.session_of(ts_close, interval)
            assert session is not None  # else no bar was kept
            bar = entry.form(state.symbol, interval, ts_close, session, quality)
            if bar is not None and bar != entry.bar:
                entry.bar = bar
                told.append(bar)
        price, linked = entry.price, True
    if linked:
        state.price = price  # the last kept is the last closed
    return tuple(told)


def keep(state: BarState, ts_close: int, entry: Kept, settings: BarSettings) -> list[Kept]:
    """Keep a bar that was just closed, and return those that can change no more."""
    kept = state.kept
    entry.follows = len(kept) > 0
    kept[ts_close] = entry
    dropped: list[Kept] = []
    if len(kept) > settings.least_bars:
        floor, older = _older(state, settings)
        dropped = _review(state, floor, older, settings)
        while len(kept) > settings.repair_bars:
            dropped.append(kept.pop(next(iter(kept))))
    begin = next(iter(kept))
    if dropped:
        kept[begin].follows = False
    if state.holes:
        begin -= settings.interval_ns
        for key in [k for k, h in state.holes.items() if h.ts_to is not None and h.ts_to <= begin]:
            del state.holes[key]
    return dropped


# ------------------------------------------------------------------------------------ parts


def _overlaps(hole: Hole, start: int, ts_close: int) -> bool:
    return hole.ts_from < ts_close and (hole.ts_to is None or hole.ts_to > start)


def _reaches(hole: Hole, ts_close: int, settings: BarSettings) -> bool:
    """Say whether trades missed may belong to this bar: some before the hole by receipt."""
    start = ts_close - settings.interval_ns
    return _overlaps(hole, start, ts_close + settings.repair_margin_ns)


def _waits(
    state: BarState, ts_close: int, settings: BarSettings, states: Iterable[HoleState]
) -> bool:
    return any(
        hole.state in states and _reaches(hole, ts_close, settings) for hole in state.holes.values()
    )


def _held(state: BarState, ts_close: int, entry: Kept, settings: BarSettings) -> bool:
    """Say whether a bar that Clock leapt over must wait until all of it is known."""
    untold = entry.leapt and entry.bar is None
    return untold and _waits(state, ts_close, settings, _INCOMPLETE)


def _mark(state: BarState, ts_close: int) -> None:
    state.changed = ts_close if state.changed is None else min(state.changed, ts_close)


def _changed(state: BarState, ts_close: int, settings: BarSettings) -> None:
    """Note new trades of a kept bar; more may follow as long as its hole is not resolved."""
    _mark(state, ts_close)
    if not state.due and not _waits(state, ts_close, settings, _INCOMPLETE):
        state.due = True


def _restore(
    state: BarState,
    hole: Hole,
    leapt: tuple[int, int, float | None],
    settings: BarSettings,
    calendar: Calendar,
) -> None:
    """Keep the bars of a leap that the hole reaches: nobody listened, so Clock told none."""
    after, until, price = leapt
    interval = settings.interval_ns
    end = until - interval
    if hole.ts_to is not None:
        end = min(end, -(-hole.ts_to // interval) * interval)
    begin = max(
        after, hole.ts_from - settings.repair_margin_ns, end - settings.repair_bars * interval
    )
    missing = [at for at in calendar.grid(begin, end, interval) if at not in state.kept]
    if not missing:
        return
    entries = state.kept | {at: Kept(carried=price, leapt=True) for at in missing}
    state.kept = {at: entries[at] for at in sorted(entries)}
    previous = None
    for at, entry in state.kept.items():
        if after < at <= until:
            entry.follows = previous is not None and previous >= after
        previous = at


def _older(state: BarState, settings: BarSettings) -> tuple[int, list[int]]:
    """Return the first bar that is kept as recent, and those before it not yet reviewed.

    Recent are the last few, and before them those up to the last one with trades.
    """
    floor = 0
    older: list[int] = []
    for place, at in enumerate(reversed(state.kept), 1):
        if floor:
            if at <= state.reviewed:
                break
            older.append(at)
        elif place >= settings.recent_bars or (
            place > settings.least_bars and state.kept[at].traded
        ):
            floor = at
    older.reverse()
    return floor, older


def _review(state: BarState, floor: int, older: list[int], settings: BarSettings) -> list[Kept]:
    """Drop the bars of `older` that wait for nothing, and return them."""
    if not older:
        return []
    kept = state.kept
    dropped: list[Kept] = []
    waiting = next(iter(kept)) <= state.reviewed  # what was reviewed and is still there waits
    torn = False
    for at in older:
        entry = kept[at]
        if torn:
            entry.follows = False
        waiting = _waits(state, at, settings, _WAITED_FOR) or (
            waiting and entry.follows and not entry.traded
        )
        torn = not waiting
        if torn:
            dropped.append(kept.pop(at))
    if torn:
        kept[floor].follows = False
    state.reviewed = older[-1]
    return dropped
