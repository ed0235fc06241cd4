"""Builders of what a store holds: decisions and their records, with defaults."""

from pathlib import Path
from typing import Any

import numpy as np

from connectors.sinks.sqlite import SqliteSink
from operators.alert_book import fingerprint_of
from operators.messages import (
    SECOND,
    Action,
    Alert,
    AlertState,
    Bar,
    CrossSection,
    Decision,
    Fused,
    Gap,
    Hole,
    HoleState,
    Outcome,
    Portfolio,
    Reason,
    Rejection,
    Repaired,
    Severity,
    Signal,
    Switch,
)

TS = 1_723_161_600 * SECOND  # a round minute of 2024-08-09


def signal(symbol: str = "BTCUSDT", ts_close: int = TS, **fields: Any) -> Signal:
    """One BUY, unless told otherwise."""
    detail = {
        "legs": {
            "forecast": {"value": 0.5, "confidence": 0.3, "weight": 0.6, "model": "f@1"},
            "policy": {"value": 1.0, "confidence": 0.2, "weight": 0.4, "model": "p@1"},
            "sentiment": {"value": 0.0, "confidence": 0.0, "weight": 0.0, "model": "s@1"},
        },
        "risk": [{"step": "volatility_target", "before": 0.2, "after": 0.1}],
    }
    defaults: dict[str, Any] = {
        "signal_id": f"{symbol}-{ts_close}",
        "interval": SECOND,
        "action": Action.BUY,
        "score": 0.1 + 0.2,  # no short decimal: its last bit must survive
        "confidence": 0.5,
        "target_position": 0.1,
        "approved": True,
        "price": 60_000.0,
        "reasons": (),
        "detail": detail,
    }
    return Signal(symbol=symbol, ts_close=ts_close, **(defaults | fields))


def portfolio(ts_close: int = TS, **fields: Any) -> Portfolio:
    """A flat portfolio of a million."""
    defaults: dict[str, Any] = {
        "cash": 1e6,
        "equity": 1e6,
        "gross": 0.0,
        "net": 0.0,
        "drawdown": 0.0,
        "var_95": None,
        "var_99": None,
        "costs": 0.0,
        "trades": 0,
        "buy_and_hold": 1e6,
        "stopped": False,
        "holdings": (),
        "risk": {},
    }
    return Portfolio(ts_close=ts_close, **(defaults | fields))


def decision(*signals: Signal, ts_close: int = TS, **of_portfolio: Any) -> Decision:
    """A decision on `signals`, over a cross-section without symbols."""
    nothing = np.zeros(0)
    cross = CrossSection(
        shard=0,
        ts_close=ts_close,
        interval=SECOND,
        symbols=(),
        bars=(),
        features=np.zeros((0, 60, 1), np.float32),
        volatility=nothing,
        ready=np.zeros(0, np.bool_),
    )
    fused = Fused(
        cross=cross,
        legs=(),
        weights=np.zeros((0, 0)),
        score=nothing,
        confidence=nothing,
        disagreement=nothing,
    )
    return Decision(fused=fused, signals=signals, portfolio=portfolio(ts_close, **of_portfolio))


def stored_bar(symbol: str = "BTCUSDT", ts_close: int = TS, **fields: Any) -> Bar:
    """An observed bar of two trades and three quotes."""
    defaults: dict[str, Any] = {
        "interval": SECOND,
        "open": 60_000.0,
        "high": 60_010.0,
        "low": 59_990.0,
        "close": 60_001.0,
        "volume": 0.5,
        "trades": 2,
        "quotes": 3,
        "vwap": 60_000.5,
    }
    return Bar(symbol=symbol, ts_close=ts_close, **(defaults | fields))


def rejection(offset: int = 0, reason: Reason = Reason.BAD_JSON, **fields: Any) -> Rejection:
    """A rejected line."""
    defaults: dict[str, Any] = {"payload": b"{", "ts_init": TS}
    return Rejection(offset=offset, reason=reason, **(defaults | fields))


def outcome(of: Signal, hit: bool | None = True, **fields: Any) -> Outcome:
    """The realised return of a signal."""
    defaults: dict[str, Any] = {
        "horizon_ns": 60 * SECOND,
        "realised_return": 1e-4,
        "score": of.score,
        "p_up": 0.55,
        "forecast_value": 0.5,
        "policy_value": 1.0,
        "sentiment_value": None,
        "hit": hit,
    }
    return Outcome(
        signal_id=of.signal_id, symbol=of.symbol, ts_close=of.ts_close, **(defaults | fields)
    )


def repaired(*bars: Bar, known_at: int = TS + 10 * SECOND) -> Repaired:
    """Later forms of closed bars of one symbol."""
    return Repaired(symbol=bars[0].symbol, known_at=known_at, bars=bars)


def hole(symbol: str = "BTCUSDT", state: HoleState = HoleState.OPEN, **fields: Any) -> Hole:
    """A cut of two seconds, found after one; resolved after five where its state says so."""
    opened = state is HoleState.OPEN
    defaults: dict[str, Any] = {
        "feed": "binance",
        "cause": "cut",
        "ts_from": TS,
        "ts_to": None if opened else TS + 2 * SECOND,
        "found_at": TS + SECOND,
        "resolved_at": None if opened or state is HoleState.ENDED else TS + 5 * SECOND,
    }
    return Hole(symbol=symbol, state=state, **(defaults | fields))


def switch(symbol: str = "BTCUSDT", **fields: Any) -> Switch:
    """From the first feed to the second, because it was cut."""
    defaults: dict[str, Any] = {
        "before": "binance",
        "after": "yahoo",
        "cause": "cut",
        "ts_event": TS,
    }
    return Switch(symbol=symbol, **(defaults | fields))


def alert(
    rule: str = "data_cut",
    subject: str = "BTCUSDT",
    severity: str = "critical",
    state: str = "firing",
    ts_event: int = TS,
    **fields: Any,
) -> Alert:
    """What has just begun to fire."""
    since = fields.pop("since", ts_event)
    fingerprint = fingerprint_of(rule, subject)
    defaults: dict[str, Any] = {
        "fingerprint": fingerprint,
        "alert_id": f"{fingerprint}-{since}",
        "summary": f"{subject}: {rule}",
        "facts": {"seconds": 15.0},
        "since": since,
    }
    return Alert(
        rule=rule,
        subject=subject,
        severity=Severity(severity),
        state=AlertState(state),
        ts_event=ts_event,
        **(defaults | fields),
    )


def gap(first_id: int, last_id: int, filled: int = 0, **fields: Any) -> Gap:
    """Missing trades of a second."""
    defaults: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "venue": "binance",
        "ts_from": TS,
        "ts_to": TS + SECOND,
    }
    return Gap(first_id=first_id, last_id=last_id, filled=filled, **(defaults | fields))


def store_messages(path: Path, *messages: Any, live: bool = False, simulated: bool = False) -> Path:
    """Write messages as one batch, as the flow would, and return the path."""
    part = SqliteSink(path, live=live, simulated=simulated).build_part("store", "0", None)
    part.write_batch(list(messages))
    part.snapshot()
    part.close()
    return path
