"""Signals with their reasons: what each leg said, what each risk step did, which gate held it."""

import hashlib
import math
from typing import Any

import numpy as np

from operators.messages import Action, Bar, BarQuality, Floats, Fused, Leg, Signal
from operators.portfolio import CostSettings
from operators.risk_settings import RiskSettings
from operators.sizing import CONFIRMED, EXIT, VERDICTS, Approval, direction

ACTIONS = {1: Action.BUY, -1: Action.SELL, 0: Action.HOLD}
GAP = "gap"  # no gate: what the decision could not know
DIGITS = 6  # of the weights shown in risk steps; the approved weight itself is not rounded


def signal_id(
    symbol: str, ts_close: int, interval: int, config_hash: str, models: tuple[str, ...]
) -> str:
    """Return the signal's identity: 32 hex digits that only its causes decide.

    >>> signal_id("BTCUSDT", 60, 1, "c0ffee", ("forecast@1", "policy@2", "sentiment@3"))
    '5e413caa5ba84b676ef24aea7e2bfa56'
    """
    causes = "|".join((symbol, str(ts_close), str(interval), config_hash, *models))
    return hashlib.blake2b(causes.encode(), digest_size=16).hexdigest()


def make_signals(
    fused: Fused,
    approval: Approval,
    paid: Floats,
    *,
    settings: RiskSettings,
    stopped: bool,
    config_hash: str,
    costs: CostSettings,
) -> tuple[Signal, ...]:
    """Return a signal for each ready symbol, in the universe's order.

    The action is the sign of the approved change. A signal is not approved if score and size
    asked for a change and a gate left it at HOLD; that gate comes first in `reasons`, behind
    "gap" where the signal was decided on a bar that a cut feed left incomplete. `paid` is what
    each trade cost, (symbols,).
    """
    cross = fused.cross
    models = tuple(leg.model for leg in fused.legs)
    target = approval.target + 0.0  # -0.0 becomes 0.0
    moves = np.sign(target - approval.current).astype(np.int64).tolist()
    reasons = _reasons(approval, moves, settings, stopped=stopped)
    legs = _legs(fused)
    steps = _steps(approval)
    rows = zip(
        target.tolist(),
        approval.current.tolist(),
        fused.score.tolist(),
        fused.confidence.tolist(),
        fused.disagreement.tolist(),
        paid.tolist(),
        strict=True,
    )
    signals = []
    for row, (weight, before, score, confidence, disagreement, cost) in enumerate(rows):
        bar = cross.bars[row]
        if not cross.ready[row] or bar is None:
            continue
        action = ACTIONS[moves[row]]
        signals.append(
            Signal(
                signal_id=signal_id(
                    bar.symbol, cross.ts_close, cross.interval, config_hash, models
                ),
                symbol=bar.symbol,
                ts_close=cross.ts_close,
                interval=cross.interval,
                action=action,
                score=score,
                confidence=confidence,
                target_position=weight,
                approved=action is not Action.HOLD or not approval.wanted[row],
                price=bar.close,
                reasons=(GAP, *reasons[row]) if bar.quality is BarQuality.GAP else reasons[row],
                detail={
                    "legs": {name: _at(leg, row) for name, leg in legs.items()},
                    "disagreement": disagreement,
                    "position": before,
                    "bar": _bar_row(bar),
                    "risk": [
                        {"step": name, "before": old[row], "after": new[row], "why": why[row]}
                        for name, old, new, why in steps
                    ],
                    "costs": {
                        "fee_bps": costs.fee_bps,
                        "slippage_bps": costs.slippage_bps,
                        "paid": cost,
                    },
                    "config_hash": config_hash,
                    "models": models,
                },
            )
        )
    return tuple(signals)


def _reasons(
    approval: Approval, moves: list[int], settings: RiskSettings, *, stopped: bool
) -> list[tuple[str, ...]]:
    """Name, by symbol, the gates that acted; for a HOLD the one that held it comes first."""
    size = len(moves)
    acted: list[list[str]] = [[] for _ in range(size)]
    holder: list[str | None] = [None] * size
    verdicts = approval.verdict.tolist()
    held = (approval.current != 0.0).tolist()
    wanted = approval.wanted
    for step in approval.steps:
        name = step.name
        if step.acted.any():
            for row in np.flatnonzero(step.acted).tolist():
                acted[row].append("exit_threshold" if name == "entry" else name)
        if name in {"entry", "size"}:
            continue
        lost = (wanted != 0) & (direction(step.after, approval.current, settings) != wanted)
        for row in np.flatnonzero(lost).tolist():
            holder[row] = holder[row] or name
    named: list[tuple[str, ...]] = []
    for row, (verdict, move) in enumerate(zip(verdicts, moves, strict=True)):
        if move != 0:
            named.append(tuple(acted[row]))
            continue
        if stopped:
            first = "emergency_stop"
        elif verdict not in {CONFIRMED, EXIT}:
            first = VERDICTS[verdict]
        else:
            first = holder[row] or ("at_target" if held[row] else "minimum_trade")
        others = (name for name in acted[row] if name not in {first, "minimum_trade"})
        named.append((first, *others))
    return named


def _legs(fused: Fused) -> dict[str, dict[str, Any]]:
    """Return each leg's numbers as lists by symbol, so that a row is cheap to take."""
    return {
        leg.name: {
            "value": _finite(leg.value),
            "certainty": _finite(leg.certainty),
            "weight": fused.weights[row].tolist(),
            "abstains": (leg.abstains | ~np.isfinite(leg.value)).tolist(),
            "detail": {name: _finite(values) for name, values in leg.detail.items()},
            "leg": leg,
        }
        for row, leg in enumerate(fused.legs)
    }


def _at(leg: dict[str, Any], row: int) -> dict[str, Any]:
    """Return one symbol's row of a leg."""
    source: Leg = leg["leg"]
    certainty = leg["certainty"][row]
    silent = leg["abstains"][row] or certainty is None
    return {
        "value": leg["value"][row],
        "certainty": certainty,
        "skill": source.skill,
        "confidence": 0.0 if silent else source.skill * certainty,
        "weight": leg["weight"][row],
        "abstains": silent,
        "detail": {name: values[row] for name, values in leg["detail"].items()},
        "model": source.model,
    }


def _finite(values: Floats) -> list[Any]:
    """Return an array as lists with None where it is not finite: JSON has no NaN."""
    listed: list[Any] = values.tolist()
    if np.isfinite(values).all():
        return listed
    return [value if math.isfinite(value) else None for value in listed]


def _steps(approval: Approval) -> list[tuple[str, list[float], list[float], list[str]]]:
    """Return each step's name, weights before and after, and why, as lists by symbol."""
    before = _rounded(approval.current)
    steps = []
    for step in approval.steps:
        after = _rounded(step.after)
        why = [step.why] * len(after) if isinstance(step.why, str) else step.why
        steps.append((step.name, before, after, why))
        before = after
    return steps


def _rounded(weights: Floats) -> list[float]:
    return (np.round(weights, DIGITS) + 0.0).tolist()


def _bar_row(bar: Bar) -> dict[str, Any]:
    return {"quality": bar.quality.value, "volume": bar.volume, "session_left": bar.session_left}
