"""From fused scores to approved weights: steps in one fixed order, each on record.

1. `entry`          score and confidence decide: long, short, flat, or keep what is held
2. `size`           volatility target: calm symbols get more weight, wild ones less
3. `symbol_limit`   no symbol above its share of equity
4. `volatility_limit`, 5. `stale_data`, 6. `session_end`: nothing may open or grow; at a
   session's last bar everything closes; `muted` behind them, only while an operator has muted a
   symbol: it may not open or grow either
7. `drawdown`       all sizes x the ladder's rung
8. `cluster_limit`, 9. `gross_limit`, 10. `net_limit`, 11. `var_limit`: the book as a whole
12. `emergency_stop` everything closes while it is latched
13. `minimum_trade` changes too small to be worth their cost are left out, unless that would
    break a limit

Steps 3 to 12 only ever make a position smaller, so that none undoes another.
"""

from dataclasses import dataclass, field

import numpy as np

from models.ppo.rules import Integers
from operators.limits import (
    cluster_gross,
    gross_scale,
    limit_clusters,
    limit_net,
    no_new_exposure,
)
from operators.messages import Flags, Floats, Fused
from operators.risk_settings import RiskSettings
from operators.value_at_risk import LEVELS, portfolio_losses, value_at_risk

MULTIPLIERS = (1.0, 0.5, 0.25, 0.0)  # of the drawdown ladder's rungs

# What `entry` may say of a symbol; all but "confirmed" can be a HOLD's reason.
VERDICTS = (
    "confirmed",
    "abstained",
    "below_threshold",
    "low_confidence",
    "no_trade_band",
    "exit_threshold",
)
CONFIRMED, ABSTAINED, BELOW, UNSURE, KEEP, EXIT = range(6)


@dataclass(slots=True)
class Situation:
    """What risk knows at one bar close; arrays are (symbols,)."""

    current: Floats  # weights held now
    free: Flags  # can be traded: ready, and with a price
    annual_volatility: Floats
    volatile: Flags
    stale: Flags
    session_left: Integers  # bars still to come in the session, -1 where there is no end
    clusters: Integers
    moves: Floats | None  # (spans, symbols) returns over the horizon; None: too little history
    rung: int
    drawdown: float
    stopped: str | None  # who stopped trading, and why
    muted: Flags  # by an operator


@dataclass(slots=True)
class Step:
    """One step: the weights after it, whether it acted, and why, for all or by symbol."""

    name: str
    after: Floats
    acted: Flags
    why: str | list[str]


@dataclass(slots=True)
class Approval:
    """The outcome of the pass."""

    current: Floats
    verdict: Integers  # index in VERDICTS
    wanted: Integers  # direction of the change that score and size ask for: -1, 0, 1
    steps: list[Step] = field(default_factory=list)
    value_at_risk: tuple[float, ...] | None = None  # of the approved weights, by LEVELS

    @property
    def target(self) -> Floats:
        """The weights as they stand after the last step."""
        return self.steps[-1].after

    def take(self, name: str, after: Floats, why: str | list[str]) -> None:
        """Put a step on record."""
        self.steps.append(Step(name, after, after != self.target, why))


def enter(
    score: Floats, confidence: Floats, silent: Flags, side: Floats, settings: RiskSettings
) -> Integers:
    """Return the verdict on each symbol; `side` is the sign of what is held.

    A score at or above `entry_score`, with confidence, is confirmed whatever is held. Short of
    that a position is kept while the score supports it by `exit_score`, else it is left.
    """
    strong = abs(score) >= settings.entry_score
    sure = confidence >= settings.minimum_confidence
    kept = (side != 0.0) & (score * side >= settings.exit_score)
    return np.select(
        [silent & (side == 0.0), strong & sure, kept & ~strong, strong & (kept | (side == 0.0))],
        [ABSTAINED, CONFIRMED, KEEP, UNSURE],
        np.where(side == 0.0, BELOW, EXIT),
    )


def direction(after: Floats, current: Floats, settings: RiskSettings) -> Integers:
    """Return the sign of a change that is worth trading; closing a position always is."""
    change = after - current
    share = settings.rebalance * np.maximum(abs(after), abs(current))
    worth = abs(change) >= np.maximum(share, settings.minimum_trade)
    worth |= (after == 0.0) & (current != 0.0)
    return np.where(worth, np.sign(change), 0.0).astype(np.int64)


def approve(fused: Fused, now: Situation, settings: RiskSettings) -> Approval:
    """Take all steps for all symbols at once."""
    approval = _wanted(fused, now, settings)
    _gate(approval, now, settings)
    _limit(approval, now, settings)
    _settle(approval, now, settings)
    return approval


def _wanted(fused: Fused, now: Situation, settings: RiskSettings) -> Approval:
    """Decide direction and size as if there were no limits."""
    score, confidence, current = fused.score, fused.confidence, now.current
    silent = fused.weights.sum(axis=0) == 0.0
    side = np.sign(current)
    verdict = enter(score, confidence, silent, side, settings)
    confirmed = verdict == CONFIRMED
    keeps = ~now.free | (verdict == KEEP) | (verdict == UNSURE)
    full = np.where(keeps, current, np.where(confirmed, np.sign(score), 0.0))
    words = [
        f"{VERDICTS[code]}: score {one:.3f}, confidence {sure:.3f}"
        for code, one, sure in zip(
            verdict.tolist(), score.tolist(), confidence.tolist(), strict=True
        )
    ]
    entry = Step("entry", full, verdict == EXIT, words)

    volatility = np.maximum(now.annual_volatility, settings.volatility_floor)
    share = np.minimum(settings.position_volatility / volatility, 1.0)
    sized = np.where(confirmed & now.free, full * share, full)
    words = [f"volatility {each:.4g} a year" for each in volatility.tolist()]
    size = Step("size", sized, np.zeros(len(score), np.bool_), words)

    wanted = direction(sized, current, settings)
    # A strong score that lacks confidence wants a change too, unless it is on the held side.
    unsure = (verdict == UNSURE) & (score * side <= 0.0)
    wanted = np.where(unsure, np.sign(score), wanted).astype(np.int64)
    return Approval(current, verdict, np.where(now.free, wanted, 0), [entry, size])


