"""An order to a live run: into its log, over a restart, and into its recording."""

import time

from tests.api.serving import served
from tests.api.test_orders import asked
from tests.drill import engine, until, venue
from tests.integration.replays import digest, nextgen

SPEED = 6


def deciding(store):
    """Say whether some decisions stand in the store."""
    found = asked(store, "SELECT count(*) FROM portfolio")
    return found and found[0][0] > 5


def test_stop_of_a_live_run_holds_over_a_restart_and_is_in_its_recording(tmp_path):
    store, recording = tmp_path / "live.sqlite", tmp_path / "recording"
    options = ("--speed", SPEED, "--record", recording)
    stopped = "SELECT min(ts_close), max(ts_close) FROM portfolio WHERE stopped"
    with venue("--speed", SPEED) as place:
        with (
            engine(place, store, *options),
            served(store, tmp_path) as api,
            api.client() as client,
        ):
            until(lambda: deciding(store), seconds=120)
            posted = time.monotonic()
            client.post("/api/v1/control/stop", json={"reason": "storm"})
            until(lambda: asked(store, stopped)[0][0], every=0.01)
            took = time.monotonic() - posted
        [[first, last]] = asked(store, stopped)
        with engine(place, store, *options):
            until(lambda: asked(store, stopped)[0][1] > last + 5 * 10**9)
    assert took < 1.0
    since = asked(store, "SELECT count(*) FROM portfolio WHERE ts_close > ? AND NOT stopped", first)
    assert since == [(0,)]
    assert asked(store, "SELECT count(*) FROM notices WHERE kind = 'Control'") == [(1,)]

    again = tmp_path / "again.sqlite"
    nextgen("replay", recording, "--profile", "binance", "--store", again, "--symbols",
            "BTCUSDT,ETHUSDT", "--quiet")  # fmt: skip
    assert asked(again, "SELECT count(*) FROM notices WHERE kind = 'Control'") == [(1,)]
    assert digest(again) == digest(store)
