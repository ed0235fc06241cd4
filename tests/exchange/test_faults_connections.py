"""Each fault of connections and messages does to a raw client what it says."""

import asyncio
import json

import aiohttp
import pytest

from exchange.faults import Fault, Kind, Target
from tests.exchange.venues import end_of, scenario, texts, until

TRADES = "/stream?streams=btcusdt@trade/ethusdt@trade"
WAIT = {"hold": True, "speed": 40.0}


def ids(messages, symbol="BTCUSDT"):
    datas = [json.loads(text)["data"] for text in messages]
    return [data["t"] for data in datas if data["s"] == symbol]


async def all_texts(client, socket):
    """Receive until the market's end and a second of silence."""
    got = []
    while True:
        try:
            async with asyncio.timeout(0.3):
                got += await texts(socket, 1)
        except TimeoutError:
            if client.venue.market.ended:
                return got


def dense(numbers):
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_cut_ends_the_connections_it_names_and_no_other():
    async def run(client):
        first, second = await client.connect(TRADES), await client.connect(TRADES)
        told = await client.fault(kind="cut", target={"connections": "newest"})
        assert told["connections"] == [2]
        assert await end_of(second) == 1006
        assert len(await texts(first, 5)) == 5
        await first.close()

    scenario(run, speed=5.0)


def test_a_cut_by_symbol_takes_the_connections_that_carry_it():
    async def run(client):
        btc, eth = [await client.connect(f"/ws/{name}@trade") for name in ("btcusdt", "ethusdt")]
        await client.fault(kind="cut", target={"symbols": ["ETHUSDT"]})
        assert await end_of(eth) == 1006
        assert len(await texts(btc, 5)) == 5
        await btc.close()

    scenario(run, speed=5.0)


def test_half_open_says_nothing_and_answers_nothing():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="half_open", seconds=14)
            sent = client.venue.rules.counts["binance_messages"]
            await socket.ping(b"are you there")
            silent = []
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        silent.append(await socket.receive())
            except TimeoutError:
                pass
            assert all(json.loads(message.data)["stream"] for message in silent)
            assert len(silent) <= sent
            assert len(client.venue.connections) == 1
            # A new connection is well.
            async with client.connect(TRADES) as fresh:
                assert len(await texts(fresh, 5)) == 5
            # When it is over the connection is gone.
            await end_of(socket)

    scenario(run, speed=20.0)


def test_slow_trickles_and_then_sends_all():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="slow", seconds=8, bytes_per_second=2000)
            client.venue.clock.run()
            await until(lambda: client.venue.connections[0].waiting_bytes() > 5_000)
            got = await all_texts(client, socket)
            assert dense(ids(got))
            assert len(ids(got)) == len(await client.rows("/exchange/truth", symbol="BTCUSDT"))

    scenario(run, **WAIT)


def test_a_truncated_frame_ends_before_its_length():
    async def run(client):
        host, port = client.exchange.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        await client.fault(kind="truncated_frame")
        rest = await reader.read()
        writer.close()
        assert rest[:2] == b"\x81\x7e"
        assert 0 < len(rest) - 4 < int.from_bytes(rest[2:4], "big")

    scenario(run)


def test_policy_close_is_1008_and_no_breach():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="policy_close")
            assert await end_of(socket) == 1008
        assert not client.venue.rules.breaches
        _, rules, _ = await client.get("/exchange/rules")
        assert rules["closed_1008"] == 0
        assert rules["counts"]["policy_close_injected"] == 1

    scenario(run)


@pytest.mark.parametrize("notice", [0, 0.3])
def test_server_shutdown_is_announced_and_then_happens(notice):
    async def run(client):
        async with client.connect("/stream?streams=nosuch@trade") as socket:
            await client.fault(kind="server_shutdown", notice_seconds=notice)
            told = json.loads((await texts(socket, 1))[0])
            assert told["stream"] == "!serverShutdown"
            assert told["data"]["e"] == "serverShutdown"
            assert await end_of(socket) == 1001

    scenario(run)


