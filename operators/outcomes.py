"""Predictions meet what happened: each signal's realised return at its horizon."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from operators.messages import BarQuality, Decision, Fused, Leg, Outcome, Signal, Tally

BINS = 10  # of predicted probabilities, for calibration


class Waiting(NamedTuple):
    """Of a signal, what its outcome needs."""

    signal_id: str
    ts_close: int
    price: float
    score: float
    p_up: float | None
    values: tuple[float | None, float | None, float | None]  # forecast, policy, sentiment


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, Waiting]).decode


@dataclass(slots=True)
class OutcomesState:
    """Signals that wait, by the bar close they wait for; and the live record.

    Those of one close are packed, {symbol: Waiting}: they rest for a whole horizon, and every
    snapshot would take all of them apart.
    """

    waiting: dict[int, bytes] = field(default_factory=dict)
    judged: int = 0  # outcomes where both score and return had a sign
    hits: int = 0
    predicted: list[int] = field(default_factory=lambda: [0] * BINS)  # forecasts by p_up
    rose: list[int] = field(default_factory=lambda: [0] * BINS)  # of those, how many were right
    squared_error: float = 0.0  # sum of (p_up - rose)^2: Brier score x predictions
    dropped: dict[str, int] = field(default_factory=dict)


class Outcomes:
    """Pass each `Decision` on, followed by the `Outcome`s of the signals that are now due.

    The horizon is counted in time: the bar must close exactly `horizon_bars` intervals after
    the signal's, in the same session. A signal too near its session's end, one whose bar never
    comes, and one with a gap bar at either end has no outcome; it is dropped and counted in a
    `Tally`. Other messages pass through.

    >>> stage = Outcomes(horizon_bars=60)
    >>> list(stage.on("another message"))
    ['another message']
    """

    def __init__(self, horizon_bars: int) -> None:
        self.horizon_bars = horizon_bars
        self.state = OutcomesState()

    def on(self, message: Any) -> Iterable[Any]:
        """Take a `Decision`: settle what is due, then remember its signals."""
        if not isinstance(message, Decision):
            return (message,)
        dropped: set[str] = set()
        out: list[Any] = [message, *self._settle(message.fused, dropped)]
        self._remember(message, dropped)
        out.extend(
            Tally(key="outcomes", name=name, count=self.state.dropped[name])
            for name in sorted(dropped)
        )
        return out

    def on_end(self) -> Iterable[Any]:
        """Report nothing; what waits stays in state."""
        return ()

    def _settle(self, fused: Fused, dropped: set[str]) -> Iterable[Outcome]:
        cross, waiting = fused.cross, self.state.waiting
        for due in [due for due in waiting if due < cross.ts_close]:
            self._drop("no_bar", len(_unpack(waiting.pop(due))), dropped)
        packed = waiting.pop(cross.ts_close, None)
        due_now = {} if packed is None else _unpack(packed)
        for bar in cross.bars:
            if bar is None or bar.symbol not in due_now:
                continue
            waited = due_now.pop(bar.symbol)
            if bar.quality is BarQuality.GAP:
                self._drop("gap", 1, dropped)
                continue
            yield self._judge(
                bar.symbol, waited, math.log(bar.close / waited.price), cross.ts_close
            )
        self._drop("no_bar", len(due_now), dropped)

    def _judge(self, symbol: str, waited: Waiting, realised: float, ts_close: int) -> Outcome:
        """Return the outcome and add it to the live record."""
        state = self.state
        agreement = waited.score * realised
        hit = None if waited.score == 0.0 or realised == 0.0 else agreement > 0.0
        if hit is not None:
            state.judged += 1
            state.hits += hit
        if waited.p_up is not None:
            rose = realised > 0.0
            index = min(int(waited.p_up * BINS), BINS - 1)
            state.predicted[index] += 1
            state.rose[index] += rose
            state.squared_error += (waited.p_up - rose) ** 2
        forecast, policy, sentiment = waited.values
        return Outcome(
            signal_id=waited.signal_id,
            symbol=symbol,
            ts_close=waited.ts_close,
            horizon_ns=ts_close - waited.ts_close,
            realised_return=realised,
            score=waited.score,
            p_up=waited.p_up,
            forecast_value=forecast,
            policy_value=policy,
            sentiment_value=sentiment,
            hit=hit,
        )

    def _remember(self, decision: Decision, dropped: set[str]) -> None:
        cross = decision.fused.cross
        due = cross.ts_close + self.horizon_bars * cross.interval
        legs = [_spoken(leg) for leg in decision.fused.legs]
        p_up = next(
            (leg.detail["p_up"].tolist() for leg in decision.fused.legs if "p_up" in leg.detail),
            None,
        )
        signals: dict[str, Signal] = {signal.symbol: signal for signal in decision.signals}
        remembered: dict[str, Waiting] = {}
        for row, bar in enumerate(cross.bars):
            if bar is None or bar.symbol not in signals:
                continue
            if bar.session_left is not None and bar.session_left < self.horizon_bars:
                self._drop("session_end", 1, dropped)
                continue
            if bar.quality is BarQuality.GAP:
                self._drop("gap", 1, dropped)
                continue
            signal = signals[bar.symbol]
            forecast, policy, sentiment = (values[row] for values in legs)
            chance = p_up[row] if p_up is not None and forecast is not None else None
            remembered[bar.symbol] = Waiting(
                signal_id=signal.signal_id,
                ts_close=signal.ts_close,
                price=signal.price,
                score=signal.score,
                p_up=chance,
                values=(forecast, policy, sentiment),
            )
        if remembered:
            self.state.waiting[due] = _pack(remembered)

    def _drop(self, name: str, count: int, dropped: set[str]) -> None:
        if count:
            self.state.dropped[name] = self.state.dropped.get(name, 0) + count
            dropped.add(name)


def _spoken(leg: Leg) -> list[float | None]:
    """Return a leg's values by symbol, None where it abstains."""
    silent = leg.abstains | ~np.isfinite(leg.value)
    return [
        None if quiet else value
        for quiet, value in zip(silent.tolist(), leg.value.tolist(), strict=True)
    ]