def _gate(approval: Approval, now: Situation, settings: RiskSettings) -> None:
    """Limit each symbol by itself."""
    current, limit = now.current, settings.position_limit
    aim = limit * (1.0 - settings.headroom)
    target = approval.target
    over = now.free & (abs(target) > limit)
    approval.take(
        "symbol_limit", np.where(over, np.sign(target) * aim, target), f"at most {limit:g}"
    )
    gates = (
        ("volatility_limit", now.volatile, "volatility far above its usual one", "usual"),
        ("stale_data", now.stale, "no fresh trades", "fresh"),
        (
            "session_end",
            (now.session_left >= 0) & (now.session_left < settings.session_entry_bars),
            "the session ends",
            "far from a session's end",
        ),
    )
    for name, held, yes, no in gates:
        after = approval.target
        if held.any():
            after = no_new_exposure(after, current, held & now.free)
            words: str | list[str] = [yes if each else no for each in held.tolist()]
        else:
            words = no
        if name == "session_end":
            after = np.where((now.session_left == 0) & now.free, 0.0, after)
        approval.take(name, after, words)
    if now.muted.any():
        after = no_new_exposure(approval.target, current, now.muted & now.free)
        approval.take(
            "muted", after, ["muted" if each else "not muted" for each in now.muted.tolist()]
        )


def _limit(approval: Approval, now: Situation, settings: RiskSettings) -> None:
    """Limit the book as a whole."""
    below = 1.0 - settings.headroom

    factor = MULTIPLIERS[now.rung]
    why = f"drawdown {now.drawdown:.4g}: sizes x {factor:g}"
    approval.take("drawdown", _scaled(approval.target, now.free, factor), why)

    limit = settings.cluster_limit
    largest = float(_cluster_gross(approval.target, now).max())
    after = limit_clusters(approval.target, now.free, now.clusters, limit, limit * below)
    approval.take("cluster_limit", after, f"largest cluster {largest:.4g}, at most {limit:g}")

    limit, target = settings.gross_limit, approval.target
    factor = gross_scale(target, now.free, limit, limit * below)
    why = f"gross {float(abs(target).sum()):.4g}, at most {limit:g}"
    approval.take("gross_limit", _scaled(target, now.free, factor), why)

    limit, target = settings.net_limit, approval.target
    why = f"net {float(target.sum()):.4g}, at most {limit:g} either way"
    approval.take("net_limit", limit_net(target, now.free, limit, limit * below), why)

    limit, target = settings.var_limit, approval.target
    worst = _value_at_risk(target, now)
    if worst is None:
        why, factor = "too little history", 1.0
    else:
        why = f"99 % value at risk {worst[-1]:.4g}, at most {limit:g}"
        # It is proportional to the weights, so one factor is exact.
        factor = limit * below / worst[-1] if worst[-1] > limit else 1.0
    approval.take("var_limit", _scaled(target, now.free, factor), why)


def _settle(approval: Approval, now: Situation, settings: RiskSettings) -> None:
    """Stop everything, or leave out what is too small; then measure what remains."""
    if now.stopped is None:
        approval.take("emergency_stop", approval.target, "not stopped")
    else:
        after = np.where(now.free, 0.0, approval.target)
        approval.take("emergency_stop", after, f"stopped by {now.stopped}")

    after, why = _without_small_changes(approval.target, now, settings)
    approval.value_at_risk = _value_at_risk(after, now)
    approval.take("minimum_trade", after, why)


def _without_small_changes(
    target: Floats, now: Situation, settings: RiskSettings
) -> tuple[Floats, str]:
    """Leave small changes out unless that breaks a limit; say which were left out.

    If it does, small reductions are made after all, and if that is not enough, every change.
    """
    current = now.current
    small = direction(target, current, settings) == 0
    small &= abs(current) <= settings.position_limit
    growing = small & (abs(target) > abs(current))
    for left_out, why in (
        (small, "small changes are left out"),
        (growing, "small reductions are made: they keep a limit"),
    ):
        kept = np.where(left_out, current, target)
        if _within(kept, now, settings):
            return kept, why
    return target, "small changes are made: they keep a limit"


def _within(target: Floats, now: Situation, settings: RiskSettings) -> bool:
    """Say whether the book keeps every limit on it as a whole."""
    worst = _value_at_risk(target, now)
    return (
        float(abs(target).sum()) <= settings.gross_limit
        and abs(float(target.sum())) <= settings.net_limit
        and float(_cluster_gross(target, now).max()) <= settings.cluster_limit
        and (worst is None or worst[-1] <= settings.var_limit)
    )


def _scaled(target: Floats, free: Flags, factor: float) -> Floats:
    return target if factor == 1.0 else np.where(free, target * factor, target)


def _cluster_gross(target: Floats, now: Situation) -> Floats:
    """Return the gross exposure of the clusters that have more than one member."""
    members = np.bincount(now.clusters, minlength=len(target))
    return np.where(members > 1, cluster_gross(target, now.clusters), 0.0)


def _value_at_risk(target: Floats, now: Situation) -> tuple[float, ...] | None:
    if now.moves is None:
        return None
    losses = portfolio_losses(target, now.moves)
    return tuple(value_at_risk(losses, level) for level in LEVELS)
