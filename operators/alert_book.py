"""From conditions that hold to alerts that are told: once, in few words, and to the end.

The book knows nothing of what it is told about and reads no clock, so it serves the stream, by
event time, as well as what watches the process beside it. Its state is plain.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from operators.messages import SECOND, Alert, AlertState, Severity

MINUTE = 60 * SECOND
TOTAL = ""  # the limit over all rules
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Condition(NamedTuple):
    """Something that holds, or has happened, at the time it is given to the book."""

    rule: str
    severity: Severity
    subject: str
    summary: str
    facts: dict[str, Any]
    since: int | None = None  # when it began, if the rule knows better than the book


@dataclass(slots=True)
class Standing:
    """A condition that holds, or did within the time to clear."""

    condition: tuple[str, str, str, str, dict[str, Any]]
    since: int
    held_at: int
    told_at: int | None = None  # None: a limit has kept it back so far


@dataclass(slots=True)
class BookState:
    """All that the book remembers."""

    standing: dict[str, Standing] = field(default_factory=dict)  # by fingerprint
    # By rule, and of all: how many may be told now, and when that was counted.
    left: dict[str, tuple[float, int]] = field(default_factory=dict)
    kept_back: dict[str, int] = field(default_factory=dict)  # by rule: what a limit held


def fingerprint_of(rule: str, subject: str) -> str:
    """Return what names an alert each time that it fires.

    >>> fingerprint_of("data_cut", "BTCUSDT")
    '49a7f0283a0a20c6'
    """
    return sha256(f"{rule}\0{subject}".encode()).hexdigest()[:16]


class AlertBook:
    """Say what is new about conditions, at most so many a minute.

    Critical alerts and the end of what was told are never kept back. A condition that a limit
    keeps back is told once the limit allows it, if it still holds; an event that is kept back is
    only counted.
    """

    def __init__(
        self,
        *,
        clear_ns: int,
        repeat_ns: int,
        rule_per_minute: int,
        total_per_minute: int,
    ) -> None:
        self.clear_ns = clear_ns
        self.repeat_ns = repeat_ns
        self.rule_per_minute = rule_per_minute
        self.total_per_minute = total_per_minute
        self.state = BookState()

    def judge(self, now: int, holding: Iterable[Condition], rules: Collection[str]) -> list[Alert]:
        """Return what is new at `now` (ns): `holding` is all that holds of these `rules`."""
        told: list[Alert] = []
        for condition in sorted(holding, key=lambda each: _RANK[each.severity]):
            told.extend(self._hold(now, condition))
        standing = self.state.standing
        for fingerprint, each in list(standing.items()):
            if each.condition[0] not in rules or each.held_at == now:
                continue
            if each.told_at is None:
                del standing[fingerprint]  # gone before anybody heard of it
            elif now - each.held_at >= self.clear_ns:
                del standing[fingerprint]
                told.append(self._alert(now, each, AlertState.RESOLVED))
        return told

    def happened(self, now: int, events: Iterable[Condition]) -> list[Alert]:
        """Return those of `events` at `now` that may be told."""
        told = []
        for event in sorted(events, key=lambda each: _RANK[each.severity]):
            if self._allowed(now, event):
                told.append(self._alert(now, _standing(event, now), AlertState.EVENT))
            else:
                self._count(event.rule)
        return told

    def firing(self, rule: str, subject: str) -> bool:
        """Say whether an alert is told and not resolved."""
        each = self.state.standing.get(fingerprint_of(rule, subject))
        return each is not None and each.told_at is not None

    def _hold(self, now: int, condition: Condition) -> Iterator[Alert]:
        standing = self.state.standing
        fingerprint = fingerprint_of(condition.rule, condition.subject)
        each = standing.get(fingerprint)
        if each is None:
            each = standing[fingerprint] = _standing(condition, now)
            kept = False
        else:
            kept = each.told_at is None
            each.condition, each.held_at = _plain(condition), now
        if each.told_at is not None and now - each.told_at < self.repeat_ns:
            return
        if self._allowed(now, condition):
            each.told_at = now
            yield self._alert(now, each, AlertState.FIRING)
        elif not kept:
            self._count(condition.rule)

    def _allowed(self, now: int, condition: Condition) -> bool:
        """Take one of what its rule, and all together, may tell in a minute."""
        if condition.severity is Severity.CRITICAL:
            return True
        limits = {condition.rule: self.rule_per_minute, TOTAL: self.total_per_minute}
        left = {name: self._left(now, name, most) for name, most in limits.items()}
        allowed = min(left.values()) >= 1.0
        for name, count in left.items():
            self.state.left[name] = (count - allowed, now)
        return allowed

    def _left(self, now: int, name: str, most: int) -> float:
        count, counted_at = self.state.left.get(name, (float(most), now))
        return min(count + max(now - counted_at, 0) * most / MINUTE, float(most))

    def _count(self, rule: str) -> None:
        self.state.kept_back[rule] = self.state.kept_back.get(rule, 0) + 1

    def _alert(self, now: int, standing: Standing, state: AlertState) -> Alert:
        rule, severity, subject, summary, facts = standing.condition
        fingerprint = fingerprint_of(rule, subject)
        return Alert(
            fingerprint=fingerprint,
            alert_id=sha256(f"{fingerprint}{standing.since}".encode()).hexdigest()[:16],
            rule=rule,
            severity=Severity(severity),
            subject=subject,
            state=state,
            summary=summary,
            facts=facts,
            since=standing.since,
            ts_event=now,
        )


def _plain(condition: Condition) -> tuple[str, str, str, str, dict[str, Any]]:
    rule, severity, subject, summary, facts, _ = condition
    return rule, str(severity), subject, summary, facts


def _standing(condition: Condition, now: int) -> Standing:
    since = now if condition.since is None else condition.since
    return Standing(_plain(condition), since, now)
