"""A risk stage with a portfolio of its own, fed one bar close after the other."""

import numpy as np

from operators.fusion import LEGS, FusionSettings, fuse
from operators.messages import BarQuality, Checkpoint, Control, Decision
from operators.risk import CostSettings, Risk, RiskSettings
from tests.support import bar, cross_section, leg, notice

# Limits so wide that a test sees only the one it narrows.
WIDE = {
    "position_volatility": 0.1,
    "position_limit": 1.0,
    "cluster_limit": 50.0,
    "gross_limit": 50.0,
    "net_limit": 50.0,
    "var_limit": 1.0,
}
FREE = CostSettings(fee_bps=0.0, slippage_bps=0.0)


def order(kind, actor="ann", reason="test", **fields):
    """Return the notice of an operator's control."""
    return notice(Control(kind=kind, actor=actor, reason=reason, ts_event=0, **fields))


class Desk:
    """Feed `close_bar` and read the decision; the forecast alone makes the score."""

    def __init__(self, symbols=("A", "B"), costs=FREE, every=10**9, **settings):
        self.symbols = symbols
        self.settings = RiskSettings(**WIDE | settings)
        self.stage = Risk(self.settings, costs, symbols, "test", every)
        self.seconds = 0

    def fused(
        self,
        scores=0.0,
        closes=100.0,
        *,
        volatility=1e-4,
        skill=0.5,
        quality=BarQuality.OBSERVED,
        session_left=None,
        notices=(),
        ready=True,
        missing=(),
    ):
        """Return the next bar close; scalars stand for all symbols."""
        self.seconds += 1
        size = len(self.symbols)
        scores, closes, volatility = (
            np.broadcast_to(np.array(each, float), size) for each in (scores, closes, volatility)
        )
        qualities = [quality] * size if isinstance(quality, BarQuality) else quality
        bars = tuple(
            None
            if symbol in missing
            else bar(
                symbol,
                float(close),
                self.seconds,
                quality=each,
                session_left=session_left,
            )
            for symbol, close, each in zip(self.symbols, closes, qualities, strict=True)
        )
        present = np.array([each is not None for each in bars])
        cross = cross_section(
            self.symbols,
            self.seconds,
            bars=bars,
            volatility=np.array(volatility),
            ready=present & np.broadcast_to(ready, size),
            notices=tuple(notices),
        )
        silent = np.ones(size, np.bool_)
        legs = [
            leg(
                name,
                self.seconds,
                scores if name == "forecast" else np.zeros(size),
                skill=skill,
                abstains=~silent if name == "forecast" else silent,
            )
            for name in LEGS
        ]
        return fuse(cross, legs, FusionSettings())

    def results(self, *args, **fields):
        """Return all that follows from the next bar close."""
        return list(self.stage.on(self.fused(*args, **fields)))

    def close_bar(self, *args, **fields):
        """Return the next bar close's decision."""
        (decision,) = [
            each for each in self.results(*args, **fields) if not isinstance(each, Checkpoint)
        ]
        assert isinstance(decision, Decision)
        return decision


def weights(decision):
    """Return the approved weights."""
    return [signal.target_position for signal in decision.signals]


def actions(decision):
    """Return the actions as text."""
    return [signal.action.value for signal in decision.signals]


def first_reasons(decision):
    """Return what held or changed each signal first, or None."""
    return [signal.reasons[0] if signal.reasons else None for signal in decision.signals]


def step(decision, name, row=0):
    """Return one risk step of one signal."""
    (found,) = [each for each in decision.signals[row].detail["risk"] if each["step"] == name]
    return found
