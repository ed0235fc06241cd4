"""A TCP proxy with faults: connections that are cut, stalled or refused, and replies that are lost.

    with Toxic(server_port) as proxy:
        client = connect(port=proxy.port)
        proxy.cut()     # open connections end; new ones are served
        proxy.refuse()  # they end, and new ones are refused until heal()
        proxy.stall()   # connections stay open, and nothing passes until heal()
        proxy.mute()    # requests reach the server, its replies wait until heal() ...
        until(lambda: proxy.holding)  # ... so what the server has just replied to, it has done;
        proxy.cut()     # and the client never hears of it
        proxy.heal()    # all well again; what waited on connections still open passes

Each order is carried out when its method returns.
"""

import asyncio
import contextlib
import socket
from threading import Thread

CHUNK = 65_536
LEAVE = 10.0  # seconds for an order to be carried out


class Toxic:
    """A proxy on a port of its own, which stays its own while it refuses."""

    def __init__(self, target):
        """Stand before the port `target` of 127.0.0.1."""
        self.target = target
        self.holding = 0  # bytes that wait for heal()
        # Bound but never listening: it keeps the port while nobody listens on it.
        self.held = _bound(0)
        self.port = self.held.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, name="toxic", daemon=True)
        self.requests = asyncio.Event()
        self.replies = asyncio.Event()
        self.server = None
        self.serving = set()

    @property
    def connections(self):
        """How many are open."""
        return len(self.serving)

    def cut(self):
        """End the connections that are open."""
        self._order(self._cut())

    def refuse(self):
        """End the connections that are open, and take no new ones until `heal`."""
        self._order(self._refuse())

    def stall(self):
        """Let nothing pass until `heal`, with connections open."""
        self._order(self._gate(requests=False, replies=False))

    def mute(self):
        """Let requests pass, and no reply until `heal`."""
        self._order(self._gate(requests=True, replies=False))

    def heal(self):
        """Let everything pass."""
        self._order(self._heal())

    def __enter__(self):
        self.thread.start()
        self.heal()
        return self

    def __exit__(self, *_):
        self.refuse()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LEAVE)
        self.loop.close()
        self.held.close()

    def _order(self, work):
        asyncio.run_coroutine_threadsafe(work, self.loop).result(LEAVE)

    async def _gate(self, *, requests, replies):
        for gate, is_open in ((self.requests, requests), (self.replies, replies)):
            (gate.set if is_open else gate.clear)()

    async def _heal(self):
        await self._gate(requests=True, replies=True)
        if self.server is None:
            self.server = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _refuse(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        await self._cut()

    async def _cut(self):
        ending = list(self.serving)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self.serving.add(task)
        writers = [writer]
        try:
            # One of the two has gone, or they are cut: both end.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, to_server = await asyncio.open_connection("127.0.0.1", self.target)
                writers.append(to_server)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(reader, to_server, self.requests))
                    both.create_task(self._carry(there, writer, self.replies))
        finally:
            for each in writers:
                each.transport.abort()
            self.serving.discard(task)

    async def _carry(self, reader, writer, gate):
        while chunk := await reader.read(CHUNK):
            self.holding += len(chunk)
            try:
                await gate.wait()
            finally:
                self.holding -= len(chunk)
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


def _bound(port):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
