"""What one stock's exchange day has told: rungs and lots become prices in yen and shares."""

from typing import Any, Literal

from models.tokyo.days import DayPlan
from models.tokyo.events import Event, Limit, PhaseChange, Quote, SpecialQuote, Trade
from models.tokyo.rules import LOT, YEN
from models.tokyo.sessions import Phase


class Tape:
    """The day's messages in the order they are told; those up to `after` are left out."""

    def __init__(self, plan: DayPlan, prices: list[int], *, quotes: bool, after: int) -> None:
        """Begin a day; `prices` is its ladder, in tenths of a yen."""
        self._plan = plan
        self._prices = prices
        self._quotes, self._after = quotes, after
        self._trades = 0
        self._quoted: tuple[int, int, int, int] | None = None
        self._reached: set[str] = set()
        self._out: list[Event] = []
        self._head: dict[str, Any] = {
            "simulated": True,
            "code": plan.stock.code,
            "session": plan.day.on.isoformat(),
        }

    def take(self) -> list[Event]:
        """Return what is new."""
        told, self._out = self._out, []
        return told

    def phase(self, ts: int, phase: Phase) -> None:
        """Tell that a phase begins."""
        if ts > self._after:
            self._out.append(PhaseChange(ts=ts, phase=phase.value, **self._head))

    def trade(
        self,
        ts: int,
        rung: int,
        lots: int,
        side: Literal["buy", "sell"] | None,
        auction: str | None,
    ) -> None:
        """Tell a trade, and that it reached a limit if it is the first to do so."""
        self._trades += 1
        if ts > self._after:
            self._out.append(
                Trade(
                    ts=ts,
                    id=self._trades,
                    price=self._prices[rung] / YEN,
                    size=lots * LOT,
                    side=side,
                    auction=auction,
                    **self._head,
                )
            )
        self._reach(ts, rung)

    def quote(self, ts: int, bid: int, bid_lots: int, ask: int, ask_lots: int) -> None:
        """Tell the best bid and ask, if they changed and both exist."""
        if not self._quotes or ts <= self._after or bid < 0 or ask >= len(self._prices):
            return
        quoted = (bid, bid_lots, ask, ask_lots)
        if quoted == self._quoted:
            return
        self._quoted = quoted
        self._out.append(
            Quote(
                ts=ts,
                bid=self._prices[bid] / YEN,
                bid_size=bid_lots * LOT,
                ask=self._prices[ask] / YEN,
                ask_size=ask_lots * LOT,
                **self._head,
            )
        )

    def special(self, ts: int, rung: int, lots: int, direction: int, renewal: int) -> None:
        """Tell a special quote; no other holds beside it."""
        self._quoted = None
        if ts > self._after:
            self._out.append(
                SpecialQuote(
                    ts=ts,
                    side="buy" if direction > 0 else "sell",
                    price=self._prices[rung] / YEN,
                    size=lots * LOT,
                    renewal=renewal,
                    **self._head,
                )
            )
        self._reach(ts, rung)

    def limits(self, ts: int, reached: Literal["lower", "upper"] | None = None) -> None:
        """Tell the day's limits."""
        plan = self._plan
        if ts > self._after:
            self._out.append(
                Limit(
                    ts=ts,
                    base=plan.base / YEN,
                    lower=plan.lower / YEN,
                    upper=plan.upper / YEN,
                    reached=reached,
                    **self._head,
                )
            )

    def _reach(self, ts: int, rung: int) -> None:
        if 0 < rung < len(self._prices) - 1:
            return
        limit: Literal["lower", "upper"] = "upper" if rung else "lower"
        if limit not in self._reached:
            self._reached.add(limit)
            self.limits(ts, limit)
