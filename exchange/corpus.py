"""Headlines and posts that outlets publish as venue time passes.

The items are invented (`stories.toml` says so, and so does each feed): no publisher's text may
ship. Stories are told one after the other, each by its outlets at different moments and in
different typography. When all are told they are told again, marked as another round. Authors
are canaries: a name found in a log, a store or a metric shows a leak.
"""

import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from exchange.app import Venue
from exchange.parts import part, settings_of

__all__ = ["DISCLAIMER", "Item", "NewsSettings", "Newsroom", "Story", "newsroom", "read_stories"]

SECOND = 1_000_000_000
STORIES = Path(__file__).with_name("stories.toml")
DISCLAIMER = "Invented sample item; not news."
_CANARY = "canary-author-"


class NewsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the items appear."""

    # Venue seconds from one item to the next, over all outlets: a reader that polls once a
    # minute sees some new ones each time.
    spacing_seconds: float = 3.0
    # Items that were out before the venue opened, so that no feed begins empty.
    backlog: int = 120


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invented story and how each outlet words its title."""

    key: str
    body: str
    tell: dict[str, str]
    lang: Literal["en", "ja"] = "en"
    sentiment: float = 0.0  # [-1, 1]
    cashtags: tuple[str, ...] = ()  # as StockTwits names them
    tickers: tuple[str, ...] = ()  # as Alpha Vantage names them
    categories: tuple[str, ...] = ()  # as CoinDesk names them


class Item(NamedTuple):
    """One story as one outlet published it."""

    number: int  # ascending with time over all outlets; below 0 in the backlog
    outlet: str
    title: str
    story: Story
    ts: int  # venue time of publication, ns

    @property
    def author(self) -> str:
        """The canary that signs it."""
        return f"{_CANARY}{self.number % 10_000:04d}"

    @property
    def seconds(self) -> int:
        """UNIX seconds of publication."""
        return self.ts // SECOND


class _Stories(msgspec.Struct, forbid_unknown_fields=True):
    story: list[Story]


@cache
def read_stories(path: Path = STORIES) -> tuple[Story, ...]:
    """Read stories.

    Raises:
        msgspec.ValidationError: a story lacks something or has too much.
    """
    found = msgspec.convert(tomllib.loads(path.read_text()), _Stories).story
    return tuple(found)


class Newsroom:
    """Tells which items are out at a moment of venue time."""

    def __init__(
        self, stories: Sequence[Story], settings: NewsSettings, start: Callable[[], int]
    ) -> None:
        """Publish item 0 at `start` (which tells a venue time, ns), the backlog before it."""
        self._told = _order_of(stories)
        self._settings = settings
        self._start = start
        self._spacing = max(1, int(settings.spacing_seconds * SECOND))

    def items(self, now: int, outlets: str | Sequence[str], limit: int) -> list[Item]:
        """Return up to `limit` items that `outlets` have out by `now`, the newest first."""
        wanted = {outlets} if isinstance(outlets, str) else set(outlets)
        newest = (now - self._start()) // self._spacing
        found: list[Item] = []
        for number in range(newest, -self._settings.backlog - 1, -1):
            outlet, story = self._told[number % len(self._told)]
            if outlet in wanted:
                found.append(self._item(number, outlet, story))
                if len(found) == limit:
                    break
        return found

    def _item(self, number: int, outlet: str, story: Story) -> Item:
        # The backlog is the round before the first.
        lap = number // len(self._told)
        title = story.tell[outlet]
        if lap:
            title += f" 【見本{lap}】" if story.lang == "ja" else f" (sample round {lap})"
        return Item(number, outlet, title, story, self._start() + number * self._spacing)


def newsroom(venue: Venue) -> Newsroom:
    """Return the newsroom of `venue`."""
    return part(venue, _make)


def _make(venue: Venue) -> Newsroom:
    return Newsroom(read_stories(), settings_of(venue, NewsSettings), lambda: venue.clock.start)


def _order_of(stories: Sequence[Story]) -> list[tuple[str, Story]]:
    """Interleave the tellings: repeats follow a while after the first of their story."""
    behind = 4  # stories that begin before the next outlet of one follows
    placed = [
        (place + behind * turn, turn, outlet, story)
        for place, story in enumerate(stories)
        for turn, outlet in enumerate(story.tell)
    ]
    placed.sort(key=lambda entry: entry[:2])
    return [(outlet, story) for *_, outlet, story in placed]
