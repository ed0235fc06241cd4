"""What risk allows, with the reason for each default."""

import math

import msgspec


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on positions; weights and losses are fractions of equity, times are in bars."""

    starting_cash: float = 100_000.0  # of the paper portfolio, in quote currency

    # Entry: scores are ranks, so 0.4 asks the weighted legs to agree on more than a typical
    # output. Leaving asks for less than entering, or costs would eat each flicker.
    entry_score: float = 0.4
    exit_score: float = 0.1
    # Skill times certainty. Measured skill on bars this short is small; under 0.02 the legs
    # have shown nothing.
    minimum_confidence: float = 0.02

    # Size: each position alone should move equity by about 5 % a year.
    position_volatility: float = 0.05
    # Bars in a year of trading, to annualise; None: trading never stops (365 days). One-minute
    # bars of the NYSE: 252 * 390.
    bars_per_year: float | None = None
    # A symbol that hardly moves is not free of risk; sizes are not computed below this.
    volatility_floor: float = 0.02

    position_limit: float = 0.20  # five positions fill the book
    # Sizes are cut to this much below a limit that binds, so that drift in price does not make
    # it bind again at each bar.
    headroom: float = 0.05

    # No new exposure once a symbol's 60-bar volatility is this many times its usual one (the
    # median over the last `volatility_memory` samples, one every 10 bars: 16 min of one-second
    # bars), until it is back under the release.
    volatility_limit: float = 3.0
    volatility_release: float = 2.0
    volatility_memory: int = 96

    # No new exposure on prices that nobody has traded at for so many bars; a cut feed is known
    # to be blind, so it is trusted for less.
    quiet_bars: int = 30
    gap_bars: int = 3

    # Symbols whose one-bar returns over the last 128 bars correlate by 0.7 are one bet.
    correlation: float = 0.7
    correlation_bars: int = 128
    correlation_every: int = 15  # bars between two looks; it moves slowly
    cluster_limit: float = 0.50

    gross_limit: float = 1.0  # no leverage
    net_limit: float = 0.6  # at least a part of the book is not the market's direction

    # Sizes x 1/2, x 1/4, x 0 from these drawdowns on: losing a third of what one is ready to
    # lose is the time to doubt. Flat is left only by an operator's "resume".
    drawdown_steps: tuple[float, float, float] = (0.05, 0.10, 0.15)
    drawdown_recovery: float = 0.8  # a step is taken back below this share of its drawdown

    # Historical value at risk: over so many bars ahead, from the last `history` bars, which hold
    # about 50 spans that do not overlap. A longer horizon would need a longer memory: four
    # spans say nothing about the hundredth. The limit is on the 99 % one.
    var_horizon: int = 10
    var_limit: float = 0.005
    history: int = 512
    var_observations: int = 128  # with fewer there is no value at risk yet, and no limit

    # No new positions so shortly before a session's end; at its last bar all are closed.
    session_entry_bars: int = 15

    # A change is left out when it is under 0.2 % of equity (not worth an order), or under a
    # fifth of the position (it would only follow the noise of the volatility estimate, which
    # over 60 bars is about a tenth).
    minimum_trade: float = 0.002
    rebalance: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values that contradict one another."""
        numbers = (getattr(self, name) for name in self.__struct_fields__)
        if any(isinstance(value, float) and not math.isfinite(value) for value in numbers):
            raise ValueError("risk settings must be finite")
        rules = {
            "0 <= exit_score < entry_score <= 1": 0 <= self.exit_score < self.entry_score <= 1,
            "0 <= minimum_confidence <= 1": 0 <= self.minimum_confidence <= 1,
            "starting_cash > 0": self.starting_cash > 0,
            "position_volatility > 0": self.position_volatility > 0,
            "volatility_floor > 0": self.volatility_floor > 0,
            "bars_per_year > 0": self.bars_per_year is None or self.bars_per_year > 0,
            "0 <= headroom < 1": 0 <= self.headroom < 1,
            "limits > 0": min(
                self.position_limit,
                self.cluster_limit,
                self.gross_limit,
                self.net_limit,
                self.var_limit,
            )
            > 0,
            "0 < volatility_release <= volatility_limit": 0
            < self.volatility_release
            <= self.volatility_limit,
            "drawdown_steps ascend in (0, 1)": 0
            < self.drawdown_steps[0]
            < self.drawdown_steps[1]
            < self.drawdown_steps[2]
            < 1,
            "0 < drawdown_recovery <= 1": 0 < self.drawdown_recovery <= 1,
            "0 < correlation <= 1": 0 < self.correlation <= 1,
            "counts of bars >= 1": min(
                self.quiet_bars,
                self.gap_bars,
                self.correlation_every,
                self.var_horizon,
                self.var_observations,
            )
            >= 1,
            "volatility_memory >= 6": self.volatility_memory >= 6,
            "correlation_bars <= history": 2 <= self.correlation_bars <= self.history,
            "var_horizon + var_observations <= history": self.var_horizon + self.var_observations
            <= self.history,
            "minimum_trade >= 0": self.minimum_trade >= 0,
            "0 <= rebalance < 1": 0 <= self.rebalance < 1,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError("risk settings must keep: " + "; ".join(broken))

    def annual(self, interval: int) -> float:
        """Return the factor from one-bar to annual volatility for bars of `interval` ns."""
        year = 365 * 86_400 * 1_000_000_000 / interval
        return math.sqrt(year if self.bars_per_year is None else self.bars_per_year)
