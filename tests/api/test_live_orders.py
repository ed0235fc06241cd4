"""An order to a live run: into its log, once over a restart, and into its recording."""

from tests.api.serving import served
from tests.api.test_orders import asked
from tests.drill import engine, until, venue
from tests.integration.replays import nextgen

ORDERS = "SELECT log_offset, body FROM notices WHERE kind = 'Control'"


def bars(store):
    """Return how many bars stand in the store."""
    found = asked(store, "SELECT count(*) FROM bars")
    return found[0][0] if found else 0


def test_order_to_a_live_run_is_in_its_log_once_and_in_its_recording(tmp_path):
    store, recording = tmp_path / "live.sqlite", tmp_path / "recording"
    options = ("--speed", 2, "--record", recording)
    with venue("--speed", 2) as place:
        with (
            engine(place, store, *options),
            served(store, tmp_path) as api,
            api.client() as client,
        ):
            until(lambda: bars(store) > 10, seconds=120)
            posted = client.post("/api/v1/control/stop", json={"reason": "storm"}).json()
            until(lambda: asked(store, ORDERS))
            told = client.get(f"/api/v1/control/orders/{posted['id']}").json()
            feeds = {each["feed"] for each in client.get("/api/v1/feeds").json()}
        before = bars(store)
        # Within ten seconds of the order: the inlet holds it still, and so does the journal.
        with engine(place, store, *options):
            until(lambda: bars(store) > before + 10, seconds=120)
    [(offset, body)] = asked(store, ORDERS)
    assert told["state"] == "in_force"
    assert told["log_offset"] == offset
    assert posted["id"] in body
    assert "control" in feeds

    again = tmp_path / "again.sqlite"
    nextgen("replay", recording, "--profile", "binance", "--store", again, "--symbols",
            "BTCUSDT,ETHUSDT", "--quiet")  # fmt: skip
    assert asked(again, ORDERS) == [(offset, body)]
