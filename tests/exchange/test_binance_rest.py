"""Binance's REST pages agree with what was sent and with the truth, and never show the future."""

import json
from itertools import pairwise

import pytest

from exchange.binance_limits import Limits
from exchange.rules import BinanceRules, RollingWindow, Rules
from tests.exchange.venues import recorded, scenario, texts, until


def test_pages_by_id_are_the_streams_own_trades():
    async def run(client):
        async with client.connect("/ws/btcusdt@trade") as socket:
            client.venue.clock.run()
            sent = [
                json.loads(text) for text in await texts(socket, len(recorded("btcusdt@trade")))
            ]
        rows = []
        while True:
            start = rows[-1]["id"] + 1 if rows else sent[0]["t"]
            page = await client.rows(
                "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=start, limit=100
            )
            if not page:
                break
            rows += page
        assert [(r["id"], r["price"], r["qty"], r["time"], r["isBuyerMaker"]) for r in rows] == [
            (m["t"], m["p"], m["q"], m["T"], m["m"]) for m in sent
        ]
        truth = await client.rows("/exchange/truth", symbol="BTCUSDT")
        assert truth == [[m["t"], m["T"], m["p"], m["q"], m["m"]] for m in sent]

    scenario(run, hold=True, speed=40.0)


def test_aggregate_pages_are_the_streams_own_aggregates():
    async def run(client):
        async with client.connect("/ws/ethusdt@aggTrade") as socket:
            client.venue.clock.run()
            await until(lambda: client.venue.market.ended)
            _, truth, _ = await client.get("/exchange/truth")
            told = truth["symbols"]["ETHUSDT"]
            sent = [json.loads(text) for text in await texts(socket, told["aggregates"])]
        assert (sent[0]["a"], sent[-1]["a"]) == (
            told["first_aggregate_id"],
            told["last_aggregate_id"],
        )
        rows = []
        while len(rows) < len(sent):
            rows += await client.rows(
                "/api/v3/aggTrades", symbol="ETHUSDT", fromId=sent[0]["a"] + len(rows), limit=70
            )
        keys = ("a", "p", "q", "f", "l", "T", "m", "M")
        assert [[row[key] for key in keys] for row in rows] == [
            [message[key] for key in keys] for message in sent
        ]
        between = await client.rows(
            "/api/v3/aggTrades",
            symbol="ETHUSDT",
            startTime=sent[10]["T"],
            endTime=sent[60]["T"],
            limit=1000,
        )
        assert [row["a"] for row in between] == [
            m["a"] for m in sent if sent[10]["T"] <= m["T"] <= sent[60]["T"]
        ]
        latest = await client.rows("/api/v3/aggTrades", symbol="ETHUSDT", limit=7)
        assert [row["a"] for row in latest] == [m["a"] for m in sent[-7:]]

    scenario(run, hold=True, speed=40.0)


@pytest.mark.parametrize("clock", ["recorded", "live"])
def test_the_future_is_never_shown(clock):
    async def run(client):
        seen = {"trades": 0, "aggTrades": 0, "klines": 0}
        while min(seen.values()) < 300:
            for path, more, moment in (
                ("trades", {}, lambda row: row["time"]),
                ("aggTrades", {"startTime": 0}, lambda row: row["T"]),
                ("historicalTrades", {"fromId": 0}, lambda row: row["time"]),
                ("klines", {"interval": "1s"}, lambda row: row[0]),
            ):
                rows = await client.rows(f"/api/v3/{path}", symbol="BTCUSDT", limit=1000, **more)
                now = client.venue.clock.now_ms()
                assert all(moment(row) <= now for row in rows)
                if path in seen:
                    seen[path] += len(rows)

    scenario(run, {"weight_per_minute": 10**9}, speed=20.0, clock=clock)


def test_symbols_before_their_first_trade_have_none():
    async def run(client):
        assert await client.rows("/api/v3/trades", symbol="BTCUSDT") == []
        assert await client.rows("/api/v3/aggTrades", symbol="BTCUSDT", fromId=0) == []
        assert await client.rows("/api/v3/klines", symbol="BTCUSDT", interval="1m") == []
        assert await client.rows("/exchange/truth", symbol="BTCUSDT") == []
        _, told, _ = await client.get("/exchange/truth")
        assert told["symbols"]["BTCUSDT"]["count"] == 0
        assert not told["running"]

    scenario(run, hold=True)


