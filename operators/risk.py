"""Risk: one vectorised pass for each bar close, and the paper portfolio that trades on it.

`sizing` holds the steps in their order, `limits` and `value_at_risk` their arithmetic,
`portfolio` the money, `rationale` the words. Here is what depends on the path.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import msgspec
import numpy as np

from models.ppo.rules import NEVER_CLOSES, Integers
from operators.frozen import Migration
from operators.limits import clusters, drawdown_rung
from operators.messages import (
    BarQuality,
    Checkpoint,
    Control,
    CrossSection,
    Decision,
    Flags,
    Floats,
    Fused,
    Notice,
    Portfolio,
)
from operators.orders import LIMITS
from operators.portfolio import CostSettings, PaperPortfolio
from operators.psychology import fear_greed
from operators.rationale import make_signals
from operators.risk_settings import RiskSettings
from operators.sizing import MULTIPLIERS, Approval, Situation, approve
from operators.stage import checkpoint_due, freeze
from operators.value_at_risk import Exceptions, horizon_returns

__all__ = ["CostSettings", "Risk", "RiskBook", "RiskSettings"]

SAMPLE_EVERY = 10  # bars between two samples of a symbol's volatility
LEAST_SAMPLES = 6  # one minute of one-second bars, before "usual" means anything


@dataclass(slots=True)
class RiskBook:
    """All that risk remembers; arrays are (symbols,) or (rows, symbols), oldest row first."""

    portfolio: PaperPortfolio
    closes: Floats  # the last `history` + 1 prices, NaN before the first
    samples: Floats  # volatilities, one row every 10 bars, NaN where unknown
    usual: Floats  # their medians, NaN while there are too few
    volatile: Flags
    silent: Integers  # bars since the last trade
    cut: Integers  # bars since the feed was cut, 0 if it is up
    clusters: Integers
    bars: int = 0
    rung: int = 0  # of the drawdown ladder
    exceptions: Exceptions = field(default_factory=Exceptions)
    stop: Control | None = None  # who stopped trading, why and when
    muted: dict[str, Control] = field(default_factory=dict)  # by symbol
    limits: dict[str, Control] = field(default_factory=dict)  # those that operators moved

    @staticmethod
    def start(cash: float, symbols: int) -> "RiskBook":
        """Return the book of a new portfolio."""
        return RiskBook(
            portfolio=PaperPortfolio.start(cash, symbols),
            closes=np.empty((0, symbols)),
            samples=np.empty((0, symbols)),
            usual=np.full(symbols, np.nan),
            volatile=np.zeros(symbols, np.bool_),
            silent=np.zeros(symbols, np.int64),
            cut=np.zeros(symbols, np.int64),
            clusters=np.arange(symbols),
        )


@dataclass(slots=True)
class _FirstBook:
    """A `RiskBook` before symbols could be muted and limits moved."""

    portfolio: PaperPortfolio
    closes: Floats
    samples: Floats
    usual: Floats
    volatile: Flags
    silent: Integers
    cut: Integers
    clusters: Integers
    bars: int
    rung: int
    exceptions: Exceptions
    stop: Control | None


def _from_first(book: _FirstBook) -> RiskBook:
    return RiskBook(**{each.name: getattr(book, each.name) for each in fields(book)})


class Risk:
    """Answer each `Fused` with a `Decision`; one in which no symbol is ready passes on.

    Every `checkpoint_every` bars a `Checkpoint` of the state follows, ready or not. Orders of
    operators are among the cross-section's notices. A "stop" closes everything and latches, over
    restarts too, until a "resume", which also takes a drawdown ladder that went flat back to
    full size with a new high-water mark. A symbol under "mute" opens and grows no position. A
    "limit" counts up to the configured one. Other messages pass through.

    >>> stage = Risk(RiskSettings(), CostSettings(), ("BTCUSDT",), "c0ffee", 60)
    >>> list(stage.on("another message"))
    ['another message']
    """

    migrations: ClassVar[dict[str, Migration]] = {
        "1-14d4c9a20aa0": Migration(_from_first, {"operators.risk.RiskBook": _FirstBook}),
    }

    def __init__(
        self,
        settings: RiskSettings,
        costs: CostSettings,
        symbols: tuple[str, ...],
        config_hash: str,
        checkpoint_every: int = 60,
    ) -> None:
        self.settings = settings
        self.costs = costs
        self.symbols = symbols
        self.config_hash = config_hash
        self.checkpoint_every = checkpoint_every
        self.state = RiskBook.start(settings.starting_cash, len(symbols))

    def on(self, message: Any) -> Iterable[Any]:
        """Take a `Fused`; return its decision or itself, and a checkpoint when one is due."""
        if not isinstance(message, Fused):
            return (message,)
        cross = message.cross
        out: list[Any] = []
        self._obey(cross.notices)
        self._observe(cross)
        out.append(self._decide(message) if cross.ready.any() else message)
        if checkpoint_due(cross.ts_close, cross.interval, self.checkpoint_every):
            out.append(Checkpoint(ts_close=cross.ts_close, stage="risk", state=freeze(self)))
        return out

    def on_end(self) -> Iterable[Any]:
        """Report nothing; positions stay as they are."""
        return ()

    def _obey(self, notices: tuple[Notice, ...]) -> None:
        book = self.state
        for notice in notices:
            order = notice.body
            if not isinstance(order, Control):
                continue
            match order.kind:
                case "stop" if book.stop is None:
                    book.stop = order  # a second stop does not change who stopped it
                case "resume":
                    book.stop = None
                    if book.rung == len(self.settings.drawdown_steps):
                        book.rung = 0
                        book.portfolio.peak = book.portfolio.equity
                case "mute" if order.symbol in self.symbols:
                    book.muted.setdefault(order.symbol, order)
                case "unmute" if order.symbol is not None:
                    book.muted.pop(order.symbol, None)
                case "limit" if order.limit is not None:
                    if order.value is None:
                        book.limits.pop(order.limit, None)
                    else:
                        book.limits[order.limit] = order

    def _limited(self) -> RiskSettings:
        """Return the settings with the limits that operators moved, none above the configured."""
        limits = self.state.limits
        if not limits:
            return self.settings
        return msgspec.structs.replace(
            self.settings,
            **{
                name: min(order.value, getattr(self.settings, name))
                for name, order in limits.items()
                if order.value is not None
            },
        )

    def _observe(self, cross: CrossSection) -> None:
        """Bring prices, volatility, freshness, clusters and the ladder up to this bar."""
        book, settings = self.state, self.settings
        bars = cross.bars
        closes = np.array([np.nan if bar is None else bar.close for bar in bars])
        traded = np.array([bar is not None and bar.quality in _TRADED for bar in bars], np.bool_)
        cut = np.array([bar is not None and bar.quality is BarQuality.GAP for bar in bars])
        book.silent = np.where(traded, 0, book.silent + 1)
        book.cut = np.where(cut, book.cut + 1, 0)
        book.portfolio.mark(closes)
        book.closes = np.vstack((book.closes[-settings.history :], book.portfolio.price))
        book.exceptions.settle(book.portfolio.price)
        book.rung = drawdown_rung(
            book.rung,
            book.portfolio.drawdown,
            settings.drawdown_steps,
            settings.drawdown_recovery,
        )
        self._observe_volatility(cross.volatility)
        if book.bars % settings.correlation_every == 0:
            recent = book.closes[-(settings.correlation_bars + 1) :]
            book.clusters = clusters(recent, settings.correlation)
        book.bars += 1

    def _observe_volatility(self, volatility: Floats) -> None:
        book, settings = self.state, self.settings
        known = np.where(volatility > 0.0, volatility, np.nan)
        if book.bars % SAMPLE_EVERY == 0:
            book.samples = np.vstack((book.samples[1 - settings.volatility_memory :], known))
            book.usual = _medians(book.samples, LEAST_SAMPLES)
        # Comparisons with NaN are false: no limit before "usual" is known.
        above = known > settings.volatility_limit * book.usual
        still = book.volatile & (known > settings.volatility_release * book.usual)
        book.volatile = above | still

    def _decide(self, fused: Fused) -> Decision:
        book, settings = self.state, self._limited()
        portfolio = book.portfolio
        now = self._situation(fused.cross)
        approval = approve(fused, now, settings)
        paid = portfolio.trade(approval.target, approval.target != now.current, self.costs)
        if approval.value_at_risk is not None:
            book.exceptions.open(
                settings.var_horizon, approval.target, portfolio.price, approval.value_at_risk
            )
        signals = make_signals(
            fused,
            approval,
            paid,
            settings=settings,
            stopped=book.stop is not None,
            config_hash=self.config_hash,
            costs=self.costs,
        )
        return Decision(
            fused=fused, signals=signals, portfolio=self._report(fused, approval, settings)
        )

    def _situation(self, cross: CrossSection) -> Situation:
        book, settings = self.state, self.settings
        moves = None
        if len(book.closes) >= settings.var_horizon + settings.var_observations:
            moves = horizon_returns(book.closes, settings.var_horizon)
        priced = np.array([bar is not None for bar in cross.bars])
        stop = book.stop
        return Situation(
            current=book.portfolio.weights(),
            free=cross.ready & priced,
            annual_volatility=cross.volatility * settings.annual(cross.interval),
            volatile=book.volatile,
            stale=(book.silent >= settings.quiet_bars) | (book.cut >= settings.gap_bars),
            session_left=np.array(
                [
                    NEVER_CLOSES if bar is None or bar.session_left is None else bar.session_left
                    for bar in cross.bars
                ]
            ),
            clusters=book.clusters,
            moves=moves,
            rung=book.rung,
            drawdown=book.portfolio.drawdown,
            stopped=None if stop is None else f"{stop.actor}: {stop.reason}",
            muted=np.array([symbol in book.muted for symbol in self.symbols], np.bool_),
        )

    def _report(self, fused: Fused, approval: Approval, settings: RiskSettings) -> Portfolio:
        """Return the portfolio after trading, with the state of every limit."""
        book, portfolio = self.state, self.state.portfolio
        weights = portfolio.weights()
        worst = approval.value_at_risk
        groups: dict[int, list[str]] = {}
        for symbol, label in zip(self.symbols, book.clusters.tolist(), strict=True):
            groups.setdefault(label, []).append(symbol)
        return Portfolio(
            ts_close=fused.cross.ts_close,
            cash=portfolio.cash,
            equity=portfolio.equity,
            gross=float(abs(weights).sum()),
            net=float(weights.sum()),
            drawdown=portfolio.drawdown,
            var_95=None if worst is None else worst[0],
            var_99=None if worst is None else worst[-1],
            costs=portfolio.costs,
            trades=portfolio.trades,
            buy_and_hold=portfolio.buy_and_hold(self.settings.starting_cash, self.costs),
            stopped=book.stop is not None,
            holdings=portfolio.holdings(self.symbols),
            risk={
                "kupiec": book.exceptions.report(),
                "drawdown_rung": book.rung,
                "drawdown_multiplier": MULTIPLIERS[book.rung],
                "volatile": self._named(book.volatile),
                "clusters": [group for group in groups.values() if len(group) > 1],
                "fired": [
                    step.name
                    for step in approval.steps
                    if step.name not in {"entry", "size", "minimum_trade"} and step.acted.any()
                ],
                "stop": None if book.stop is None else msgspec.to_builtins(book.stop),
                "muted": {
                    symbol: msgspec.to_builtins(order) for symbol, order in book.muted.items()
                },
                "limits": {
                    name: {"value": getattr(settings, name), "most": getattr(self.settings, name)}
                    for name in LIMITS
                },
                # Of the whole market, so it is made here, where all shards have met.
                "fear_greed": self._fear_greed(fused),
            },
        )

    def _fear_greed(self, fused: Fused) -> dict[str, float]:
        silent = np.zeros(len(self.symbols))
        [detail] = [leg.detail for leg in fused.legs if leg.name == "sentiment"]
        return fear_greed(
            self.state.closes, detail.get("news_value", silent), detail.get("news_weight", silent)
        )

    def _named(self, flags: Flags) -> list[str]:
        return [self.symbols[row] for row in np.flatnonzero(flags).tolist()]


_TRADED = frozenset({BarQuality.OBSERVED, BarQuality.BACKFILLED})


def _medians(samples: Floats, least: int) -> Floats:
    """Return each column's lower median over its known values; NaN with fewer than `least`."""
    ordered = np.sort(samples, axis=0)  # NaN goes last
    known = np.isfinite(ordered).sum(axis=0)
    middle = ordered[np.maximum(known - 1, 0) // 2, np.arange(samples.shape[1])]
    return np.where(known >= least, middle, np.nan)
