"""What a raw client of Binance's streams receives, and what becomes of one that breaks a rule."""

import asyncio
import json
import socket as sockets
import time

import aiohttp
import pytest

from tests.exchange.venues import (
    answer,
    end_of,
    recorded,
    scenario,
    texts,
    until,
)

TRADES = "btcusdt@trade/ethusdt@trade"
ALL = "btcusdt@trade/btcusdt@bookTicker/ethusdt@trade/ethusdt@bookTicker"


def test_combined_streams_carry_the_recordings_bytes_in_its_order():
    expected = recorded(*ALL.split("/"))

    async def run(client):
        async with client.connect(f"/stream?streams={ALL}") as socket:
            client.venue.clock.run()
            return await texts(socket, len(expected))

    assert scenario(run, hold=True, speed=40.0) == expected


def test_bare_streams_carry_the_data_part_byte_for_byte():
    lines = recorded("ethusdt@trade")

    async def run(client):
        async with client.connect("/ws/ethusdt@trade") as socket:
            client.venue.clock.run()
            return await texts(socket, len(lines))

    expected = [line[len(b'{"stream":"ethusdt@trade","data":') : -1] for line in lines]
    assert scenario(run, hold=True, speed=40.0) == expected


def test_venue_time_runs_with_the_streams():
    async def run(client):
        async with client.connect(f"/stream?streams={TRADES}") as socket:
            for _ in range(3):
                message = json.loads((await texts(socket, 1))[0])
                status, told, _ = await client.get("/api/v3/time")
                assert status == 200
                assert 0 <= told["serverTime"] - message["data"]["E"] < 5_000

    scenario(run, speed=5.0)


def test_subscriptions_come_and_go():
    async def run(client):
        async with client.connect("/ws") as socket:

            async def ask(**request):
                await socket.send_json(request)
                return await answer(socket)

            params = ["btcusdt@trade", "ethusdt@bookTicker"]
            assert await ask(method="SUBSCRIBE", params=params, id=1) == {"result": None, "id": 1}
            names = {json.loads(text)["s"] for text in await texts(socket, 50)}
            assert names == {"BTCUSDT", "ETHUSDT"}
            told = await ask(method="LIST_SUBSCRIPTIONS", id="x")
            assert told == {"result": params, "id": "x"}
            await ask(method="UNSUBSCRIBE", params=params[:1], id=2)
            names = {json.loads(text)["s"] for text in await texts(socket, 50)}
            assert names == {"ETHUSDT"}

    scenario(run, {"messages_per_window": 100}, speed=10.0)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("{", 3),
        ("[1]", 2),
        ('{"id":1}', 2),
        ('{"method":"BUY","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":{}}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined",7],"id":1}', 1),
    ],
)
def test_requests_that_are_wrong_are_answered_with_a_code(request_, code):
    async def run(client):
        async with client.connect("/ws") as socket:
            await socket.send_str(request_)
            told = await answer(socket)
            assert told["code"] == code
            assert told["msg"]
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 9})
            assert await answer(socket) == {"result": [], "id": 9}

    scenario(run)


def test_unknown_streams_are_accepted_and_silent():
    async def run(client):
        path = "/stream?streams=nosuch@trade/BTCUSDT@trade/btcusdt@kline_7m/ethusdt@trade"
        async with client.connect(path) as socket:
            got = {json.loads(text)["stream"] for text in await texts(socket, 30)}
            assert got == {"ethusdt@trade"}
        assert client.venue.rules.counts["binance_unknown_streams"] == 3
        assert not client.venue.rules.breaches

    scenario(run, speed=10.0)


@pytest.mark.parametrize("what", ["ping", "pong", "json"])
def test_a_sixth_message_within_a_second_closes_with_1008(what):
    async def run(client):
        async with client.connect(f"/stream?streams={TRADES}") as socket:
            for _ in range(6):
                if what == "json":
                    await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
                else:
                    await getattr(socket, what)(b"x")
            assert await end_of(socket) == 1008
        assert client.venue.rules.breaches == {"messages_per_second": 1}
        _, rules, _ = await client.get("/exchange/rules")
        assert rules["closed_1008"] == 1

    scenario(run)


def test_five_messages_in_each_window_are_allowed():
    async def run(client):
        async with client.connect("/ws") as socket:
            for _ in range(2):
                for _ in range(5):
                    await socket.ping(b"x")
                await asyncio.sleep(0.4)
            pongs = [await socket.receive() for _ in range(10)]
            assert {message.type for message in pongs} == {aiohttp.WSMsgType.PONG}
        assert not client.venue.rules.breaches

    scenario(run, {"message_window_seconds": 0.3})


@pytest.mark.parametrize("by", ["url", "request", "requests"])
def test_more_streams_than_allowed_close_with_1008(by):
    names = [f"s{number}@trade" for number in range(11)]

    async def run(client):
        path = f"/stream?streams={'/'.join(names)}" if by == "url" else "/ws"
        async with client.connect(path) as socket:
            parts = {"url": [], "request": [names], "requests": [names[:6], names[6:]]}[by]
            for part in parts:
                await socket.send_json({"method": "SUBSCRIBE", "params": part, "id": 1})
            assert await end_of(socket) == 1008
        assert client.venue.rules.breaches == {"streams_per_connection": 1}

    scenario(run, {"streams_per_connection": 10})


