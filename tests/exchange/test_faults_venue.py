"""Each fault of the venue as a whole: REST, its listener, its certificate, its market."""

import asyncio
import json
import ssl
import time

import aiohttp
import pytest

from tests.exchange.venues import scenario, texts, until

TIME = "/api/v3/time"


async def over(client):
    await until(lambda: not client.venue.faults.running)


@pytest.mark.parametrize(("kind", "status"), [("rest_429", 429), ("rest_418", 418)])
def test_requests_are_refused_with_retry_after(kind, status):
    async def run(client):
        await client.fault(kind=kind, seconds=5, retry_after=3)
        got, body, headers = await client.get(TIME)
        assert (got, headers["Retry-After"], body["code"]) == (status, "3", -1003)
        assert (await client.get("/exchange/truth"))[0] == 200
        await over(client)
        assert (await client.get(TIME))[0] == 200

    scenario(run, speed=20.0)


def test_rest_down_is_503_or_no_answer():
    async def run(client):
        await client.fault(kind="rest_down", seconds=4)
        async with client.session.get(client.exchange.url + TIME) as response:
            assert response.status == 503
        async with client.connect("/ws/btcusdt@trade") as socket:
            await texts(socket, 3)
        await over(client)
        await client.fault(kind="rest_down", seconds=4, mode="abort")
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(TIME)
        await over(client)
        assert (await client.get(TIME))[0] == 200

    scenario(run, speed=20.0)


def test_rest_wrong_json_is_no_json():
    async def run(client):
        await client.fault(kind="rest_wrong_json", seconds=4)
        async with client.session.get(client.exchange.url + TIME) as response:
            body = await response.text()
            assert response.status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)

    scenario(run, speed=20.0)


def test_rest_slow_answers_late():
    async def run(client):
        await client.fault(kind="rest_slow", seconds=30, delay_seconds=0.3)
        began = time.monotonic()
        assert (await client.get(TIME))[0] == 200
        assert time.monotonic() - began >= 0.3

    scenario(run)


def test_faults_of_requests_strike_the_paths_they_name():
    async def run(client):
        await client.fault(kind="rest_429", seconds=30, target={"paths": ["/api/v3/klines"]})
        assert (await client.get(TIME))[0] == 200
        assert (await client.get("/api/v3/klines", symbol="BTCUSDT"))[0] == 429

    scenario(run)


@pytest.mark.parametrize("mode", ["reset", "listener"])
def test_no_new_connections_while_refused_and_old_ones_stay(mode):
    async def run(client):
        async with client.connect("/ws/btcusdt@trade") as old:
            await client.fault(kind="refuse", seconds=6, mode=mode)
            with pytest.raises(aiohttp.ClientConnectionError):
                async with aiohttp.ClientSession() as fresh:
                    await fresh.ws_connect(client.exchange.url + "/ws")
            await texts(old, 3)
            await over(client)

            async def connected():
                while True:
                    try:
                        return await client.connect("/ws")
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.01)

            socket = await asyncio.wait_for(connected(), 5)
            await socket.close()

    scenario(run, speed=20.0)


def test_nothing_trades_in_a_quiet_market_and_no_id_is_lost():
    async def run(client):
        path = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/ethusdt@trade"
        async with client.connect(path) as socket:
            client.venue.clock.run()
            await until(lambda: client.venue.clock.elapsed_seconds() > 3)
            told = await client.fault(kind="quiet", seconds=4, target={"symbols": ["BTCUSDT"]})
            await until(lambda: client.venue.market.ended)
            truth = {
                symbol: await client.rows("/exchange/truth", symbol=symbol)
                for symbol in ("BTCUSDT", "ETHUSDT")
            }
            got = {"BTCUSDT": [], "ETHUSDT": []}
            while any(len(got[symbol]) < len(truth[symbol]) for symbol in got):
                data = json.loads((await texts(socket, 1))[0])["data"]
                if "t" in data:
                    got[data["s"]].append([data["t"], data["T"], data["p"], data["q"], data["m"]])
        assert got == truth
        begun = told["began_ms"]
        times = [row[1] for row in truth["BTCUSDT"]]
        assert not [moment for moment in times if begun < moment < begun + 4_000]
        assert [row[0] for row in truth["BTCUSDT"]] == list(
            range(truth["BTCUSDT"][0][0], truth["BTCUSDT"][0][0] + len(times))
        )
        assert [row for row in truth["ETHUSDT"] if begun < row[1] < begun + 4_000]

    scenario(run, hold=True, speed=4.0)


def trusting(client):
    return ssl.create_default_context(cafile=client.venue.certificates.ca_file)


async def fetched(client, context):
    # A session of its own, so that each request makes its own handshake.
    async with (
        aiohttp.ClientSession() as session,
        session.get(client.exchange.url + TIME, ssl=context) as response,
    ):
        return response.status


def test_tls_is_trusted_by_its_ca_and_by_no_other(tmp_path):
    async def run(client):
        assert client.exchange.url.startswith("https://")
        assert await fetched(client, trusting(client)) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetched(client, ssl.create_default_context())
        async with client.connect("/ws/btcusdt@trade", ssl=trusting(client)) as socket:
            assert len(await texts(socket, 5)) == 5

    scenario(run, tls_folder=tmp_path, speed=5.0)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("unknown_ca", aiohttp.ClientConnectorCertificateError),
        ("handshake", aiohttp.ClientConnectorError),
    ],
)
def test_handshakes_fail_while_tls_does(tmp_path, mode, error):
    async def run(client):
        context = trusting(client)
        session = client.session
        url = f"{client.exchange.url}/exchange/fault"
        assert await fetched(client, context) == 200
        fault = {"kind": "tls_failure", "seconds": 6, "mode": mode}
        async with session.post(url, json=fault, ssl=context) as response:
            assert response.status == 200
        with pytest.raises(error):
            await fetched(client, context)
        await over(client)
        assert await fetched(client, context) == 200

    scenario(run, tls_folder=tmp_path, speed=20.0)


def test_tls_failure_without_tls_says_so():
    async def run(client):
        told = await client.fault(kind="tls_failure", seconds=1)
        assert told["note"] == "the venue speaks no TLS"

    scenario(run)
