"""What `nextgen alerts` shows and writes."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from connectors.alerts.channel import ChannelError
from connectors.alerts.records import (
    acknowledge,
    active_alerts,
    read_alerts,
    read_deliveries,
    silence,
    silences,
)
from connectors.sinks.store import open_store
from flows.alerting import channels_of
from flows.settings import load_profile
from flows.terminal import moment
from operators.messages import SECOND

_COLUMNS = ("severity", "state", "rule", "subject", "summary", "fingerprint")


def print_alerts(store: Path, *, every: bool, as_json: bool) -> None:
    """Print what fires, or all; silences; and the last deliveries.

    Raises:
        StoreError: the store cannot be read.
    """
    with closing(open_store(store, readonly=True)) as rows:
        alerts = read_alerts(rows) if every else active_alerts(rows)
        silent = silences(rows, now=time.time_ns())
        deliveries = read_deliveries(rows, limit=20)
    if as_json:
        told: dict[str, Any] = {
            "alerts": [alert | {"facts": json.loads(alert["facts"])} for alert in alerts],
            "silences": msgspec.to_builtins(silent),
            "deliveries": deliveries,
        }
        print(json.dumps(told))  # noqa: T201 - the output
        return
    console = Console()
    table = Table("since", *_COLUMNS, title="alerts" if every else "alerts that fire")
    for alert in alerts:
        table.add_row(moment(alert["since"]), *(str(alert[name]) for name in _COLUMNS))
    console.print(table)
    for each in silent:
        console.print(
            f"silent until {moment(each.until)}: rule {each.rule}, severity {each.severity}, "
            f"subject {each.subject}; {each.actor}: {each.reason}",
            markup=False,
        )
    for row in deliveries:
        error = f", {row['error']}" if row["error"] else ""
        console.print(
            f"{moment(row['made_at'])} {row['target']}: {row['state']} after {row['attempts']} "
            f"attempts, {row['alerts']} alerts{error}",
            markup=False,
        )


def test_targets(profile: str) -> bool:
    """Send a word to each target of a profile; return whether all were taken.

    Raises:
        SettingsError: the profile or a target cannot be used.
    """
    settings = load_profile(profile)
    good = True
    for name, channel in channels_of(settings.alerts.delivery).items():
        try:
            channel.send("[test] nextgen", f"A test of the alert target '{name}'.")
        except ChannelError as error:
            good = False
            Console().print(f"{name}: {error}", markup=False)
        else:
            Console().print(f"{name}: taken", markup=False)
    return good


def add_silence(store: Path, *, minutes: float, **words: str) -> None:
    """Silence alerts from now on.

    Raises:
        InputError: nobody stands for it.
        StoreError: the store cannot be written.
    """
    now = time.time_ns()
    until = now + round(minutes * 60 * SECOND)
    with closing(open_store(_there(store))) as rows:
        made = silence(rows, until=until, now=now, **words)
    Console().print(f"silence {made.silence_id} until {moment(until)}", markup=False)


def add_acknowledgement(store: Path, fingerprint: str, *, actor: str) -> None:
    """Acknowledge what fires.

    Raises:
        InputError: nothing of this fingerprint fires.
        StoreError: the store cannot be written.
    """
    with closing(open_store(_there(store))) as rows:
        acknowledge(rows, fingerprint, actor=actor, at=time.time_ns())


def _there(store: Path) -> Path:
    """Refuse a store that is not there: writing would make one."""
    open_store(store, readonly=True).close()
    return store