def test_candles_hold_exactly_their_trades():
    async def run(client):
        client.venue.clock.run()
        await until(lambda: client.venue.market.ended)
        trades = await client.rows("/exchange/truth", symbol="BTCUSDT")
        rows = await client.rows("/api/v3/klines", symbol="BTCUSDT", interval="1s", limit=1000)
        assert sum(row[8] for row in rows) == len(trades)
        for row in rows:
            inside = [trade for trade in trades if row[0] <= trade[1] <= row[6]]
            assert row[8] == len(inside)
            if not inside:
                assert row[1] == row[2] == row[3] == row[4]
                continue
            prices = [trade[2] for trade in inside]
            assert (row[1], row[4]) == (prices[0], prices[-1])
            assert (row[2], row[3]) == (max(prices, key=float), min(prices, key=float))
            assert float(row[5]) == pytest.approx(sum(float(trade[3]) for trade in inside))
            assert float(row[9]) == pytest.approx(
                sum(float(trade[3]) for trade in inside if not trade[4])
            )
        assert all(a[0] + 1000 == b[0] for a, b in pairwise(rows))
        last = await client.rows("/api/v3/klines", symbol="BTCUSDT", interval="1s", limit=3)
        assert [row[0] for row in last] == [row[0] for row in rows[-3:]]

    scenario(run, hold=True, speed=40.0)


def test_truth_is_cut_by_time():
    async def run(client):
        client.venue.clock.run()
        await until(lambda: client.venue.market.ended)
        rows = await client.rows("/exchange/truth", symbol="ETHUSDT")
        first, after = rows[20][1], rows[80][1]
        cut = await client.rows("/exchange/truth", symbol="ETHUSDT", from_ms=first, to_ms=after)
        assert cut == [row for row in rows if first <= row[1] < after]
        assert (await client.get("/exchange/truth", symbol="NONE"))[0] == 404
        assert (await client.get("/exchange/truth", symbol="ETHUSDT", to_ms="x"))[0] == 400

    scenario(run, hold=True, speed=40.0)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("aggTrades", {}, -1102),
        ("aggTrades", {"symbol": "NOSUCH"}, -1121),
        ("aggTrades", {"symbol": "btcusdt"}, -1121),
        ("aggTrades", {"symbol": "BTCUSDT", "limit": "1001"}, -1130),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "-3"}, -1100),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "3", "startTime": "1"}, -1128),
        ("aggTrades", {"symbol": "BTCUSDT", "startTime": "3", "endTime": "1"}, -1127),
        ("historicalTrades", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("klines", {"symbol": "BTCUSDT"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
    ],
)
def test_wrong_requests_are_refused_as_binance_does(path, params, code):
    async def run(client):
        status, body, _ = await client.get(f"/api/v3/{path}", **params)
        assert (status, body["code"]) == (400, code)
        assert body["msg"]

    scenario(run)


def test_weights_are_counted_and_beyond_the_limit_is_429_then_418():
    async def run(client):
        used = []
        for path, more in (("time", {}), ("klines", {"interval": "1m"}), ("aggTrades", {})):
            params = {"symbol": "BTCUSDT", **more} if path != "time" else {}
            _, _, headers = await client.get(f"/api/v3/{path}", **params)
            used.append(int(headers["X-MBX-USED-WEIGHT-1M"]))
        assert used == [1, 3, 7]
        assert (await client.get("/api/v3/trades", symbol="BTCUSDT"))[0] == 200
        refused = [await client.get("/api/v3/trades", symbol="BTCUSDT") for _ in range(7)]
        assert [status for status, _, _ in refused] == [429, 429, 429, 429, 429, 418, 418]
        assert {body["code"] for _, body, _ in refused} == {-1003}
        waits = [int(headers["Retry-After"]) for _, _, headers in refused]
        assert all(50 <= wait <= 60 for wait in waits[:5])
        assert waits[5] == 77
        assert client.venue.rules.breaches["request_weight"] == 1

    scenario(run, {"weight_per_minute": 50, "ban_seconds": 77.0})


def test_who_waits_as_told_is_served_again():
    rules = Rules()
    limits = Limits(BinanceRules(weight_per_minute=10), rules)

    assert limits.take("a", 10, 0.0) is None
    assert limits.take("a", 1, 20.0) == (429, 40)
    assert limits.take("b", 10, 20.0) is None
    assert limits.take("a", 1, 59.9) == (429, 1)
    assert limits.take("a", 1, 60.0) is None


def test_bans_end_and_grow():
    limits = Limits(BinanceRules(weight_per_minute=1, bans_after=1, ban_seconds=100.0), Rules())
    now = 0.0
    bans = []
    for _ in range(3):
        limits.take("a", 1, now)
        limits.take("a", 1, now)
        status, seconds = limits.take("a", 1, now)
        bans.append((status, seconds))
        assert limits.take("a", 1, now + seconds - 1) == (418, 1)
        now += seconds
    assert bans == [(418, 100), (418, 200), (418, 400)]


def test_a_rolling_window_allows_no_burst_over_its_edge():
    window = RollingWindow(5, 1.0)

    assert [window.take(1.0) for _ in range(5)] == [True] * 5
    assert not window.take(1.25)
    assert window.seconds_until(1.25) == pytest.approx(0.75)
    assert not window.take(1.99)
    assert window.take(2.0)
    assert window.used_at(2.0) == 1
