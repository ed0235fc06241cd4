"""Which positions the policy may take and what a change costs: one code for training and serving.

A position is -1, 0 or +1 (short, flat, long; a full unit of whatever size risk allows). It is
decided at a bar's close and earns the return to the next close. It is *virtual*: implied by
the policy's own actions, never the portfolio's, so that the dataflow has no cycle.

Everything is vectorised over symbols; arrays are (symbols,) unless said otherwise.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features import Floats, Singles
from models.schema import WINDOW

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

POSITIONS: Final = (-1, 0, 1)  # the columns of the policy's probabilities
NEVER_CLOSES: Final = -1  # stands for "no session end" in `session_left`
BASIS_POINT: Final = 1e-4

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND


class PositionRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What binds the policy, in training as in serving; the defaults are for one-minute bars."""

    # A position is kept at least this long: shorter ones pay the spread for noise. As long as
    # the forecast's horizon; an edge of these features lasts no longer (`models.ppo.study`).
    min_holding_bars: int = 15
    # Overnight gaps are a risk that bars of the day say nothing about.
    flat_at_session_end: bool = True
    # The no-trade band: the new position's probability must exceed the held one's by this much.
    # Two nearly equal preferences would otherwise flip with each bar and pay each time.
    switching_margin: float = 0.4
    # Commission and fees for each side, of notional. Half a basis point is what a low-cost
    # broker takes from a liquid US share (0.0035 USD a share of 70 USD).
    fee_bps: float = 0.5
    # Half the spread and a little impact, of notional, for each side.
    slippage_bps: float = 1.0


def rules_for(interval: int) -> PositionRules:
    """Return the rules of the shipped policy for bars of `interval` ns, chosen on validation.

    One-second bars: a band that no opinion has crossed, as no setting paid its costs; these are
    those of a large account at a crypto venue (0.5 bp each; a retail taker pays 5 to 10 bp).
    """
    if interval <= SECOND:
        return PositionRules(
            min_holding_bars=300, switching_margin=0.9, fee_bps=0.5, slippage_bps=0.5
        )
    return PositionRules()


def trade_cost(delta_position: Floats, fee_bps: float, slippage_bps: float | Floats) -> Floats:
    """Return what changing a position by `delta_position` costs, as a fraction of notional.

    `slippage_bps` may be given for each symbol, where its spread is known.

    >>> trade_cost(np.array([0.0, 1.0, -2.0]), fee_bps=1.5, slippage_bps=1.0).tolist()
    [0.0, 0.00025, 0.0005]
    """
    return np.abs(delta_position) * ((fee_bps + slippage_bps) * BASIS_POINT)


def wanted(probabilities: Floats, position: Integers, rules: PositionRules) -> Integers:
    """Return the likeliest position, or the held one where its lead is within the margin.

    `probabilities` is (symbols, 3) for -1, 0, +1. No draw: the same probabilities always
    want the same position. A row that is not finite wants what it has.
    """
    best = probabilities.argmax(1)
    rows = np.arange(len(position))
    lead = probabilities[rows, best] - probabilities[rows, position + 1]
    # A NaN anywhere in the row fails this comparison or is the argmax, whose lead is NaN.
    return np.where(lead > rules.switching_margin, best - 1, position)


def allowed(
    target: Integers,
    position: Integers,
    held: Integers,
    session_left: Integers,
    ready: Flags,
    rules: PositionRules,
) -> tuple[Integers, Integers]:
    """Return the position that the rules grant for `target`, and since how many bars it stands.

    Nothing is traded where not `ready`; an open position is kept for `min_holding_bars`; none
    is opened with less than that left of the session; at its last bar all are flat, which
    overrides everything else. `session_left` counts the bars still to come in the session,
    `NEVER_CLOSES` where there is no end.
    """
    kept_long_enough = (position == 0) | (held >= rules.min_holding_bars)
    target = np.where(ready & kept_long_enough, target, position)
    if rules.flat_at_session_end:
        ends = session_left != NEVER_CLOSES
        too_late = ends & (session_left < rules.min_holding_bars)
        # Too late to open; reversing becomes closing, keeping stays possible.
        target = np.where(too_late & (target != position), 0, target)
        target = np.where(ends & (session_left <= 0), 0, target)
    return target, np.where(target == position, held + 1, 1)


def next_position(
    probabilities: Floats,
    position: Integers,
    held: Integers,
    session_left: Integers,
    ready: Flags,
    rules: PositionRules,
) -> tuple[Integers, Integers]:
    """Return the virtual position after this bar, and for how many bars it will have stood.

    >>> next_position(
    ...     np.array([[0.1, 0.2, 0.7], [0.34, 0.32, 0.34], [0.8, 0.1, 0.1]]),
    ...     position=np.array([0, 0, 1]), held=np.array([9, 9, 2]),
    ...     session_left=np.array([100, 100, 100]), ready=np.array([True, True, True]),
    ...     rules=PositionRules(switching_margin=0.1),
    ... )
    (array([1, 0, 1]), array([ 1, 10,  3]))
    """
    target = wanted(probabilities, position, rules)
    return allowed(target, position, held, session_left, ready, rules)


def observe(rows: Singles, position: Integers, held: Integers) -> Singles:
    """Return the policy's input, (symbols, features + 2) float32.

    The last feature row, the virtual position and how long it has stood, in windows up to 1;
    how long a symbol has been flat says nothing and reads 0.
    """
    stood = np.where(position == 0, 0.0, np.minimum(held, WINDOW) / WINDOW)
    extra = np.stack((position, stood), axis=1)
    return np.concatenate((rows, extra.astype(np.float32)), axis=1)


def preference_of(probabilities: Floats) -> Floats:
    """Return the log-odds of long against short, (symbols,), positive is bullish.

    Odds, as the difference p(long) - p(short) saturates once a policy has made up its mind.

    >>> preference_of(np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])).round(1).tolist()
    [0.0, 20.7]
    """
    bounded = np.maximum(probabilities, 1e-9)
    out: Floats = np.log(bounded[:, 2] / bounded[:, 0])
    return out
