"""Every route that reads answers with what the store holds, in the shape described."""

import base64
import json
import shutil
import sqlite3

import numpy as np
import pytest

from api.what_if import what_if
from connectors.sinks.store import open_store, read_bars
from models.runtime import ONNX, read_manifest
from tests.integration import replays

BASE = "/api/v1"


def get(client, path, status=200, **params):
    """Return the JSON of a route."""
    answer = client.get(f"{BASE}{path}", params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


def pages(client, path, name, **params):
    """Yield each entry of a listing, page by page."""
    cursor = {}
    while True:
        page = get(client, path, **params, **cursor)
        yield from page[name]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


def test_health_says_that_the_store_is_up_and_the_run_over(client):
    told = get(client, "/health")
    states = {each["name"]: each["state"] for each in told["components"]}
    assert states == {"store": "up", "flow": "stopped", "control": "up"}
    assert told["status"] == "degraded"
    assert get(client, "/health/live") == {"status": "live"}
    assert get(client, "/health/ready")["status"] == "degraded"


def test_run_names_its_universe_models_and_thresholds(client, store):
    told = get(client, "/run")
    [[run_id]] = replays.rows(store, "SELECT run_id FROM runs")
    assert told["run_id"] == run_id
    assert told["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert told["interval"] == 10**9
    assert not told["running"]
    assert told["settings"]["entry_score"] == 0.6
    assert [name.partition("@")[0] for name in told["models"]] == [
        "forecast_1s",
        "policy_1s",
        "sentiment_en",
    ]


def test_paging_tells_every_signal_once_and_in_order(client, store):
    expected = [
        signal_id
        for (signal_id,) in replays.rows(
            store, "SELECT signal_id FROM signals ORDER BY ts_close DESC, symbol DESC"
        )
    ]
    told = [each["signal_id"] for each in pages(client, "/signals", "signals", limit=37)]
    assert told == expected


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        ({"symbol": "ETHUSDT"}, "symbol = 'ETHUSDT'"),
        ({"action": "BUY"}, "action = 'BUY'"),
        ({"approved": "false"}, "NOT approved"),
        ({"since": 1723161500 * 10**9}, "ts_close >= 1723161500000000000"),
        ({"until": 1723161500 * 10**9, "action": "SELL"},
         "ts_close <= 1723161500000000000 AND action = 'SELL'"),
    ],
)  # fmt: skip
def test_filters_tell_what_they_say(client, store, params, condition):
    told = {each["signal_id"] for each in pages(client, "/signals", "signals", **params)}
    found = replays.rows(store, f"SELECT signal_id FROM signals WHERE {condition}")
    assert found
    assert told == {signal_id for (signal_id,) in found}


def test_latest_signals_are_those_of_the_last_close(client, store):
    told = get(client, "/signals/latest")["signals"]
    [[newest]] = replays.rows(store, "SELECT max(ts_close) FROM signals")
    assert {(each["symbol"], each["ts_close"]) for each in told} == {
        ("BTCUSDT", newest),
        ("ETHUSDT", newest),
    }
    [only] = get(client, "/signals/latest", symbol="ETHUSDT")["signals"]
    assert only["symbol"] == "ETHUSDT"


def test_explanation_is_of_stored_values(client, store):
    [[signal_id, score]] = replays.rows(
        store, "SELECT signal_id, score FROM signals WHERE action = 'BUY' LIMIT 1"
    )
    told = get(client, f"/signals/{signal_id}/explanation")
    signal = told["signal"]
    assert signal == get(client, f"/signals/{signal_id}")
    assert signal["score"] == score
    assert signal["risk"][0]["step"] == "entry"
    assert signal["legs"]["forecast"]["detail"]["p_up"] is not None
    assert told["bars"][-1]["ts_close"] == signal["ts_close"]
    assert len(told["bars"]) == 60
    assert told["portfolio"]["ts_close"] == signal["ts_close"]
    assert told["outcome"]["signal_id"] == signal_id
    assert told["headlines"][0]["kind"] == "mood"


def test_what_if_without_a_change_is_what_was_decided_for_every_signal(client):
    settings = get(client, "/run")["settings"]
    signals = list(pages(client, "/signals", "signals", limit=500))
    for brief in signals[::7]:
        signal = get(client, f"/signals/{brief['signal_id']}")
        told = what_if(signal, settings)
        assert told["stands"], told
        assert told["score"] == pytest.approx(signal["score"], abs=1e-12)
        assert told["confidence"] == pytest.approx(signal["confidence"], abs=1e-12)


