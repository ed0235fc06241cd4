"""The push: what comes, in what form, how it is gone on with, and what nobody can break."""

import json
import logging
import socket
import time
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from api import models
from tests.api.paced import paced, until
from tests.api.serving import served
from tests.api.test_orders import asked, deciding
from tests.integration import replays

PATIENCE = 20.0


def address(api, query=""):
    """Return where the WebSocket is."""
    return api.url.replace("http", "ws", 1) + f"/api/v1/ws{query}"


def listening(api, query="", **options):
    """Return a connection to the push; no proxy, whatever the environment says."""
    return connect(address(api, query), proxy=None, open_timeout=PATIENCE, **options)


def told(pushed, name):
    """Return the next event of a name."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        event = json.loads(pushed.recv(timeout=PATIENCE))
        if event["event"] == name:
            return event
    raise AssertionError(f"no {name} came")


def sse(client, n, **params):
    """Return the first `n` Server-Sent Events, as (name, id, data)."""
    headers = params.pop("headers", {})
    found, current = [], {}
    with client.stream("GET", "/api/v1/events", params=params, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if not line:
                found.append((current["event"], current.get("id"), json.loads(current["data"])))
                current = {}
                if len(found) == n:
                    return found
            else:
                name, _, value = line.partition(": ")
                current[name] = value
    raise AssertionError("the push has ended")


def frame_at(client, closes, store):
    """Return the id of the frame `closes` before the last one."""
    [[run]] = replays.rows(store, "SELECT run_id FROM runs")
    [[ts_close]] = replays.rows(
        store, "SELECT ts_close FROM portfolio ORDER BY ts_close DESC LIMIT 1 OFFSET ?", closes
    )
    return f"{run[:8]}.{ts_close}"


def test_first_come_hello_and_the_newest_frame(client, store):
    [hello, (name, identity, frame)] = sse(client, 2)
    assert hello[0] == "hello"
    assert hello[2]["id"] == identity == frame_at(client, 0, store)
    assert name == "frame"
    told = models.Frame.model_validate(frame, strict=True, extra="forbid")
    assert {each.symbol for each in told.signals} == {"BTCUSDT", "ETHUSDT"}
    assert frame["portfolio"] == {
        name: value
        for name, value in client.get("/api/v1/portfolio").json().items()
        if name != "holdings"
    }
    assert frame["signals"] == client.get("/api/v1/signals/latest").json()["signals"]


def test_resume_brings_every_frame_behind_the_last_one_seen(client, store):
    events = sse(client, 8, headers={"Last-Event-ID": frame_at(client, 5, store)})
    assert [name for name, _, _ in events[:6]] == ["hello", *["frame"] * 5]
    assert [identity for _, identity, _ in events[1:6]] == [
        frame_at(client, closes, store) for closes in (4, 3, 2, 1, 0)
    ]
    outcomes = [each for _, _, frame in events[1:6] for each in frame["outcomes"]]
    assert outcomes
    for _, _, frame in events[1:6]:
        models.Frame.model_validate(frame, strict=True, extra="forbid")
        met = [each["ts_close"] + each["horizon_ns"] for each in frame["outcomes"]]
        assert set(met) <= {frame["ts_close"]}


def test_resume_from_the_newest_frame_brings_it_not_again(client, store):
    events = sse(client, 2, last_id=frame_at(client, 0, store))
    assert [name for name, _, _ in events] == ["hello", "status"]


def test_server_that_ends_lets_listeners_go(store, tmp_path, caplog):
    """A stream that was cut would be an error here, and a traceback in the log."""
    with ExitStack() as ending:
        with served(store, tmp_path) as api:
            client = ending.enter_context(api.client())
            events = ending.enter_context(client.stream("GET", "/api/v1/events"))
            lines = events.iter_lines()
            assert next(lines) == "event: hello"
            pushed = ending.enter_context(listening(api))
            told(pushed, "hello")
        rest = list(lines)
        with pytest.raises(ConnectionClosed) as closed:
            told(pushed, "nothing")
    assert rest[-1] == ""
    assert closed.value.rcvd.code == 1012  # the service restarts
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_status_tells_how_all_parts_do_and_that_nothing_fires(client):
    [_, _, (name, _, status)] = sse(client, 3)
    told = models.Status.model_validate(status, strict=True, extra="forbid")
    assert name == "status"
    assert [part.name for part in told.components][:3] == ["store", "flow", "control"]
    assert (told.alerts.firing, told.alerts.unseen, told.alerts.worst) == (0, {}, [])


@pytest.mark.parametrize("last_id", ["deadbeef.1", "rubbish", "x.y", "."])
def test_resume_from_nowhere_says_so(client, last_id):
    events = sse(client, 2, last_id=last_id)
    assert [name for name, _, _ in events] == ["hello", "reset"]


def test_topics_and_symbols_are_chosen(client):
    [_, (_, _, frame)] = sse(client, 2, topic=["signals", "bars"], symbol="ETHUSDT")
    assert set(frame) == {"ts_close", "skipped", "signals", "bars"}
    assert [each["symbol"] for each in frame["signals"] + frame["bars"]] == ["ETHUSDT"] * 2


def test_websocket_tells_the_same_and_takes_a_subscription(api, client, store):
    with listening(api) as pushed:
        frame = told(pushed, "frame")
        assert frame["id"] == frame_at(client, 0, store)
        assert frame["data"] == sse(client, 2)[1][2]
        assert told(pushed, "status")["data"]["status"] == "degraded"
        pushed.send(json.dumps({"subscribe": {"topics": ["portfolio"]}}))
        told(pushed, "subscribed")
    with listening(api, f"?last_id={frame_at(client, 2, store)}") as pushed:
        found = [told(pushed, "frame")["id"] for _ in range(2)]
    assert found == [frame_at(client, 1, store), frame_at(client, 0, store)]


def test_websocket_of_another_site_or_without_a_key_is_refused(api, store, tmp_path):
    with pytest.raises(InvalidStatus) as refused:
        listening(api, origin="https://evil.example").close()
    assert refused.value.response.status_code == 403
    here = socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), PATIENCE)
    with here, pytest.raises(InvalidStatus) as refused:
        connect("ws://evil.example/api/v1/ws", sock=here, proxy=None).close()
    assert refused.value.response.status_code == 403
    with served(store, tmp_path) as locked:
        key = locked.key("read")
        with pytest.raises(InvalidStatus):
            listening(locked).close()
        header = {"Authorization": f"Bearer {key}"}
        with listening(locked, additional_headers=header) as pushed:
            told(pushed, "frame")
            # Whoever listens is asked again: a key that is revoked ends it.
            [found] = locked.keys.list()
            locked.keys.revoke(found.id)
            with pytest.raises(ConnectionClosed):
                told(pushed, "no such event")


def test_places_to_listen_are_limited(store, tmp_path):
    with served(store, tmp_path, listeners_per_address=2) as api, api.client() as client:
        with listening(api) as one, listening(api) as two:
            told(one, "hello")
            told(two, "hello")
            with pytest.raises(InvalidStatus):
                listening(api).close()
            assert client.get("/api/v1/events").status_code == 503
        until(lambda: "listeners 0.0" in client.get("/metrics").text, PATIENCE)
        with listening(api) as again:
            told(again, "hello")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=200),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=20),
                lambda inner: (
                    st.lists(inner, max_size=4)
                    | st.dictionaries(
                        st.sampled_from(["subscribe", "topics", "symbols", "x"]), inner, max_size=3
                    )
                ),
                max_leaves=8,
            ).map(json.dumps),
            st.just("x" * 5000),
        ),
        max_size=8,
    )
)
def test_nothing_that_a_websocket_client_says_breaks_anything(api, client, caplog, said):
    with suppress(ConnectionClosed), listening(api) as pushed:
        for message in said:
            pushed.send(message)
    assert client.get("/api/v1/health/live").status_code == 200
    broken = [each for each in caplog.records if each.name == "uvicorn.error" and each.exc_info]
    assert not broken


def test_five_messages_of_nonsense_end_a_websocket_and_are_answered(api):
    with listening(api) as pushed:
        for _ in range(5):
            pushed.send("nonsense")
        errors = [event for event in map(json.loads, pushed) if event["event"] == "error"]
    assert len(errors) == 5
    assert pushed.close_code == 1000


def test_frames_of_a_running_replay_come_as_they_are_decided(short, tmp_path):
    live = tmp_path / "run.sqlite"
    with paced(live, short) as run, served(live, tmp_path) as api:
        until(lambda: deciding(live), process=run)
        with listening(api) as pushed:
            status = told(pushed, "status")["data"]
            frames = [told(pushed, "frame") for _ in range(8)]
            newest = asked(live, "SELECT max(ts_close) FROM portfolio")[0][0]
            while frames[-1]["data"]["ts_close"] < newest:  # what stands there comes, too
                frames.append(told(pushed, "frame"))
        decided = dict(asked(live, "SELECT signal_id, score FROM signals"))
    closes = [frame["data"]["ts_close"] for frame in frames]
    assert {each["name"]: each["state"] for each in status["components"]}["flow"] == "up"
    assert closes == sorted(set(closes))
    for frame in frames:
        assert len(frame["data"]["signals"]) == 2
        for signal in frame["data"]["signals"]:
            assert decided[signal["signal_id"]] == signal["score"]
