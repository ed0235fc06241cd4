"""Whether the forecast's intervals hold what they promise: counted on the stream, and corrected.

One interval of a symbol is followed at a time, from one multiple of the horizon to the next.
Intervals that overlap are right or wrong together; these are not, so that they can be counted as
single trials, and state is a row for each symbol. A miss widens that side of the symbol's next
intervals and a hit narrows it (adaptive conformal inference, Gibbs & Candes, 2021), each symbol for
itself: its intervals are the same in whatever shard it is.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.messages import BarQuality, CrossSection, Flags, Floats

MISS = 0.1  # promised: the share of returns beyond either quantile
# How far the chance of a miss is corrected by. Fewer than one in a hundred and intervals are of no
# use; more than three in ten and the width no longer says much of the outer quantile.
LEAST, MOST = 0.01, 0.3


class CoverageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast intervals follow what happens."""

    # Chosen on sessions before the test split, see the forecast's card; 0 only counts.
    step: float = 0.005

    def __post_init__(self) -> None:
        """Refuse a step that no correction could work with."""
        if not 0.0 <= self.step <= 0.5:
            raise ValueError("coverage.step must be from 0 to 0.5")


@dataclass(slots=True)
class Followed:
    """What is followed, what has been learned of it, and the count; rows are symbols."""

    due: int  # bar close at which the followed intervals are met
    price: Floats  # (symbols,) where they began; NaN where none is followed
    edges: Floats  # (symbols, 2): log returns at the quantiles .1 and .9
    miss: Floats  # (symbols, 2): the chance of a miss that widths are chosen for, by side
    below: int = 0
    within: int = 0
    above: int = 0


class Coverage:
    """Follow the intervals of one cross-section's symbols; `state` is all it knows."""

    def __init__(
        self,
        symbols: int,
        horizon: int,
        widths: tuple[list[float], list[float]],
        settings: CoverageSettings,
    ) -> None:
        """Take the horizon in bars, and how wide each side must be for a share of returns.

        `widths` are, at evenly spaced shares from 0 to 1, widths relative to the model's own.
        """
        self.horizon = horizon
        self.settings = settings
        self._widths = [np.array(side) for side in widths]
        self._shares = [np.linspace(0.0, 1.0, len(side)) for side in widths]
        self.state = Followed(
            due=0,
            price=np.full(symbols, np.nan),
            edges=np.zeros((symbols, 2)),
            miss=np.full((symbols, 2), MISS),
        )

    def widened(self, quantiles: Floats) -> Floats:
        """Return quantiles, (symbols, 3), with both sides as wide as misses so far ask for."""
        median = quantiles[:, 1]
        low, high = (
            self._width(side, self.state.miss[:, side]) / self._width(side, MISS) for side in (0, 1)
        )
        return np.stack(
            (
                median - low * (median - quantiles[:, 0]),
                median,
                median + high * (quantiles[:, 2] - median),
            ),
            axis=1,
        )

    def _width(self, side: int, miss: Floats | float) -> NDArray[np.float64]:
        return np.interp(1.0 - np.asarray(miss), self._shares[side], self._widths[side])

    def settle(self, cross: CrossSection) -> bool:
        """Meet the intervals that are due with the returns; say whether any was counted.

        As with outcomes, a symbol without a bar at the due close, or with a gap bar there, is
        not counted.
        """
        state = self.state
        if not state.due or cross.ts_close < state.due:
            return False
        closes = _closes(cross)
        if cross.ts_close > state.due:
            closes[:] = np.nan
        returns = np.log(closes / state.price)
        state.due = 0
        state.price = np.full(len(closes), np.nan)
        told = np.isfinite(returns)
        below, above = told & (returns < state.edges[:, 0]), told & (returns > state.edges[:, 1])
        missed = np.stack((below, above), axis=1)
        moved = state.miss + self.settings.step * (MISS - missed)
        state.miss = np.where(told[:, None], np.clip(moved, LEAST, MOST), state.miss)
        state.below += int(below.sum())
        state.above += int(above.sum())
        state.within += int((told & ~below & ~above).sum())
        return bool(told.any())

    def follow(self, cross: CrossSection, quantiles: Floats, abstains: Flags) -> None:
        """Take up the intervals given at `cross`, if it closes at a multiple of the horizon.

        Those without an outcome are left out: near the session's end, and begun on a gap bar.
        """
        state, reach = self.state, self.horizon * cross.interval
        if cross.ts_close % reach:
            return
        outlasts = np.array(
            [
                bar is not None and (bar.session_left is None or bar.session_left >= self.horizon)
                for bar in cross.bars
            ]
        )
        state.due = cross.ts_close + reach
        state.price = np.where(outlasts & ~abstains, _closes(cross), np.nan)
        state.edges = quantiles[:, [0, 2]].copy()


def _closes(cross: CrossSection) -> Floats:
    """Return last prices, (symbols,); NaN without a bar and of gap bars."""
    return np.array(
        [
            np.nan if bar is None or bar.quality is BarQuality.GAP else bar.close
            for bar in cross.bars
        ]
    )