def test_what_if_without_a_leg_weighs_the_others(client):
    signal = get(client, "/signals", limit=1)["signals"][0]
    told = get(client, f"/signals/{signal['signal_id']}/what-if", drop=["forecast", "policy"])
    assert told["weights"] == {"forecast": 0.0, "policy": 0.0, "sentiment": 1.0}
    assert told["score"] == signal["legs"]["sentiment"]["value"]
    strict = get(client, f"/signals/{signal['signal_id']}/what-if", minimum_confidence=1.0)
    assert strict["verdict"] != "confirmed"


def test_bars_page_backwards_to_the_first(client, store):
    with open_store(store, readonly=True) as opened:
        expected = [bar.ts_close for bar in read_bars(opened, "BTCUSDT", until=2**62)]
    found, cursor = [], {}
    while True:
        page = get(client, "/bars/BTCUSDT", limit=100, **cursor)
        found = [each["ts_close"] for each in page["bars"]] + found
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == expected


def test_symbols_have_price_sparkline_and_change(client, store):
    told = get(client, "/symbols", sparkline=5)["symbols"]
    [[close]] = replays.rows(
        store, "SELECT close FROM bars WHERE symbol = 'BTCUSDT' ORDER BY ts_close DESC LIMIT 1"
    )
    assert [each["symbol"] for each in told] == ["BTCUSDT", "ETHUSDT"]
    assert told[0]["price"] == told[0]["sparkline"][-1] == close
    assert len(told[0]["sparkline"]) == 5
    assert told[0]["change"] == pytest.approx(close / told[0]["sparkline"][0] - 1.0)


def test_portfolio_history_is_evenly_spread_and_ends_where_the_portfolio_is(client, store):
    told = get(client, "/portfolio/history", points=20)
    steps = {
        later["ts_close"] - earlier["ts_close"]
        for earlier, later in zip(told["points"], told["points"][1:], strict=False)
    }
    assert steps == {told["every"]}
    assert 10 <= len(told["points"]) <= 20
    all_points = get(client, "/portfolio/history", points=2000)["points"]
    assert len(all_points) == replays.rows(store, "SELECT count(*) FROM portfolio")[0][0]
    portfolio = get(client, "/portfolio")
    assert portfolio["equity"] == all_points[-1]["equity"]


def test_limits_tell_what_is_used_and_what_is_free(client):
    told = {each["name"]: each for each in get(client, "/risk")["limits"]}
    portfolio = get(client, "/portfolio")
    gross = told["gross_limit"]
    assert gross["used"] == portfolio["gross"]
    assert gross["headroom"] == pytest.approx(1.0 - gross["used"] / gross["value"])
    assert len(told) == 5


def test_correlation_is_a_symmetric_matrix(client):
    told = get(client, "/risk/correlation")
    [[one, other], [same, two]] = told["matrix"]
    assert one == two == 1.0
    assert other == same
    assert -1.0 < other < 1.0


def test_accuracy_counts_what_the_store_counts(client, store):
    told = get(client, "/accuracy", since=0)
    [[hits, n]] = replays.rows(store, "SELECT sum(hit), count(hit) FROM outcomes")
    score = told["legs"]["score"]
    assert (score["hits"], score["n"]) == (hits, n)
    assert score["interval"][0] < score["hit_rate"] < score["interval"][1]
    assert sum(each["n"] for each in told["over_time"]) == n
    with_p = replays.rows(store, "SELECT count(p_up) FROM outcomes")[0][0]
    assert sum(each["n"] for each in told["calibration"]) == with_p


def test_drift_tells_strangeness_in_shares_of_the_limits_and_what_intervals_held(client, store):
    told = get(client, "/drift", since=0, stretches=1)
    limits = read_manifest(ONNX)["forecast_1s"]["hidden"]["limits"]
    details = [
        json.loads(detail)["legs"]["forecast"]["detail"]
        for (detail,) in replays.rows(store, "SELECT detail FROM signals")
    ]
    shares = np.array(
        [
            [each["strangeness_hidden"] / limits[0], each["strangeness_tokens"] / limits[1]]
            for each in details
        ]
    )
    asked = "SELECT name, count FROM tallies WHERE name LIKE 'intervals_%'"
    counts = dict(replays.rows(store, asked))

    [point] = told["over_time"]
    assert told["n"] == point["n"] == len(details)
    assert [point["hidden"], point["tokens"]] == np.median(shares, axis=0).tolist()
    assert told["strange"] == point["strange"] == (shares > 1.0).any(axis=1).mean()
    held = told["intervals"]
    assert held["n"] == sum(counts.values())
    assert held["coverage"] == pytest.approx(counts["intervals_within"] / held["n"])
    assert held["interval"][0] < held["coverage"] < held["interval"][1]


