"""Rows of a store as the API's answers: plain dictionaries of the shapes in `models`."""

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from api.rows import Row
from connectors.alerts.records import Silence, covered
from operators.messages import Control, Headline, Mood, ScoredHeadline

BRIEF = (
    "ts_close", "cash", "equity", "gross", "net", "drawdown", "var_95", "var_99", "costs", "trades",
    "buy_and_hold",
)  # fmt: skip
_OUTCOME = (
    "signal_id", "symbol", "ts_close", "horizon_ns", "realised_return", "score", "p_up",
    "forecast_value", "policy_value", "sentiment_value",
)  # fmt: skip
_BAR = (
    "ts_close", "open", "high", "low", "close", "volume", "vwap", "trades", "spread", "imbalance",
    "quality", "known_at",
)  # fmt: skip

_ALERT = (
    "fingerprint", "alert_id", "rule", "severity", "subject", "state", "summary", "since",
    "ts_event", "source",
)  # fmt: skip


class _Leg(msgspec.Struct):
    value: float | None = None
    weight: float = 0.0
    abstains: bool = True


class _Bar(msgspec.Struct, frozen=True):
    quality: str | None = None


class _Detail(msgspec.Struct):
    """Of a signal's detail, what a brief shows: decoding the rest would cost four times as much."""

    legs: dict[str, _Leg] = {}
    disagreement: float | None = None
    position: float | None = None
    bar: _Bar = _Bar()


_brief = msgspec.json.Decoder(_Detail).decode
_reasons = msgspec.json.Decoder(list[str]).decode


def signal_brief(row: Row) -> dict[str, Any]:
    """Return a row of signals as a `SignalBrief`."""
    detail = _brief(row["detail"])
    return _decided(row) | {
        "disagreement": detail.disagreement,
        "position": detail.position,
        "quality": detail.bar.quality,
        "legs": {
            name: {"value": leg.value, "weight": leg.weight, "abstains": leg.abstains}
            for name, leg in detail.legs.items()
        },
    }


def signal(row: Row) -> dict[str, Any]:
    """Return a row of signals as a `Signal`."""
    detail = msgspec.json.decode(row["detail"])
    return _decided(row) | {
        "disagreement": detail["disagreement"],
        "position": detail["position"],
        "quality": detail["bar"]["quality"],
        "legs": detail["legs"],
        "risk": detail["risk"],
        "costs": detail["costs"],
        "config_hash": detail["config_hash"],
        "models": detail["models"],
    }


def _decided(row: Row) -> dict[str, Any]:
    return {
        "signal_id": row["signal_id"],
        "symbol": row["symbol"],
        "ts_close": row["ts_close"],
        "interval": row["interval"],
        "action": row["action"],
        "score": row["score"],
        "confidence": row["confidence"],
        "target_position": row["target_position"],
        "approved": bool(row["approved"]),
        "price": row["price"],
        "reasons": _reasons(row["reasons"]),
    }


def bar(row: Row) -> dict[str, Any]:
    """Return a row of bars, or of repaired ones, as a `Bar`."""
    return {name: row.get(name) for name in _BAR}


def frame_bar(row: Row) -> dict[str, Any]:
    """Return a row of bars as a `FrameBar`."""
    names = ("symbol", "open", "high", "low", "close", "volume", "quality")
    return {name: row[name] for name in names}


def portfolio_brief(row: Row) -> dict[str, Any]:
    """Return a row of portfolios as a `PortfolioBrief`."""
    return {name: row[name] for name in BRIEF} | {"stopped": bool(row["stopped"])}


def portfolio(row: Row) -> dict[str, Any]:
    """Return a row of portfolios as a `Portfolio`."""
    return portfolio_brief(row) | {"holdings": holdings(row)}


def holdings(row: Row) -> list[dict[str, Any]]:
    """Return what a row of portfolios holds, as `Holding`s."""
    found = []
    equity = row["equity"] or math.inf
    for each in msgspec.json.decode(row["holdings"]):
        value = each["quantity"] * each["price"]
        found.append(each | {"value": value, "weight": value / equity})
    return found


def outcome(row: Row) -> dict[str, Any]:
    """Return a row of outcomes as an `Outcome`."""
    hit = row["hit"]
    return {name: row[name] for name in _OUTCOME} | {"hit": None if hit is None else bool(hit)}


def headline(row: Row) -> dict[str, Any]:
    """Return a notice of a headline or a mood as a `Headline`; its author is left out."""
    if row["kind"] == "Mood":
        mood = msgspec.json.decode(row["body"], type=Mood)
        return {
            "ts_known": mood.available_at,
            "after": row["after"],
            "kind": "mood",
            "source": mood.source,
            "text": None,
            "symbols": [],
            "value": mood.value,
        }
    if row["kind"] == "ScoredHeadline":
        scored = msgspec.json.decode(row["body"], type=ScoredHeadline)
        said = scored.headline
        odds = {name: getattr(scored, name) for name in ("positive", "negative", "neutral")}
    else:
        said, odds = msgspec.json.decode(row["body"], type=Headline), {}
    return {
        "ts_known": said.available_at,
        "after": row["after"],
        "kind": "headline",
        "source": said.source,
        "text": said.text,
        "symbols": list(said.symbols),
        "language": said.lang,
        "published_at": said.published_at,
        **odds,
    }


def order(
    control: Control, *, log_offset: int | None = None, after: int | None = None
) -> dict[str, Any]:
    """Return an order as an `Order`; one without a place in the log is on its way."""
    return {
        "id": control.id or (f"log-{log_offset}" if log_offset is not None else "unnamed"),
        "kind": control.kind,
        "actor": control.actor,
        "reason": control.reason,
        "posted_at": control.ts_event,
        "symbol": control.symbol,
        "limit": control.limit,
        "value": control.value,
        "state": "posted" if after is None else "in_force",
        "log_offset": log_offset,
        "after": after,
    }


def noticed_order(row: Row) -> dict[str, Any]:
    """Return a notice of an order as an `Order`."""
    control = msgspec.json.decode(row["body"], type=Control)
    return order(control, log_offset=row["log_offset"], after=row["after"])


def hole(row: Row) -> dict[str, Any]:
    """Return a row of holes as a `Hole`."""
    return {name: value for name, value in row.items() if name != "log_offset"}


def gap(row: Row) -> dict[str, Any]:
    """Return a row of gaps as a `Gap`."""
    missing = row["last_id"] - row["first_id"] + 1 - (row["filled"] or 0)
    return row | {"missing": max(missing, 0), "filled": row["filled"] or 0}


def alert(row: Row) -> dict[str, Any]:
    """Return a row of alerts as an `Alert`."""
    return {name: row[name] for name in _ALERT} | {
        "facts": msgspec.json.decode(row["facts"]),
        "simulated": bool(row["simulated"]),
    }


def firing_alert(row: Row, silences: Iterable[Silence]) -> dict[str, Any]:
    """Return a row of what fires as a `FiringAlert`."""
    return alert(row) | {
        "acknowledged_by": row["acknowledged_by"],
        "acknowledged_at": row["acknowledged_at"],
        "silenced": covered(row, silences),
    }


def silence(made: Silence) -> dict[str, Any]:
    """Return a silence as a `Silence`."""
    found: dict[str, Any] = msgspec.to_builtins(made)
    return found


def feed(row: Row) -> dict[str, Any]:
    """Return a row of feeds as a `FeedState`."""
    decode = msgspec.json.decode
    return row | {"counts": decode(row["counts"]), "gauges": decode(row["gauges"])}
