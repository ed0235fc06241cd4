"""Orders through the API into a real flow that runs: they act, are on record, and repeat."""

import signal
import sqlite3
import time
from contextlib import suppress

import pytest

from models.schema import HISTORY
from operators.messages import SECOND
from tests.api.paced import WARM, paced, until
from tests.api.serving import served
from tests.integration import replays

STOPPED = "SELECT ts_close FROM portfolio WHERE stopped ORDER BY ts_close LIMIT 1"
NEWEST = "SELECT max(ts_close) FROM portfolio"


def asked(store, query, *values):
    """Return what a query finds, nothing while there is no store yet."""
    with suppress(sqlite3.OperationalError):
        return replays.rows(store, query, *values)
    return []


def deciding(store):
    """Say whether decisions come, at the pace asked for."""
    [(first, last)] = asked(store, "SELECT min(ts_close), max(ts_close) FROM portfolio") or [(0, 0)]
    return bool(first) and last - first > (WARM - HISTORY + 10) * SECOND


@pytest.fixture
def live(tmp_path):
    return tmp_path / "run.sqlite"


def test_stop_halts_approvals_within_a_second_and_resume_needs_its_word(live, short, tmp_path):
    with paced(live, short) as run, served(live, tmp_path) as api, api.client() as client:
        until(lambda: deciding(live), process=run)
        client.get("/api/v1/risk")  # a connection is there, as a dashboard has one
        posted = time.monotonic()
        answer = client.post("/api/v1/control/stop", json={"reason": "storm"})
        assert answer.status_code == 202
        until(lambda: time.monotonic() - posted > 1.0, process=run)
        [[a_second_later]] = asked(live, NEWEST)
        [[stopped_at]] = until(lambda: asked(live, STOPPED), 10.0, run)
        # One more bar close, to see what follows the stop.
        until(lambda: asked(live, NEWEST)[0][0] > stopped_at, process=run)

        refused = client.post("/api/v1/control/resume", json={"reason": "over"})
        risk = client.get("/api/v1/risk").json()
        order = client.get(answer.headers["Location"]).json()
        resumed = client.post(
            "/api/v1/control/resume", json={"reason": "over", "confirm": "resume"}
        )
        [[since]] = until(
            lambda: asked(
                live, f"{NEWEST} WHERE NOT stopped AND ts_close > {stopped_at} HAVING count(*)"
            ),
            10.0,
            run,
        )

    # Every decision that came into the store later than a second after the order is a stopped one.
    assert stopped_at <= a_second_later + SECOND
    held = asked(
        live,
        "SELECT action, target_position, approved FROM signals WHERE ts_close > ? AND ts_close < "
        "(SELECT min(ts_close) FROM portfolio WHERE ts_close > ? AND NOT stopped)",
        stopped_at,
        stopped_at,
    )
    assert held
    assert {(action, target) for action, target, _ in held} == {("HOLD", 0.0)}
    assert refused.status_code == 422
    assert risk["stopped"]
    assert (risk["stop"]["actor"], risk["stop"]["reason"]) == ("local", "storm")
    assert order["state"] == "in_force"
    assert order["log_offset"] > 0
    assert resumed.status_code == 202
    assert since > stopped_at
    assert since


def test_mute_and_limit_act_and_are_on_record(live, short, tmp_path):
    with paced(live, short) as run, served(live, tmp_path) as api, api.client() as client:
        until(lambda: deciding(live), process=run)
        mute = {"symbol": "BTCUSDT", "reason": "odd prints"}
        assert client.post("/api/v1/control/mute", json=mute).status_code == 202
        limit = {"limit": "gross_limit", "value": 0.05, "reason": "nervous"}
        assert client.post("/api/v1/control/limits", json=limit).status_code == 202

        def acted():
            risk = client.get("/api/v1/risk").json()
            value = {each["name"]: each["value"] for each in risk["limits"]}["gross_limit"]
            return value == 0.05 and risk["muted"] and risk

        risk = until(acted, 10.0, run)
        symbols = client.get("/api/v1/symbols").json()["symbols"]
        client.post("/api/v1/control/unmute", json=mute)
        until(lambda: not client.get("/api/v1/risk").json()["muted"], 10.0, run)
        orders = client.get("/api/v1/control/orders").json()["orders"]
        gross = asked(live, "SELECT gross FROM portfolio WHERE ts_close > ?", risk["ts_close"])

    assert risk["muted"][0]["symbol"] == "BTCUSDT"
    assert {each["symbol"]: each["muted"] for each in symbols} == {
        "BTCUSDT": True,
        "ETHUSDT": False,
    }
    assert [each["kind"] for each in orders] == ["unmute", "limit", "mute"]
    assert {each["state"] for each in orders} == {"in_force"}
    assert all(value <= 0.05 * 1.01 for (value,) in gross)


def test_limit_above_the_configured_one_is_refused(client):
    limit = {"limit": "gross_limit", "value": 1.5, "reason": "brave"}

    answer = client.post("/api/v1/control/limits", json=limit)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"where": ["body", "value"], "why": "at most 1, as configured"}
    ]


def test_mute_of_an_unknown_symbol_is_refused(client):
    answer = client.post("/api/v1/control/mute", json={"symbol": "NOPE", "reason": "x"})
    assert answer.status_code == 422


def test_killed_replay_meets_its_orders_again_where_they_stood(live, short, tmp_path):
    with served(live, tmp_path) as api, api.client() as client:
        with paced(live, short) as run:
            until(lambda: deciding(live), process=run)
            client.post("/api/v1/control/stop", json={"reason": "storm"})
            [[stopped_at]] = until(lambda: asked(live, STOPPED), 10.0, run)
            until(lambda: asked(live, NEWEST)[0][0] > stopped_at, process=run)
            run.send_signal(signal.SIGKILL)
            run.wait(30)
        [[offset]] = asked(live, "SELECT log_offset FROM notices WHERE kind = 'Control'")
        before = asked(live, "SELECT signal_id, detail FROM signals ORDER BY signal_id")

        with paced(live, short, speed="max") as run:
            out, err = run.communicate(timeout=120)
            assert '"finished": true' in out, err

    assert asked(live, "SELECT log_offset FROM notices WHERE kind = 'Control'") == [(offset,)]
    assert asked(live, STOPPED) == [(stopped_at,)]
    after = dict(asked(live, "SELECT signal_id, detail FROM signals"))
    assert all(after[signal_id] == detail for signal_id, detail in before)
    assert asked(live, "SELECT count(*) FROM portfolio WHERE ts_close > ? AND NOT stopped",
                 stopped_at) == [(0,)]  # fmt: skip
    [[last]] = asked(live, "SELECT signal_id FROM signals ORDER BY ts_close DESC LIMIT 1")
    assert "emergency_stop" in replays.nextgen("explain", live, last)
