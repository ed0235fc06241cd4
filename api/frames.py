"""Frames: what each bar close brought, put together from the store for those who listen."""

import time
from typing import Any

from api import views
from api.reader import EVER, Reader
from api.rows import Row

TOPICS = ("bars", "signals", "trades", "portfolio", "outcomes", "headlines", "orders")
_SETTLED = 1.0  # seconds after which a close without decisions has none
_MOST_TRADES = 200
_MOST_NOTICES = 50
_NEWS = ("Headline", "ScoredHeadline", "Mood")


class Frames:
    """Find bar closes that are whole in the store, in their order.

    A close is whole when the portfolio behind it, or behind a later one, stands: it is written
    with the signals, after the bars. Before the first decision, and where nothing is ready, a
    close is taken for whole a second after it was first seen. In a store that many write to
    (`patient`) each close gets that second.
    """

    def __init__(self, reader: Reader, *, patient: bool = False) -> None:
        """Look into the store of `reader`."""
        self.reader = reader
        self.patient = patient
        self._seen: dict[int, float] = {}  # when a close that is not whole yet was first seen

    def newest(self) -> int:
        """Return the last close that is whole as things stand; 0 if there is none."""
        return self.reader.newest("portfolio") or self.reader.newest() or 0

    def whole(self, after: int, limit: int = 1000) -> list[int]:
        """Return the closes behind `after` that are whole now."""
        closes = self.reader.closes_after(after, limit)
        decided = self.reader.newest("portfolio") or 0
        now = time.monotonic()
        found: list[int] = []
        for ts_close in closes:
            rested = now - self._seen.setdefault(ts_close, now) >= _SETTLED
            if not (rested or (ts_close <= decided and not self.patient)):
                break
            found.append(ts_close)
        waiting = set(closes) - set(found)
        self._seen = {ts_close: at for ts_close, at in self._seen.items() if ts_close in waiting}
        return found

    def frame(self, ts_close: int, before: int, skipped: int = 0) -> dict[str, Any]:
        """Return the frame of one close; `before` is the close of the one that it follows."""
        reader = self.reader
        signals = reader.signals_at(ts_close)
        portfolio = reader.portfolio(ts_close)
        trades = signals if not skipped else reader.trades_between(before, ts_close, _MOST_TRADES)
        return {
            "ts_close": ts_close,
            "skipped": skipped,
            "bars": [views.frame_bar(row) for row in reader.bars_at(ts_close)],
            "signals": [views.signal_brief(row) for row in signals],
            "trades": [views.signal_brief(row) for row in trades if row["action"] != "HOLD"],
            "portfolio": None if portfolio is None else views.portfolio_brief(portfolio),
            "outcomes": [views.outcome(row) for row in self._outcomes(ts_close, before)],
            "headlines": [views.headline(row) for row in self._notices(_NEWS, before, ts_close)],
            "orders": [
                views.noticed_order(row) for row in self._notices(("Control",), before, ts_close)
            ],
        }

    def _outcomes(self, ts_close: int, before: int) -> list[Row]:
        """Return what met its horizon in (before, ts_close]."""
        found = self.reader.rows.read("SELECT horizon_ns FROM outcomes LIMIT 1")
        if not found:
            return []
        horizon = int(found[0]["horizon_ns"])
        return self.reader.outcomes(
            limit=_MOST_TRADES,
            since=max(before + 1 - horizon, 0),
            until=max(ts_close - horizon, 0),
        )

    def _notices(self, kinds: tuple[str, ...], before: int, ts_close: int) -> list[Row]:
        found = self.reader.notices(limit=_MOST_NOTICES, kinds=kinds, known=min(ts_close, EVER))
        return [row for row in reversed(found) if row["after"] >= before]
