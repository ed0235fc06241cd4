"""When the stream alerts, with the reason for each default."""

import math

import msgspec


class AlertRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of the rules; times are of the stream. They decide nothing but alerts."""

    # Trading stops on a symbol after three gap bars; a short cut is backfilled and a standby
    # feed takes over after ten seconds. What lasts longer needs a person.
    data_cut_seconds: float = 15.0
    # No bar at all since the run began: a symbol may be quiet for a while before its first trade.
    no_data_seconds: float = 300.0

    # Of the drawdown at which the ladder goes flat, which only a person takes back.
    drawdown_share: float = 0.8

    # Outcomes of one horizon overlap and symbols move together, so hits are no coin tosses:
    # they are summed over spans of two horizons, and the spans' own spread makes the interval.
    # Under 20 spans say too little; 60 spans of one-second bars (horizon 60) are two hours.
    # Expected: better than a coin. Four standard errors, since it is looked at every span and few
    # spans have heavy tails: of 300 days of coins 4 to 8 alarm (with three, 51), and a hit rate of
    # 45 % is found out within some 70 minutes.
    accuracy_expected: float = 0.5
    accuracy_errors: float = 4.0
    accuracy_least: int = 20
    accuracy_spans: int = 60

    # Scores are weighted ranks in [-1, 1]; 0.8 asks all legs that speak to be near their best.
    # A strong signal is told once, until the score has been below the release.
    signal_score: float = 0.8
    signal_release: float = 0.6
    # Changes of a position, in fractions of equity, below which only opening, closing and
    # turning are told.
    position_change: float = 0.05

    # What has ceased to hold must stay away so long before it is resolved, or an alert would
    # flicker with its condition.
    clear_seconds: float = 30.0
    repeat_seconds: float = 3600.0  # what goes on firing is told again

    # Alerts a minute of one rule, and of all: a storm must not hide what matters. Critical ones
    # and the end of what was told are not limited, and do not count.
    rule_per_minute: int = 20
    total_per_minute: int = 60

    def __post_init__(self) -> None:
        """Refuse values that no rule could work with."""
        numbers = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, value in numbers.items():
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"alerts.rules.{name} must be finite and at least 0")
        rules = {
            "0 < drawdown_share <= 1": 0 < self.drawdown_share <= 1,
            "0 < accuracy_expected < 1": 0 < self.accuracy_expected < 1,
            "2 <= accuracy_least <= accuracy_spans": 2
            <= self.accuracy_least
            <= self.accuracy_spans,
            "signal_release <= signal_score": self.signal_release <= self.signal_score,
            "rule_per_minute and total_per_minute at least 1": min(
                self.rule_per_minute, self.total_per_minute
            )
            >= 1,
        }
        for rule, kept in rules.items():
            if not kept:
                raise ValueError(f"alerts.rules: {rule} is not so")


class ProcessRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of what is watched beside the stream of a live run, by the machine's clock."""

    cpu_share: float = 0.9  # of all processors, or of those this process may use
    # The floors of the design for fifty symbols on two cores; see flows/latency.py.
    tick_p99_ms: float = 50.0  # from a tick's receipt until it is checked
    decision_p99_ms: float = 600.0  # from a bar's Clock to the decision
    window_seconds: float = 120.0  # over which quantiles are taken
    # So long above its threshold: a burst is no news. And so long below until it is resolved.
    lasting_seconds: float = 60.0
    clear_seconds: float = 60.0
    repeat_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse values that no rule could work with."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"alerts.process.{name} must be finite and at least 0")
