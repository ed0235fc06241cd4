"""A small web server for tests of polling: pages that tests write, requests that they read."""

import asyncio
import contextlib

from aiohttp import web

from connectors.feeds import Inbox, InboxSettings
from connectors.sources.polling import PollSettings
from operators.messages import SECOND

NOW = 1_723_161_254 * SECOND  # 2024-08-08T23:54:14Z

# As patient as a test can wait.
QUICK = PollSettings(
    requests=100_000,
    per_seconds=1.0,
    first_wait_s=0.001,
    most_wait_s=0.05,
    breaker_rest_s=0.05,
    total_timeout_s=5.0,
)


class Pages:
    """Answers by path: bytes, a response's keywords, a list of these in turn, or a handler.

    The last of a list is given for ever. `asked` holds (path, query, headers, body).
    """

    def __init__(self, answers, tls=None):
        self.answers = answers
        self.asked = []
        self._tls = tls
        self._turn = {}

    async def __aenter__(self):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    def count(self, path):
        return sum(asked[0] == path for asked in self.asked)

    async def _answer(self, request):
        body = await request.text()
        self.asked.append((request.path, dict(request.query), dict(request.headers), body))
        answer = self.answers.get(request.path, {"status": 404})
        if isinstance(answer, list):
            turn = self._turn.get(request.path, 0)
            self._turn[request.path] = turn + 1
            answer = answer[min(turn, len(answer) - 1)]
        if callable(answer):
            answer = answer(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(**({"body": answer} if isinstance(answer, bytes) else answer))


def inbox(now=NOW, **settings):
    """Return an inbox whose clock stands at `now` (ns)."""
    return Inbox(InboxSettings(**settings), lambda: now)


async def until(condition, seconds=10.0):
    """Wait until `condition()` holds; fail if it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def running(feed, to):
    """Run a feed to an inbox for as long as the block lasts."""
    task = asyncio.create_task(feed.run(to))
    try:
        yield
    finally:
        assert not task.done(), "a feed ended by itself"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
