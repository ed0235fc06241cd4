"""The push: one look at the store for all who listen, and what each of them gets."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import Any, NamedTuple, Self

import msgspec
import structlog

from api.events import Event, Selection
from api.frames import Frames
from connectors.secrets import redact
from operators.errors import EngineError

_AT_ONCE = 2  # frames of one look; of more closes than that the last one stands for all
_BEHIND = 5  # frames that a listener may lag before it, too, gets the last one for all
_STATUS_SECONDS = 1.0
_BACK = 600  # closes that are made again for who comes back
_AT_A_TIME = 20  # of these; one who comes back holds no more of them in memory
_MOST_EVENTS = 8  # selections of a frame whose events are kept


@dataclass(slots=True)
class _Published:
    number: int
    id: str
    frame: dict[str, Any]
    events: dict[Selection, Event] = field(default_factory=dict)

    def event(self, selection: Selection) -> Event:
        """Return it as wanted; made once for all who want the same."""
        event = self.events.get(selection)
        if event is None:
            event = self.made(selection)
            if len(self.events) < _MOST_EVENTS:
                self.events[selection] = event
        return event

    def made(self, selection: Selection) -> Event:
        """Return it as wanted, made for one."""
        return _told(self.frame, selection, self.id)


class _Found(NamedTuple):
    """What a look at the store brought."""

    run: str
    frames: list[dict[str, Any]]
    anew: bool = False  # another run, or its first close


class Hub:
    """Look for new bar closes, and hand each to all who listen.

    A listener that lags, or comes back late, gets the newest frame and is told how many closes it
    stands for; nobody waits for anybody.
    """

    def __init__(
        self,
        frames: Frames,
        status: Callable[[], dict[str, Any]],
        *,
        poll_seconds: float,
        kept: int,
    ) -> None:
        """Prepare; `status` tells how the engine does, from a thread."""
        self.frames = frames
        self.status = status
        self.poll_seconds = poll_seconds
        self.listeners: Counter[str] = Counter()  # by address
        self.run = ""
        self.position = 0  # the last close that was published
        self.changed = time.monotonic()  # when
        self.told: Event | None = None  # the last status
        self.closing = False
        self._number = 0
        self._kept: deque[_Published] = deque(maxlen=kept)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Threads of their own: those who come back wait for one another, and nobody for them.
        self._looking = ThreadPoolExecutor(1, "push")
        self._resuming = ThreadPoolExecutor(1, "resume")
        self._log = structlog.get_logger(__name__)

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch(), name="push")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for threads in (self._looking, self._resuming):
            threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Let all who listen go; for the event loop's thread."""
        self.closing = True
        self._wake()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        told = 0.0
        failed: str | None = None
        while True:
            try:
                self._publish(await loop.run_in_executor(self._looking, self._look))
                if time.monotonic() - told >= _STATUS_SECONDS:
                    told = time.monotonic()
                    status = await loop.run_in_executor(self._looking, self.status)
                    self.told = Event("status", msgspec.json.encode(status))
                    self._wake()
                failed = None
            except Exception as error:  # noqa: BLE001 - all who listen hang on this one task
                why = redact(f"{type(error).__name__}: {error}")
                if failed != why:
                    self._log.warning("push_cannot_read", why=why)
                failed = why
            await asyncio.sleep(self.poll_seconds)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _look(self) -> _Found:
        """Return what is new in the store; nothing is changed here, in a thread."""
        frames = self.frames
        run, newest = frames.reader.run_id(), frames.reader.newest()
        if run != self.run or not self.position or (newest or 0) < self.position:
            last = frames.newest()  # the past is asked for, not pushed
            return _Found(run, [frames.frame(last, last - 1)] if last else [], anew=True)
        before, found = self.position, []
        closes = frames.whole(before)
        if len(closes) > _AT_ONCE:
            return _Found(run, [frames.frame(closes[-1], before, len(closes) - 1)])
        for ts_close in closes:
            found.append(frames.frame(ts_close, before))
            before = ts_close
        return _Found(run, found)

    def _publish(self, found: _Found) -> None:
        if found.anew:
            self.run, self.position = found.run, 0
            self._kept.clear()
        for frame in found.frames:
            self._number += 1
            self.position = frame["ts_close"]
            self.changed = time.monotonic()
            self._kept.append(_Published(self._number, self._id(self.position), frame))
            if len(self._kept) > _BEHIND:
                self._kept[-1 - _BEHIND].events.clear()
        if found.frames:
            self._wake()

    def _id(self, ts_close: int) -> str:
        return f"{self.run[:8] or 'store'}.{ts_close}"

    # ------------------------------------------------------------------ those who listen

    async def listen(
        self, selection: Callable[[], Selection], last_id: str | None
    ) -> AsyncIterator[Event]:
        """Yield events until closed: `hello`, what came behind `last_id`, then what comes.

        `reset` says that what came between cannot be told any more: ask for it anew. `selection`
        is asked for each frame. A `status` comes each second.
        """
        run, kept = self.run, list(self._kept)
        yield Event("hello", msgspec.json.encode({"run": run, "id": kept[-1].id if kept else None}))
        number = kept[-1].number if kept else 0  # what comes meanwhile is behind it
        if last_id is not None:
            async for event in self._missed(selection(), last_id, run, kept):
                yield event
        elif kept:
            number -= 1
        heard: Event | None = None
        while not self.closing:
            news = self._news
            if self.run != run:
                before, run = run, self.run
                if before:
                    yield _reset("another run has begun")
            behind = [each for each in self._kept if each.number > number]
            if len(behind) > _BEHIND:
                last = behind[-1]
                skipped = sum(each.frame["skipped"] + 1 for each in behind) - 1
                number = last.number
                yield _told(last.frame | {"skipped": skipped}, selection(), last.id)
                continue
            for each in behind:
                number = each.number
                yield each.event(selection())
            if self.told is not None and self.told is not heard:
                heard = self.told
                yield heard
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await news.wait()

    async def _missed(
        self, selection: Selection, last_id: str, run: str, kept: list[_Published]
    ) -> AsyncIterator[Event]:
        """Yield what came behind `last_id`, up to the last of `kept`, or a reset."""
        mine, _, text = last_id.rpartition(".")
        if mine != (run[:8] or "store") or not text.isascii() or not text.isdecimal():
            yield _reset("it is of another run, or none of ours")
            return
        at = int(text[:20])
        until = kept[-1].frame["ts_close"] if kept else 0
        if at >= until:
            return
        if any(each.id == last_id for each in kept):
            for each in kept:
                if each.frame["ts_close"] > at:
                    yield each.made(selection)
            return
        loop = asyncio.get_running_loop()
        try:
            closes = await loop.run_in_executor(self._resuming, self._closes, at, until)
            if len(closes) > _BACK:
                yield _reset(f"more than {_BACK} closes came since")
                return
            for some in batched(closes, _AT_A_TIME):
                again = partial(self._again, selection, mine, at, some)
                for event in await loop.run_in_executor(self._resuming, again):
                    yield event
                at = some[-1]
        except EngineError:
            yield _reset("the store cannot be read now")

    def _closes(self, after: int, until: int) -> list[int]:
        found = self.frames.reader.closes_after(after, _BACK + 1)
        return [each for each in found if each <= until]

    def _again(
        self, selection: Selection, run: str, before: int, closes: tuple[int, ...]
    ) -> list[Event]:
        """Make the frames of these closes once more, of the store."""
        events = []
        for ts_close in closes:
            frame = self.frames.frame(ts_close, before)
            events.append(_told(frame, selection, f"{run}.{ts_close}"))
            before = ts_close
        return events


def _told(frame: dict[str, Any], selection: Selection, identity: str) -> Event:
    return Event("frame", msgspec.json.encode(selection.of(frame)), identity)


def _reset(why: str) -> Event:
    return Event("reset", msgspec.json.encode({"why": why}))
