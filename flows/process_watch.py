"""How the process of a live run does, as alerts: processors, and latencies over their floors.

Beside the stream: the machine's clock and load must not enter a log that decides. So these
alerts stand in a table of their own, and no replay gives them again.
"""

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from connectors.alerts.records import standing_process_alerts, write_process_alerts
from connectors.sinks.store import open_store
from operators.alert_book import AlertBook, Condition
from operators.alert_settings import ProcessRules
from operators.messages import SECOND, Alert, Severity
from operators.metrics import Timer, timers

_STAT = Path("/proc/stat")
_PROCESS = "process"  # the subject
_LEAST = 60  # durations in the window, before a quantile means anything
_IDLE = slice(3, 5)  # columns of /proc/stat: idle and iowait
_LATENCIES = {
    "received_to_checked": ("tick_p99_ms", "tick until it is checked"),
    "clock_to_decision": ("decision_p99_ms", "bar's Clock to its decision"),
}
_RULES = ("cpu", *_LATENCIES)


class Load(NamedTuple):
    """Seconds of processors that were used, and that there were, since the machine began."""

    busy: float
    all: float


def machine_load(text: str) -> Load:
    """Read the first line of /proc/stat; the unit cancels out.

    >>> machine_load("cpu  30 0 10 50 10 0 0 0 0 0")
    Load(busy=40.0, all=100.0)
    """
    columns = [float(each) for each in text.split("\n", 1)[0].split()[1:9]]
    return Load(sum(columns) - sum(columns[_IDLE]), sum(columns))


def share(before: Load, after: Load) -> float:
    """Return the share that was used in between, in [0, 1].

    >>> share(Load(0, 0), Load(3, 4)), share(Load(3, 4), Load(3, 4))
    (0.75, 0.0)
    """
    whole = after.all - before.all
    return min(max((after.busy - before.busy) / whole, 0.0), 1.0) if whole > 0 else 0.0


def loads() -> tuple[Load, Load]:
    """Return the load of the machine, and of this process on the processors it may use."""
    own = Load(time.process_time(), time.monotonic() * len(os.sched_getaffinity(0)))
    try:
        return machine_load(_STAT.read_text("ascii")), own
    except (OSError, ValueError, IndexError):
        return own, own


class ProcessWatch:
    """Look now and then; what lasts becomes an alert."""

    def __init__(self, rules: ProcessRules, read: Callable[[], tuple[Load, Load]] = loads) -> None:
        self.rules = rules
        self.read = read
        self.book = AlertBook(
            clear_ns=round(rules.clear_seconds * SECOND),
            repeat_ns=round(rules.repeat_seconds * SECOND),
            rule_per_minute=5,
            total_per_minute=10,
        )
        self.recalled = False  # whether the book goes on from what the store has
        self._before: tuple[Load, Load] | None = None
        self._above: dict[str, int] = {}  # since when, by rule
        self._past: deque[tuple[int, dict[str, list[int]]]] = deque()  # buckets of timers

    def recall(self, store: sqlite3.Connection, now: int) -> None:
        """Bring the book to what fires by the store; from `now` on it must stay away to be over."""
        standing = self.book.state.standing
        standing.clear()
        standing.update(standing_process_alerts(store, _RULES, _PROCESS))
        for each in standing.values():
            each.held_at = now
        self.recalled = True

    def look(self, now: int) -> list[Alert]:
        """Return what is new at `now` (UNIX ns)."""
        lasting = []
        above = {each.rule: each for each in (*self._processors(), *self._latencies(now))}
        self._above = {rule: self._above.get(rule, now) for rule in above}
        for rule, condition in above.items():
            since = self._above[rule]
            if now - since >= self.rules.lasting_seconds * SECOND or self.book.firing(
                rule, _PROCESS
            ):
                lasting.append(condition._replace(since=since))
        return self.book.judge(now, lasting, _RULES)

    def _processors(self) -> Iterator[Condition]:
        before, self._before = self._before, self.read()
        if before is None:
            return
        machine, own = (share(*pair) for pair in zip(before, self._before, strict=True))
        if max(machine, own) >= self.rules.cpu_share:
            yield Condition(
                "cpu",
                Severity.WARNING,
                _PROCESS,
                f"processors are used to {machine:.0%}, {own:.0%} by this process",
                {"machine": machine, "process": own, "limit": self.rules.cpu_share},
            )

    def _latencies(self, now: int) -> Iterator[Condition]:
        counted = {
            name: list(timer.buckets) for name, timer in timers().items() if name in _LATENCIES
        }
        past = self._past
        past.append((now, counted))
        while now - past[0][0] > self.rules.window_seconds * SECOND:
            past.popleft()
        for name, (threshold, words) in _LATENCIES.items():
            if name not in counted:
                continue
            limit = getattr(self.rules, threshold)
            window = _between(past[0][1].get(name), counted[name])
            p99 = window.quantile_ms(0.99)
            if window.count >= _LEAST and p99 > limit:
                yield Condition(
                    name,
                    Severity.WARNING,
                    _PROCESS,
                    f"latency: from a {words} p99 {p99:,.0f} ms, expected {limit:,.0f} ms at most",
                    {"p99_ms": p99, "limit_ms": limit, "measured": window.count},
                )


def _between(before: list[int] | None, after: list[int]) -> Timer:
    """Return a timer with what was counted in between; all of it after a reset."""
    window = Timer()
    if before is None or any(b > a for a, b in zip(after, before, strict=True)):
        before = [0] * len(after)
    window.buckets = [a - b for a, b in zip(after, before, strict=True)]
    window.count = sum(window.buckets)
    return window


def keep_watch(watch: ProcessWatch, store: Path, now: int, *, simulated: bool) -> None:
    """Look at `now` and store what is new, by a connection of its own.

    The first look, and the one after what could not be stored, begins with what fires by the
    store: so a restart ends what it finds there, and what was not stored is told again.

    Raises:
        StoreError: the store cannot be used.
    """
    if not watch.recalled:
        with closing(open_store(store)) as rows:
            watch.recall(rows, now)
    alerts = watch.look(now)
    if not alerts:
        return
    watch.recalled = False
    with closing(open_store(store)) as rows:
        write_process_alerts(rows, alerts, simulated=simulated)
    watch.recalled = True