def test_a_gap_is_missing_from_the_stream_and_not_from_rest():
    async def run(client):
        async with client.connect(TRADES) as socket:
            client.venue.clock.run()
            got = await all_texts(client, socket)
        sent = ids(got)
        truth = await client.rows("/exchange/truth", symbol="BTCUSDT")
        lost = [row for row in truth if row[0] not in set(sent)]
        assert lost
        assert dense([row[0] for row in lost])
        assert lost[0][1] >= client.venue.clock.start // 1_000_000 + 2_900
        assert lost[-1][1] <= client.venue.clock.start // 1_000_000 + 7_500
        rows = await client.rows(
            "/api/v3/historicalTrades", symbol="BTCUSDT", fromId=lost[0][0], limit=len(lost)
        )
        assert [row["id"] for row in rows] == [row[0] for row in lost]
        assert dense(ids(got, "ETHUSDT"))
        (told,) = await client.rows("/exchange/faults")
        assert told["kind"] == "gap"
        assert told["messages"] == len(lost)
        assert 4_000 <= told["ended_ms"] - told["began_ms"] < 5_500

    gap = Fault(kind=Kind.GAP, at=3.0, seconds=4.0, target=Target(symbols=("BTCUSDT",)))
    scenario(run, faults=(gap,), **WAIT)


def test_duplicates_come_twice():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="duplicate", count=40, target={"symbols": ["BTCUSDT"]})
            client.venue.clock.run()
            got = ids(await all_texts(client, socket))
        assert got[:80:2] == got[1:80:2]
        assert dense(got[:80:2] + got[80:])

    scenario(run, **WAIT)


def test_reordered_messages_all_come():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="reorder", seconds=8)
            client.venue.clock.run()
            got = ids(await all_texts(client, socket))
        truth = [row[0] for row in await client.rows("/exchange/truth", symbol="BTCUSDT")]
        assert got != truth
        assert sorted(got) == truth
        moved = [number - true for number, true in zip(got, truth, strict=True)]
        assert set(moved) == {-1, 0, 1}

    scenario(run, **WAIT)


def test_a_skewed_clock_is_in_what_is_sent_only():
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="clock_skew", seconds=100, shift_seconds=90)
            client.venue.clock.run()
            data = json.loads((await texts(socket, 1))[0])["data"]
        (row,) = (await client.rows("/exchange/truth", symbol=data["s"]))[:1]
        assert data["t"] == row[0]
        assert data["T"] == row[1] + 90_000

    scenario(run, **WAIT)


@pytest.mark.parametrize("mode", ["torn", "html", "list", "null", "types"])
def test_wrong_json_takes_each_form(mode):
    async def run(client):
        async with client.connect(TRADES) as socket:
            await client.fault(kind="wrong_json", count=1, mode=mode)
            client.venue.clock.run()
            wrong, good = await texts(socket, 2)
        assert json.loads(good)["data"]["e"] == "trade"
        if mode in {"torn", "html"}:
            with pytest.raises(json.JSONDecodeError):
                json.loads(wrong)
        else:
            told = json.loads(wrong)
            if mode == "list":
                assert isinstance(told, list)
            elif mode == "null":
                assert told["data"] is None
            else:
                assert isinstance(told["data"]["T"], str)
                assert told["data"]["p"] is None

    scenario(run, **WAIT)


def test_faults_come_at_their_times_and_are_listed():
    async def run(client):
        async with client.connect(TRADES) as socket:
            client.venue.clock.run()
            assert await end_of(socket) == 1006
        (told,) = await client.rows("/exchange/faults")
        assert 3.0 <= told["at"] < 5.0
        assert told["connections"] == [1]

    scenario(run, faults=(Fault(kind=Kind.CUT, at=3.0),), **WAIT)


def test_a_wrong_fault_is_refused_with_a_sentence():
    async def run(client):
        url = f"{client.exchange.url}/exchange/fault"
        async with client.session.post(url, json={"kind": "nonsense"}) as response:
            assert response.status == 400
            assert "nonsense" in (await response.json())["error"]

    scenario(run)


def test_pick_is_the_same_connection_again():
    async def run(client):
        sockets = [await client.connect("/ws") for _ in range(3)]
        told = await client.fault(kind="cut", target={"pick": 7})
        assert told["connections"] == [2]
        assert await end_of(sockets[1]) == 1006
        for socket in sockets:
            await socket.close()

    scenario(run)


def test_a_client_that_goes_is_forgotten():
    async def run(client):
        socket = await client.connect(TRADES)
        await texts(socket, 1)
        assert (await client.rows("/exchange/connections"))[0]["streams"] == [
            "btcusdt@trade",
            "ethusdt@trade",
        ]
        await socket.close()
        assert socket.close_code == aiohttp.WSCloseCode.OK
        await until(lambda: not client.venue.connections)
        assert not client.venue.rules.breaches

    scenario(run, speed=5.0)