def test_1024_streams_are_the_most_by_default():
    names = [f"s{number}@trade" for number in range(1024)]

    async def run(client):
        async with client.connect("/ws") as socket:
            await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
            assert await answer(socket) == {"result": None, "id": 1}
            await socket.send_json({"method": "SUBSCRIBE", "params": ["one@trade"], "id": 2})
            assert await end_of(socket) == 1008

    scenario(run)


def test_too_many_connection_attempts_are_refused():
    async def run(client):
        for _ in range(3):
            async with client.connect("/ws"):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.connect("/ws")
        assert refused.value.status == 429
        assert 295 <= int(refused.value.headers["Retry-After"]) <= 301
        assert client.venue.rules.breaches == {"connection_attempts": 1}

    scenario(run, {"attempts_per_window": 3})


def test_pings_are_sent_and_who_answers_stays():
    async def run(client):
        async with client.connect("/ws") as socket:
            for _ in range(4):
                ping = await socket.receive()
                assert ping.type is aiohttp.WSMsgType.PING
                assert ping.data.isdigit()
                await socket.pong(ping.data)
        assert not client.venue.rules.breaches

    scenario(run, {"ping_seconds": 0.1, "pong_seconds": 0.5})


@pytest.mark.parametrize("payload", [None, b"something else"])
def test_who_does_not_answer_a_ping_with_its_payload_is_ended(payload):
    async def run(client):
        async with client.connect("/ws") as socket:
            while (message := await socket.receive()).type is aiohttp.WSMsgType.PING:
                if payload:
                    await socket.pong(payload)
            assert message.type is not aiohttp.WSMsgType.CLOSE
        assert client.venue.rules.breaches == {"no_pong": 1}

    scenario(run, {"ping_seconds": 0.2, "pong_seconds": 0.3})


@pytest.mark.parametrize("combined", [True, False])
def test_a_connection_that_is_too_old_is_told_and_ended(combined):
    async def run(client):
        path = "/stream?streams=nosuch@trade" if combined else "/ws/nosuch@trade"
        async with client.connect(path) as socket:
            told = json.loads((await texts(socket, 1))[0])
            began = time.monotonic()
            assert await end_of(socket) == 1001
            assert time.monotonic() - began > 0.1
        if combined:
            assert told["stream"] == "!serverShutdown"
            told = told["data"]
        assert set(told) == {"e", "E"}
        assert told["e"] == "serverShutdown"
        assert abs(told["E"] - client.venue.clock.now_ms()) < 5_000

    scenario(run, {"max_age_seconds": 0.4, "shutdown_notice_seconds": 0.2})


def test_a_client_that_does_not_read_is_dropped_at_the_limit():
    async def run(client):
        host, port = client.exchange.url.removeprefix("http://").split(":")
        with sockets.create_connection((host, int(port))) as raw:
            raw.sendall(
                f"GET /stream?streams={ALL} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            await until(lambda: client.venue.connections)
            (connection,) = client.venue.connections
            most = 0
            while client.venue.connections:
                most = max(most, connection.waiting_bytes())
                await asyncio.sleep(0.001)
        assert client.venue.rules.counts["slow_reader_dropped"] == 1
        assert 0 < most < 3 << 20

    scenario(run, {"send_buffer_bytes": 1 << 20}, speed=200.0, clock="live", symbols=6)


def test_candles_are_pushed_and_closed_ones_agree_with_rest():
    async def run(client):
        path = "/stream?streams=btcusdt@kline_1s/btcusdt@kline_1m"
        async with client.connect(path) as socket:
            messages = [json.loads(text) for text in await texts(socket, 12)]
        seconds = [m["data"]["k"] for m in messages if m["stream"] == "btcusdt@kline_1s"]
        minutes = [m["data"]["k"] for m in messages if m["stream"] == "btcusdt@kline_1m"]
        assert all(k["x"] for k in seconds)
        assert [k["t"] for k in seconds] == [
            seconds[0]["t"] + 1000 * n for n in range(len(seconds))
        ]
        rows = await client.rows(
            "/api/v3/klines",
            symbol="BTCUSDT",
            interval="1s",
            startTime=seconds[0]["t"],
            endTime=seconds[-1]["t"],
        )
        keys = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
        assert rows == [[k[key] for key in keys] for k in seconds]
        assert minutes
        assert [k["n"] for k in minutes if k["t"] == minutes[0]["t"]] == sorted(
            k["n"] for k in minutes if k["t"] == minutes[0]["t"]
        )

    scenario(run, speed=10.0)


def test_live_clock_tells_the_present_for_ever():
    async def run(client):
        async with client.connect(f"/stream?streams={TRADES}") as socket:
            each = sum(len(recorded(name)) for name in TRADES.split("/"))
            messages = [json.loads(text)["data"] for text in await texts(socket, 3 * each)]
        now = time.time() * 1000
        for symbol in ("BTCUSDT", "ETHUSDT"):
            mine = [message for message in messages if message["s"] == symbol]
            assert [m["t"] for m in mine] == list(range(mine[0]["t"], mine[0]["t"] + len(mine)))
            assert abs(mine[-1]["T"] - now) < 5_000

    scenario(run, clock="live", speed=60.0)


def test_rate_sets_the_speed_for_all_symbols_together():
    async def run(client):
        per_symbol = client.venue.recording.trades_per_second() / 2
        assert client.venue.clock.speed == pytest.approx(1000 / (50 * per_symbol))

    scenario(run, clock="live", symbols=50, rate=1000.0)
