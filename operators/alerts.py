"""The mission's alerts: what happens to a portfolio and its data that a person should know."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from operators.alert_accuracy import hit_rate
from operators.alert_book import AlertBook, BookState, Condition
from operators.alert_settings import AlertRules
from operators.messages import (
    SECOND,
    Action,
    BarQuality,
    Control,
    CrossSection,
    Decision,
    Fused,
    Outcome,
    Portfolio,
    Severity,
    Signal,
    Tally,
)

PORTFOLIO = "portfolio"  # the subject of what concerns all symbols
MODELS = "models"
AT_EACH_CLOSE = ("emergency_stop", "data_cut", "drawdown")
SPAN_HORIZONS = 2  # of outcomes that are summed up together; see AlertRules


@dataclass(slots=True)
class AlertsState:
    """What the rules remember, and the book."""

    book: BookState
    stop: Control | None = None  # as long as no decision tells it
    cut: dict[str, int] = field(default_factory=dict)  # gap bars in a row, by symbol
    absent: dict[str, int] = field(default_factory=dict)  # closes without any bar so far
    held: dict[str, float] = field(default_factory=dict)  # quantities as last told
    strong: dict[str, int] = field(default_factory=dict)  # direction of the signal last told
    span: int = 0  # which one is being filled
    filling: tuple[int, int] = (0, 0)  # its hits and judged outcomes
    spans: list[tuple[int, int]] = field(default_factory=list)  # those before, oldest first


class Alerts:
    """Pass everything on, followed by the `Alert`s that it gives rise to.

    Critical: an emergency stop, data that are cut. Warning: a hit rate below what is expected,
    a drawdown near its limit. Info: strong signals, changes of positions. A `Fused` that nobody
    decided on is looked at and ends here. How many alerts a limit has kept back is counted in a
    `Tally` of each rule.

    >>> stage = Alerts(AlertRules(), (0.05, 0.10, 0.15))
    >>> list(stage.on("another message"))
    ['another message']
    """

    def __init__(self, rules: AlertRules, drawdown_steps: tuple[float, ...]) -> None:
        """Take the thresholds, and the drawdowns of risk's ladder: at the last it goes flat."""
        self.rules = rules
        self.flat_at = drawdown_steps[-1]
        self.book = AlertBook(
            clear_ns=_ns(rules.clear_seconds),
            repeat_ns=_ns(rules.repeat_seconds),
            rule_per_minute=rules.rule_per_minute,
            total_per_minute=rules.total_per_minute,
        )
        self.state = AlertsState(self.book.state)

    def on(self, message: Any) -> Iterable[Any]:
        """Take what was decided, or not, or came of it."""
        if not isinstance(message, Decision | Fused | Outcome):
            return (message,)
        self.book.state = self.state.book  # recovery gives the stage another one
        before = dict(self.state.book.kept_back)
        if isinstance(message, Outcome):
            out: list[Any] = [message, *self._judged(message)]
        elif isinstance(message, Decision):
            out = [message, *self._decided(message)]
        else:
            out = self._closed(message.cross, None)
        out.extend(
            Tally(key="alerts", name=rule, count=count)
            for rule, count in sorted(self.state.book.kept_back.items())
            if count != before.get(rule)
        )
        return out

    def on_end(self) -> Iterable[Any]:
        """Report nothing: what fires goes on firing."""
        return ()

    def _decided(self, decision: Decision) -> Iterator[Any]:
        portfolio = decision.portfolio
        yield from self._closed(decision.fused.cross, portfolio)
        events = [*self._positions(portfolio), *self._signals(decision.signals)]
        yield from self.book.happened(portfolio.ts_close, events)

    def _closed(self, cross: CrossSection, portfolio: Portfolio | None) -> list[Any]:
        """Judge what holds or not at a bar close."""
        for notice in cross.notices:
            order = notice.body
            if isinstance(order, Control) and order.kind == "resume":
                self.state.stop = None
            elif isinstance(order, Control) and order.kind == "stop" and not self.state.stop:
                self.state.stop = order
        holding = [*self._cuts(cross)]
        stop = self._stop(portfolio)
        if stop is not None:
            holding.append(stop)
        if portfolio is not None and portfolio.drawdown >= self.rules.drawdown_share * self.flat_at:
            holding.append(
                Condition(
                    "drawdown",
                    Severity.WARNING,
                    PORTFOLIO,
                    f"drawdown {portfolio.drawdown:.1%}, flat at {self.flat_at:.1%}",
                    {"drawdown": portfolio.drawdown, "limit": self.flat_at},
                )
            )
        return list(self.book.judge(cross.ts_close, holding, AT_EACH_CLOSE))

    def _stop(self, portfolio: Portfolio | None) -> Condition | None:
        stop = self.state.stop
        who = {} if stop is None else {"actor": stop.actor, "reason": stop.reason}
        if portfolio is not None:  # what risk obeys is the truth
            if not portfolio.stopped:
                return None
            told = portfolio.risk.get("stop") or {}
            who = {name: str(told.get(name, "")) for name in ("actor", "reason")}
        elif stop is None:
            return None
        summary = f"emergency stop by {who['actor']}: {who['reason']}"
        return Condition("emergency_stop", Severity.CRITICAL, PORTFOLIO, summary, who)

    def _cuts(self, cross: CrossSection) -> Iterator[Condition]:
        """Yield symbols whose data are cut, or have never come, for longer than is allowed."""
        state, rules = self.state, self.rules
        for symbol, bar in zip(cross.symbols, cross.bars, strict=True):
            absent, cut = state.absent.pop(symbol, 0), state.cut.pop(symbol, 0)
            if bar is None:
                absent = state.absent[symbol] = absent + 1
            elif bar.quality is BarQuality.GAP:
                absent, cut = 0, cut + 1
                state.cut[symbol] = cut
            else:
                absent = cut = 0
            lasts = (absent or cut) * cross.interval  # at most one of them is not 0
            limit = rules.no_data_seconds if absent else rules.data_cut_seconds
            if lasts and lasts >= _ns(limit):
                seconds = lasts / SECOND
                how = "no data yet" if absent else "no data"
                yield Condition(
                    "data_cut",
                    Severity.CRITICAL,
                    symbol,
                    f"{symbol}: {how} for {seconds:g} s",
                    {"seconds": seconds, "ever": not absent},
                    since=cross.ts_close - lasts,
                )

    def _positions(self, portfolio: Portfolio) -> Iterator[Condition]:
        held = self.state.held
        now = {each.symbol: (each.quantity, each.price) for each in portfolio.holdings}
        for symbol in sorted(held.keys() | now.keys()):
            before = held.get(symbol, 0.0)
            quantity, price = now.get(symbol, (0.0, 0.0))
            change = (quantity - before) * price / portfolio.equity
            small = not change or abs(change) < self.rules.position_change
            if _sign(before) == _sign(quantity) and small:
                continue
            if quantity:
                held[symbol] = quantity
            else:
                del held[symbol]
            weight = quantity * price / portfolio.equity
            yield Condition(
                "position",
                Severity.INFO,
                symbol,
                f"{symbol}: {_named(before, quantity)}"
                + (f", now {weight:+.1%} of equity" if quantity else ""),
                {"before": before, "quantity": quantity, "weight": weight},
            )

    def _signals(self, signals: tuple[Signal, ...]) -> Iterator[Condition]:
        strong, rules = self.state.strong, self.rules
        for signal in signals:
            if abs(signal.score) < rules.signal_release:
                strong.pop(signal.symbol, None)
            acts = signal.approved and signal.action is not Action.HOLD
            direction = _sign(signal.score)
            if abs(signal.score) < rules.signal_score or not acts:
                continue
            if strong.get(signal.symbol) == direction:
                continue
            strong[signal.symbol] = direction
            yield Condition(
                "signal",
                Severity.INFO,
                signal.symbol,
                f"{signal.symbol}: {signal.action}, score {signal.score:+.2f}, confidence "
                f"{signal.confidence:.2f}",
                {
                    "signal_id": signal.signal_id,
                    "action": str(signal.action),
                    "score": signal.score,
                    "confidence": signal.confidence,
                    "price": signal.price,
                },
            )

    def _judged(self, outcome: Outcome) -> Iterator[Any]:
        """Add an outcome to its span; where it is the first of another one, judge those before."""
        state, rules = self.state, self.rules
        if outcome.hit is None:
            return
        span = outcome.ts_close // (SPAN_HORIZONS * outcome.horizon_ns)
        if span != state.span:
            if state.filling[1]:
                state.spans = [*state.spans, state.filling][-rules.accuracy_spans :]
            state.span, state.filling = span, (0, 0)
            yield from self._accuracy(outcome.ts_close + outcome.horizon_ns)
        hits, judged = state.filling
        state.filling = (hits + outcome.hit, judged + 1)

    def _accuracy(self, now: int) -> Iterable[Any]:
        spans, rules = self.state.spans, self.rules
        found = hit_rate(spans, rules.accuracy_errors)
        if found is None or found.spans < rules.accuracy_least:
            return ()
        holding = []
        if found.high < rules.accuracy_expected:
            holding.append(
                Condition(
                    "accuracy_drop",
                    Severity.WARNING,
                    MODELS,
                    f"hit rate {found.rate:.1%} [{found.low:.1%}, {found.high:.1%}] over "
                    f"{found.judged} outcomes, expected {rules.accuracy_expected:.1%}",
                    found._asdict() | {"expected": rules.accuracy_expected},
                )
            )
        return self.book.judge(now, holding, ("accuracy_drop",))


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _named(before: float, now: float) -> str:
    """Say what became of a position.

    >>> _named(0.0, 1.0), _named(1.0, -1.0), _named(-2.0, -1.0), _named(1.0, 0.0)
    ('opened long', 'turned short', 'reduced', 'closed')
    """
    side = "long" if now > 0 else "short"
    if not now:
        return "closed"
    if not before:
        return f"opened {side}"
    if _sign(before) != _sign(now):
        return f"turned {side}"
    return "increased" if abs(now) > abs(before) else "reduced"