def test_drift_of_one_symbol_in_stretches(client, store):
    told = get(client, "/drift", since=0, symbol="ETHUSDT", stretches=5)
    [[n]] = replays.rows(store, "SELECT count(*) FROM signals WHERE symbol = 'ETHUSDT'")
    assert sum(point["n"] for point in told["over_time"]) == told["n"] == n
    assert len(told["over_time"]) == 5
    assert get(client, "/drift", since=0, until=1)["over_time"] == []


def test_outcomes_page_through_all(client, store):
    told = [each["signal_id"] for each in pages(client, "/outcomes", "outcomes", limit=50)]
    assert len(told) == len(set(told)) == replays.rows(store, "SELECT count(*) FROM outcomes")[0][0]


def test_models_say_which_are_in_use(client):
    told = {each["name"]: each["in_use"] for each in get(client, "/models")["models"]}
    assert {name for name, used in told.items() if used} == {
        "forecast_1s", "policy_1s", "sentiment_en", "sentiment_ja"
    }  # fmt: skip
    detail = get(client, "/models/forecast_1s")
    assert detail["manifest"]["sha256"].startswith(detail["version"])
    assert get(client, "/models/no_such", status=404)["status"] == 404


def test_metrics_tell_stages_and_this_api(client, store):
    told = get(client, "/metrics")
    assert told["stages"]["risk"]["count"] > 0
    assert told["api"]["requests"] > 0
    [[oldest]] = replays.rows(store, "SELECT max(count) FROM tallies WHERE name = 'model_age_days'")
    kept_back = replays.rows(store, "SELECT name, count FROM tallies WHERE key = 'alerts'")
    assert told["tallies"]["model_age_days"] == oldest
    assert kept_back
    assert all(told["tallies"][f"alerts_kept_back_{name}"] == n for name, n in kept_back)
    text = client.get("/metrics").text
    assert 'nextgen_api_answers_total{status="2xx"}' in text


@pytest.mark.parametrize("path", ["/holes", "/gaps", "/rejections", "/feeds", "/headlines"])
def test_what_was_lost_and_said_can_be_listed(client, path):
    get(client, path)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/static/../../pyproject.toml", 404),
        ("POST", "/api/v1/portfolio", 405),
        ("GET", "/api/v1/control/stop", 405),
        ("GET", "/api/v1/signals/xyz", 422),
        ("GET", "/api/v1/signals/" + "0" * 32, 404),
        ("GET", "/api/v1/bars/NOPE", 404),
        ("GET", "/api/v1/signals?limit=0", 422),
        ("GET", "/api/v1/signals?cursor=rubbish", 422),
        ("POST", "/api/v1/control/stop", 422),
    ],
)
def test_every_error_has_the_one_shape(client, method, path, status):
    answer = client.request(method, path)
    told = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    if status == 405:
        assert answer.headers["allow"]


def test_cursor_of_another_listing_is_refused(client):
    cursor = base64.urlsafe_b64encode(b'["x"]').decode().rstrip("=")
    told = get(client, "/signals", status=422, cursor=cursor)
    assert told["detail"] == "the cursor is of another listing"


def test_store_that_is_not_there_yet_is_a_problem_not_a_crash(tmp_path):
    from tests.api.serving import served

    with served(tmp_path / "none.sqlite", tmp_path) as api, api.client() as client:
        assert get(client, "/portfolio", status=503)["detail"] == "the store cannot be used now"
        told = get(client, "/health/ready", status=503)
        assert told["components"][0] == {
            "name": "store",
            "state": "down",
            "note": "",
            "seconds_old": None,
        }
        assert get(client, "/health/live") == {"status": "live"}


def test_store_that_is_made_anew_is_read_anew(store, tmp_path):
    from tests.api.serving import served

    copy = tmp_path / "run.sqlite"
    with served(copy, tmp_path) as api, api.client() as client:
        get(client, "/portfolio", status=503)
        shutil.copy(store, copy)
        told = get(client, "/run")["run_id"]
        copy.unlink()
        get(client, "/portfolio", status=503)
        shutil.copy(store, copy)
        with sqlite3.connect(copy) as other:
            other.execute("UPDATE runs SET run_id = 'another'")
        other.close()
        assert told != get(client, "/run")["run_id"] == "another"
    assert not (tmp_path / "run.sqlite.control").exists()  # nothing was ordered


def test_index_is_served_and_scripts_only_from_here(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "access-control-allow-origin" not in answer.headers
