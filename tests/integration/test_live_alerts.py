"""A live run whose venue goes away: people hear of it, whatever becomes of who tells them."""

import os
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path

from tests.drill import engine, until, venue
from tests.integration.replays import ROOT, rows
from tests.mailboxes import Webhook

DELIVERY = """
[alerts.rules]
data_cut_seconds = 3.0
clear_seconds = 2.0
[alerts.delivery.targets.hook]
secret = "ALERT_HOOK_URL"
[alerts.delivery.routes]
critical = ["hook"]
"""


TOLD = "SELECT rule, subject, state FROM alerts WHERE severity = 'critical'"
EVERY = {
    ("data_cut", symbol, state)
    for symbol in ("BTCUSDT", "ETHUSDT")
    for state in ("firing", "resolved")
}


def deliverers(parent):
    """Return the processes that deliver for `parent`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes().split(b"\0")
            if int(status[1]) == parent and b"deliver" in line:
                found.append(int(folder.name))
    return found


def bars(store):
    try:
        return rows(store, "SELECT count(*) FROM bars")[0][0]
    except sqlite3.OperationalError:  # not there yet
        return 0


def test_a_cut_is_told_also_by_a_deliverer_that_was_killed_and_ends_with_the_run(tmp_path):
    profile, store = tmp_path / "told.toml", tmp_path / "live.sqlite"
    profile.write_text((ROOT / "flows/profiles/binance.toml").read_text() + DELIVERY)
    with Webhook() as hook, venue() as place:
        secret = {"NEXTGEN_ALERT_HOOK_URL": hook.url("t0k3n-c4n4ry")}
        with engine(place, store, profile=profile, **secret) as process:
            (first,) = until(lambda: deliverers(process.pid))
            os.kill(first, signal.SIGKILL)
            until(lambda: bars(store) > 6)
            place.post("fault", {"kind": "refuse", "seconds": 15})
            place.post("fault", {"kind": "cut"})
            until(lambda: any("data_cut" in title for title in hook.titles))
            until(lambda: set(rows(store, TOLD)) >= EVERY)
            until(lambda: "\n".join(hook.bodies).count("resolved after") >= 2)
            assert len(deliverers(process.pid)) == 1
            assert deliverers(process.pid) != [first]
        until(lambda: not deliverers(process.pid))
    assert all(body.count("c4n4ry") == 0 for body in hook.bodies)
    assert rows(store, "SELECT DISTINCT state FROM deliveries") == [("delivered",)]
