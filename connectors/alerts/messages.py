"""A few words to people out of any number of alerts."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from operators.messages import SECOND, AlertState, Severity

type Row = dict[str, Any]  # of the view all_alerts


class Message(NamedTuple):
    """What is sent: the same alerts to the same target have the same id."""

    delivery_id: str
    title: str
    body: str
    events: tuple[Row, ...]  # that it stands for, in it or counted


def event_id(row: Row) -> str:
    """Return what names one thing told of an alert."""
    return f"{row['fingerprint']}:{row['ts_event']}:{row['state']}"


def compose(target: str, events: Sequence[Row], lines: int, *, run: str = "") -> Message:
    """Make one message of `events`, given in the order of time.

    What was told of an alert in between is left out, and of warnings and infos what is older
    than the last `lines`; they are counted. Of critical ones the first `lines` are taken, and
    `events` of the message says which: the rest is for another one.
    """
    latest: dict[str, Row] = {}
    for row in events:
        latest.pop(row["alert_id"], None)  # to the end
        latest[row["alert_id"]] = row
    shown, left_out = list(latest.values()), 0
    if events[0]["severity"] == Severity.CRITICAL:
        shown = shown[:lines]
        ids = {row["alert_id"] for row in shown}
        events = [row for row in events if row["alert_id"] in ids]
    else:
        left_out = max(len(shown) - lines, 0)
        shown = shown[left_out:]
    name = sha256("\n".join([target, *sorted(map(event_id, events))]).encode()).hexdigest()[:16]
    parts = [_line(row) for row in shown]
    if left_out:
        parts.append(f"and {left_out:,} more before these")
    if any(row["simulated"] for row in events):
        parts.append("simulated market")
    parts.append(f"id {name}")
    return Message(name, _title(events, run), "\n".join(parts), tuple(events))


def _title(events: Sequence[Row], run: str) -> str:
    severities = {row["severity"] for row in events}
    worst = next(each for each in Severity if each in severities)
    rules = Counter(row["rule"] for row in events)
    told = ", ".join(f"{rule} ({count:,})" for rule, count in rules.most_common(4))
    more = "" if len(rules) <= 4 else f" and {len(rules) - 4} rules more"
    ended = all(row["state"] == AlertState.RESOLVED for row in events)
    return f"[{'resolved' if ended else worst}] {run}{': ' if run else ''}{told}{more}"


def _line(row: Row) -> str:
    when = datetime.fromtimestamp(row["ts_event"] // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    word = ""
    if row["state"] == AlertState.RESOLVED:
        word = f"resolved after {(row['ts_event'] - row['since']) / SECOND:,.0f} s: "
    return f"{when} {row['severity']} {row['rule']}: {word}{row['summary']}"
