"""The hub alone: what is published while somebody comes back, and what breaks beside it."""

import asyncio
from contextlib import closing

import msgspec
import pytest

from api.events import Selection
from api.frames import Frames
from api.push import Hub
from api.reader import Reader
from api.rows import SqliteRows

MONEY = Selection(frozenset({"portfolio"}))
KEPT = 12


@pytest.fixture
def frames(store):
    """Return the frames of a replayed store."""
    with closing(SqliteRows(store)) as rows:
        yield Frames(Reader(rows))


class Played(Frames):
    """A store that gets its closes one by one."""

    def __init__(self, frames, upto):
        super().__init__(frames.reader)
        self.all = frames.whole(0)
        self.upto = upto

    def newest(self):
        return self.all[self.upto - 1]

    def whole(self, after, limit=1000):
        return [each for each in self.all[: self.upto] if each > after][:limit]


async def until(true, seconds=20.0):
    """Wait until it is true."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the hub tells events, not tests
            await asyncio.sleep(0.001)


async def published(hub, played, upto):
    """Let closes come, and wait for the last of them."""
    played.upto = upto
    await until(lambda: hub.position == played.newest())


@pytest.mark.parametrize("back", [3, 40])  # from memory, and from the store
def test_frames_that_come_while_somebody_comes_back_are_told_behind(frames, back):
    async def heard():
        played = Played(frames, 100)
        async with Hub(played, dict, poll_seconds=0.001, kept=KEPT) as hub:
            for upto in range(100, 101 + KEPT):
                await published(hub, played, upto)
            last = f"{hub.run[:8]}.{played.all[played.upto - 1 - back]}"
            listening = hub.listen(lambda: MONEY, last)
            events = [await anext(listening), await anext(listening)]
            # While the rest of what was missed is still to come.
            await published(hub, played, played.upto + 2)
            while len(events) < back + 3:
                event = await anext(listening)
                if event.name != "status":
                    events.append(event)
            await listening.aclose()
            return played, events

    played, events = asyncio.run(heard())
    closes = [msgspec.json.decode(event.data)["ts_close"] for event in events[1:]]
    assert [event.name for event in events] == ["hello"] + ["frame"] * (back + 2)
    assert closes == played.all[played.upto - 2 - back : played.upto]


def test_only_the_newest_frames_keep_what_was_made_for_those_who_listen(frames):
    async def kept():
        played = Played(frames, 100)
        async with Hub(played, dict, poll_seconds=0.001, kept=KEPT) as hub:
            await published(hub, played, 100)
            listening = [
                hub.listen(lambda name=str(n): Selection(symbols=frozenset({name})), None)
                for n in range(20)
            ]
            for each in listening:
                await anext(each)
            for upto in range(100, 100 + KEPT):
                await published(hub, played, upto)
                for each in listening:
                    while (await anext(each)).name != "frame":
                        pass
            held = [len(each.events) for each in hub._kept]
            for each in listening:
                await each.aclose()
            return held

    held = asyncio.run(kept())
    assert sum(held[:-5]) == 0
    assert 0 < max(held) <= 8


def test_what_breaks_once_does_not_end_the_push(frames):
    asked = []

    def status():
        asked.append(None)
        if len(asked) == 1:
            raise ZeroDivisionError
        return {"status": "ready"}

    async def heard():
        async with Hub(frames, status, poll_seconds=0.001, kept=KEPT) as hub:
            await until(lambda: hub.told is not None)
            return hub.told.data

    assert asyncio.run(heard()) == b'{"status":"ready"}'
