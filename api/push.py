"""The push: one look at the store for all who listen, and what each of them gets."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self

import msgspec
import structlog

from api.frames import TOPICS, Frames
from operators.errors import EngineError

_AT_ONCE = 2  # frames of one look; of more closes than that the last one stands for all
_BEHIND = 5  # frames that a listener may lag before it, too, gets the last one for all
_STATUS_SECONDS = 1.0
_BACK = 600  # closes that are made again for who comes back


@dataclass(frozen=True)
class Event:
    """What listeners get: its name, its data as JSON, and its id where it can be resumed from."""

    name: str
    data: bytes
    id: str | None = None

    # Each is made once for all who get it.

    @cached_property
    def text(self) -> str:
        """Return it as a WebSocket tells it."""
        identity = "null" if self.id is None else f'"{self.id}"'
        return f'{{"event":"{self.name}","id":{identity},"data":{self.data.decode()}}}'

    @cached_property
    def block(self) -> bytes:
        """Return it as Server-Sent Events tell it."""
        head = f"event: {self.name}\n" + (f"id: {self.id}\n" if self.id else "")
        return head.encode() + b"data: " + self.data + b"\n\n"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a listener wants of each frame; no symbols are all."""

    topics: frozenset[str] = frozenset(TOPICS)
    symbols: frozenset[str] = frozenset()

    def of(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return a frame as it is wanted."""
        told: dict[str, Any] = {}
        for name, value in frame.items():
            if name not in TOPICS:
                told[name] = value
            elif name in self.topics:
                told[name] = self._chosen(name, value)
        return told

    def _chosen(self, name: str, value: Any) -> Any:
        if not self.symbols or name in {"portfolio", "orders"} or value is None:
            return value
        if name == "headlines":  # those about nobody are about the whole market
            return [
                each for each in value
                if not each["symbols"] or not self.symbols.isdisjoint(each["symbols"])
            ]  # fmt: skip
        return [each for each in value if each["symbol"] in self.symbols]


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
            data = msgspec.json.encode(selection.of(self.frame))
            event = self.events[selection] = Event("frame", data, self.id)
        return event


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

    def close(self) -> None:
        """Let all who listen go; for the event loop's thread."""
        self.closing = True
        self._wake()

    async def _watch(self) -> None:
        told = 0.0
        failed = False
        while True:
            try:
                found = await asyncio.to_thread(self._look)
                failed = False
            except EngineError as error:
                if not failed:
                    self._log.warning("push_cannot_read", why=str(error))
                failed = True
            else:
                self._publish(found)
            if time.monotonic() - told >= _STATUS_SECONDS:
                told = time.monotonic()
                status = await asyncio.to_thread(self.status)
                self.told = Event("status", msgspec.json.encode(status))
                self._wake()
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
        run = self.run
        told = {"run": run, "id": self._kept[-1].id if self._kept else None}
        yield Event("hello", msgspec.json.encode(told))
        number = 0
        if last_id is None:
            number = self._kept[-1].number - 1 if self._kept else 0
        else:
            for event in await self._missed(selection(), last_id):
                yield event
            number = self._kept[-1].number if self._kept else 0
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
                data = selection().of(last.frame | {"skipped": skipped})
                yield Event("frame", msgspec.json.encode(data), last.id)
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

    async def _missed(self, selection: Selection, last_id: str) -> list[Event]:
        """Return what came behind `last_id`, or a reset."""
        run, _, text = last_id.rpartition(".")
        kept = list(self._kept)
        if run != (self.run[:8] or "store") or not text.isascii() or not text.isdecimal():
            return [_reset("it is of another run, or none of ours")]
        at = int(text[:20])
        if not kept or at >= self.position:
            return []
        if any(each.id == last_id for each in kept):
            return [each.event(selection) for each in kept if each.frame["ts_close"] > at]
        return await asyncio.to_thread(self._again, selection, at)

    def _again(self, selection: Selection, at: int) -> list[Event]:
        """Make the frames behind `at` once more, of the store."""
        until = self.position
        closes = [each for each in self.frames.reader.closes_after(at, _BACK + 1) if each <= until]
        if len(closes) > _BACK:
            return [_reset(f"more than {_BACK} closes came since")]
        events = []
        for before, ts_close in zip([at, *closes], closes, strict=False):
            frame = self.frames.frame(ts_close, before)
            data = msgspec.json.encode(selection.of(frame))
            events.append(Event("frame", data, self._id(ts_close)))
        return events


def _reset(why: str) -> Event:
    return Event("reset", msgspec.json.encode({"why": why}))
