"""The API under load beside a run: 200 WebSockets and 100 requests/s, 50 symbols at true speed.

The same recording is replayed twice, alone and with the load, each in a process of its own: what
is decided must be the same, and how long stages take shows what the load costs the run. Run by
`make bench`; nothing else should be running.
"""

import argparse
import asyncio
import re
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
CLOSE = re.compile(rb'\{"event":"frame",.{1,100}?"ts_close":(\d+)')
KEPT = 5.0  # seconds that a connection may rest; the server closes it after ten
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


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
        alone, quiet = run(folder / "alone.sqlite", path, symbols)
        loaded, load = run(folder / "loaded.sqlite", path, symbols, listeners=asked_for.listeners)
    requests, delays = sorted(load.requests), sorted(load.delays)
    print(
        f"{asked_for.symbols} symbols at true speed, {asked_for.listeners} listeners, {RATE} "
        "requests/s asked for"
    )
    print(f"  digest       {'the same' if alone['digest'] == loaded['digest'] else 'DIFFERS'}")
    print(f"  requests     {len(requests):,}, {load.failed} failed; {told(requests)}")
    print(f"  push delay   {len(delays):,} frames; {told(delays)}")
    print(f"  in the store {told(quiet.lags())} alone; {told(load.lags())} with the load")
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

    def lags(self):
        """Return how much later than the fastest each close came into the store, sorted, s."""
        behind = [seen - close * 1e-9 for close, seen in self.seen.items() if close]
        return sorted(each - min(behind) for each in behind)


def run(store, path, symbols, listeners=0):
    """Replay; return the summary with the digest, and what the load saw."""
    load = Load()
    with paced(store, path, speed=1, fast=WARM, symbols=symbols) as process:
        until(lambda: deciding(store), 600, process)
        with watching(store, load):
            if listeners:
                with api_beside(store, port=0) as address:
                    asyncio.run(pressed(address, load, listeners, process))
            else:
                process.wait()
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
    """Hear every frame, and note how long after the store it came.

    Two cores are all there is for the run, the API and 200 clients: these read no more of a frame
    than they must.
    """
    place = address.replace("http", "ws", 1) + "api/v1/ws"
    async with connect(place, proxy=None, max_size=None, compression=None) as socket:
        while True:
            frame = await socket.recv(decode=False)
            now = time.monotonic()
            if found := CLOSE.match(frame, 0, 200):
                seen = load.seen.get(int(found[1]))
                if seen is not None:
                    load.delays.append(max(now - seen, 0.0))


async def ask(address, load):
    """Ask at the rate, whatever the answers take; a connection is used by one at a time."""
    url = httpx2.URL(address)
    idle, pending = [], set()
    begin, asked_so_far = time.monotonic(), 0
    with suppress(asyncio.CancelledError):
        while True:
            due = begin + asked_so_far / RATE - time.monotonic()
            await asyncio.sleep(max(due, 0))
            path = f"/api/v1/{PATHS[asked_so_far % len(PATHS)]}"
            task = asyncio.create_task(one(url, idle, path, load))
            pending.add(task)
            task.add_done_callback(pending.discard)
            asked_so_far += 1
    await asyncio.gather(*pending, return_exceptions=True)


async def one(url, idle, path, load):
    """Ask once, over a connection that is free; no client of HTTP is as light as this."""
    begin = time.monotonic()
    try:
        while idle and begin - idle[-1][0] > KEPT:
            idle.pop()[2].close()
        if idle:
            _, reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(LENGTH.search(head)[1]))
    except (OSError, asyncio.IncompleteReadError):
        load.failed += 1
        return
    answered = time.monotonic()
    idle.append((answered, reader, writer))
    load.requests.append(answered - begin)
    load.failed += not head.startswith(b"HTTP/1.1 200")


if __name__ == "__main__":
    main()
