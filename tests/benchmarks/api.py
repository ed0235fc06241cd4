"""The API under load beside a run: 200 WebSockets and 100 requests/s, 50 symbols at true speed.

The same recording is replayed twice, alone and with the load, each in a process of its own: what
is decided must be the same, and how long stages take shows what the load costs the run. Run by
`make bench`; nothing else should be running.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx2
from websockets.asyncio.client import connect

from connectors.sinks.store import open_store
from flows.commands_api import api_beside
from flows.digest import digest
from flows.summary import summarise
from tests.api.paced import WARM, paced, until
from tests.api.test_orders import asked, deciding
from tests.wide import wide

SYMBOLS = 50
LISTENERS = 200
RATE = 100  # requests/s
PATHS = (
    "signals/latest", "symbols", "signals?limit=50", "portfolio", "risk", "bars/BTCUSDT?limit=120",
    "portfolio/history?points=200", "health", "control/orders", "run",
)  # fmt: skip


def main():
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=8.0, help="of the recording")
    options.add_argument("--symbols", type=int, default=SYMBOLS)
    options.add_argument("--listeners", type=int, default=LISTENERS)
    asked_for = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, symbols = wide(folder / "wide.ndjson", asked_for.symbols, minutes=asked_for.minutes)
        alone, _ = run(folder / "alone.sqlite", path, symbols)
        loaded, load = run(folder / "loaded.sqlite", path, symbols, listeners=asked_for.listeners)
    requests, delays = sorted(load.requests), sorted(load.delays)
    print(
        f"{asked_for.symbols} symbols at true speed, {asked_for.listeners} listeners, {RATE} "
        "requests/s asked for"
    )
    print(f"  digest       {'the same' if alone['digest'] == loaded['digest'] else 'DIFFERS'}")
    print(f"  requests     {len(requests):,}, {load.failed} failed; {told(requests)}")
    print(f"  push delay   {len(delays):,} frames; {told(delays)}")
    for stage in ("indicators", "forecast", "policy", "fusion", "risk"):
        one, two = (each["stages"][stage]["p99_ms"] for each in (alone, loaded))
        print(f"  {stage:<12} p99 {one:.2f} ms alone, {two:.2f} ms with the load")


def told(values):
    """Return p50 and p99 of sorted seconds, in words."""
    if not values:
        return "none"
    p50, p99 = (values[int(q * (len(values) - 1))] * 1000 for q in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


class Load:
    """What those who listen and ask saw."""

    def __init__(self):
        self.requests, self.delays, self.failed = [], [], 0
        self.seen = {}  # when a close was first seen in the store, by close


def run(store, path, symbols, listeners=0):
    """Replay; return the summary with the digest, and what the load saw."""
    load = Load()
    with paced(store, path, speed=1, fast=WARM, symbols=symbols) as process:
        if listeners:
            until(lambda: deciding(store), 600, process)
            with api_beside(store, port=0) as address, watching(store, load):
                asyncio.run(pressed(address, load, listeners, process))
        _, error = process.communicate()
        if process.returncode:
            sys.exit(error)
    with closing(open_store(store, readonly=True)) as opened:
        return summarise(opened) | {"digest": digest(opened)}, load


@contextmanager
def watching(store, load):
    """Note from a thread when each close appears in the store."""
    ended = threading.Event()

    def watch():
        while not ended.wait(0.005):
            [(newest,)] = asked(store, "SELECT max(ts_close) FROM portfolio")
            load.seen.setdefault(newest, time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def pressed(address, load, listeners, process):
    """Listen and ask until the run has ended."""
    tasks = [asyncio.create_task(listen(address, load)) for _ in range(listeners)]
    tasks.append(asyncio.create_task(ask(address, load)))
    while process.poll() is None:  # noqa: ASYNC110 - a process tells nobody
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def listen(address, load):
    """Hear every frame, and note how long after the store it came."""
    place = address.replace("http", "ws", 1) + "api/v1/ws"
    async with connect(place, proxy=None, max_size=None) as socket:
        async for text in socket:
            now = time.monotonic()
            if text.startswith('{"event":"frame"'):
                seen = load.seen.get(json.loads(text)["data"]["ts_close"])
                if seen is not None:
                    load.delays.append(max(now - seen, 0.0))


async def ask(address, load):
    """Ask at the rate, whatever the answers take."""
    limits = httpx2.Limits(max_connections=50)
    async with httpx2.AsyncClient(base_url=address, timeout=30, limits=limits) as client:
        begin, asked_so_far = time.monotonic(), 0
        pending = set()
        with suppress(asyncio.CancelledError):
            while True:
                due = begin + asked_so_far / RATE - time.monotonic()
                await asyncio.sleep(max(due, 0))
                path = PATHS[asked_so_far % len(PATHS)]
                task = asyncio.create_task(one(client, f"api/v1/{path}", load))
                pending.add(task)
                task.add_done_callback(pending.discard)
                asked_so_far += 1
        await asyncio.gather(*pending, return_exceptions=True)


async def one(client, path, load):
    """Ask once."""
    begin = time.monotonic()
    try:
        answer = await client.get(path)
    except httpx2.TransportError:
        load.failed += 1
        return
    load.requests.append(time.monotonic() - begin)
    load.failed += answer.status_code != 200


if __name__ == "__main__":
    main()
