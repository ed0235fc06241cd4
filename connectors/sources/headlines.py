"""The desk that all news crosses: one item in, one `Headline` out, or the reason why not.

One desk for the process, so that a story which several feeds bring counts once.
"""

import re
from collections import Counter

import msgspec

from connectors.secrets import AuthorHash
from connectors.sources.copies import Copies
from connectors.sources.headline_language import language
from connectors.sources.headline_text import (
    plain_text,
    tokens,
    without_people,
    without_publisher,
)
from connectors.sources.symbol_book import SymbolBook
from operators.messages import SECOND, Headline, Raw

_ORGANISATION = re.compile(
    r"\b(?:bank|reserve|news|team|staff|desk|editors?|editorial|press|inc|ltd|llc|corp|agency|times"
    r"|department|ministry|commission|journal|media|research|exchange|wire|daily|magazine|post)\b"
    r"|編集部|新聞|通信社|取材班",
    re.IGNORECASE,
)


class HeadlineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What counts as news."""

    langs: tuple[str, ...] = ("en", "ja")
    max_age_s: float = 86_400.0  # what was published before is history, not news
    ahead_s: float = 60.0  # a publisher's clock may run ahead by that much
    remember_s: float = 172_800.0  # desks repeat each other for about two days
    remember_most: int = 50_000  # some 30 MB
    # The model was fitted on single headlines and posts and reads 64 tokens: a title alone,
    # so that the same story has the same text wherever its summary differs. A title of fewer
    # characters ("Update") says too little, and has the summary's begin added.
    title_characters: int = 8
    summary_characters: int = 280
    most_characters: int = 500


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of news as a feed found it; `source` is the feed's name."""

    source: str
    title: str
    summary: str = ""
    key: str = ""  # its identity at the source: guid, else address
    published_at: int | None = None  # UNIX ns
    lang: str | None = None  # as declared
    authors: tuple[str, ...] = ()
    publisher: str = ""
    tickers: tuple[str, ...] = ()  # what the source says it is about, in its own codes
    # Whether it is news for every symbol where it names none of ours.
    market_wide: bool = False

    def __repr__(self) -> str:
        """Show what is no secret: not who wrote it."""
        return f"Item(source={self.source!r}, published_at={self.published_at})"


class HeadlineDesk:
    """Makes headlines of items: cleaned, dated, mapped to symbols, each story once."""

    def __init__(
        self,
        book: SymbolBook,
        author_hash: AuthorHash,
        settings: HeadlineSettings | None = None,
    ) -> None:
        """Begin with nothing seen."""
        self.book = book
        self.settings = settings or HeadlineSettings()
        self._author_hash = author_hash
        self._copies = Copies(int(self.settings.remember_s * SECOND), self.settings.remember_most)

    @property
    def stories(self) -> int:
        """How many are remembered."""
        return len(self._copies)

    def remember(self, raw: Raw) -> None:
        """Know a headline of the log before a restart, so that it is not told again."""
        if raw.kind != "headline" or raw.reason is not None:
            return
        try:
            headline = msgspec.json.decode(raw.payload, type=Headline)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # normalise rejects and counts it
        self._copies.add(tokens(headline.text), raw.ts_init)

    def forget(self, headline: Headline) -> None:
        """Have not told this one: it could not be delivered."""
        self._copies.forget(headline.id)

    def take(self, item: Item, now: int, counts: Counter[str]) -> Headline | None:
        """Return the headline of `item`, available at `now`; None where there is none to tell.

        `counts` gets the reason: "rejected" (no words), "too_old", "foreign_language",
        "unmatched" (none of our symbols, and its feed is not about the market),
        "duplicates"; and "undated" or "from_future" where `now` stands for its own time.
        """
        settings = self.settings
        published_at = self._published(item, now, counts)
        if now - published_at > settings.max_age_s * SECOND:
            counts["too_old"] += 1
            return None
        publishers = (*self.book.publishers, item.publisher)
        title = without_publisher(plain_text(item.title), publishers)
        summary = plain_text(item.summary)
        # Symbols are sought before names of people go, who may be called like a company.
        symbols, names = self._symbols(item, title, summary)
        text = self._text(item, title, summary)
        words = tokens(text)
        if not words:
            counts["rejected"] += 1
            return None
        lang = language(text, item.lang)
        if lang not in settings.langs:
            counts["foreign_language"] += 1
            return None
        if not symbols and not item.market_wide:
            counts["unmatched"] += 1
            return None
        if self._copies.find(words, now) is not None:
            counts["duplicates"] += 1
            return None
        return Headline(
            id=self._copies.add(words, now),
            source=item.source,
            lang=lang,
            symbols=symbols,
            text=text,
            published_at=published_at,
            available_at=now,
            author_hash=self._author_hash(item.authors[0]) if item.authors else None,
            names={symbol: words for symbol, words in names.items() if words in text},
        )

    def _published(self, item: Item, now: int, counts: Counter[str]) -> int:
        if item.published_at is None or item.published_at <= 0:
            counts["undated"] += 1
            return now
        if item.published_at > now + self.settings.ahead_s * SECOND:
            counts["from_future"] += 1
        return min(item.published_at, now)

    def _symbols(
        self, item: Item, title: str, summary: str
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the symbols an item is about, and by which words it names them, if it does."""
        hinted = {symbol for code in item.tickers for symbol in self.book.symbols_of(code)}
        names = self.book.names_in(title)
        if not hinted and not names:
            names = self.book.names_in(summary[: self.settings.summary_characters])
        return tuple(sorted(hinted.union(names))), dict(sorted(names.items()))

    def _text(self, item: Item, title: str, summary: str) -> str:
        settings = self.settings
        # The name of a company or desk in the author's place is nobody's secret.
        people = [
            name
            for name in item.authors
            if not (self.book.is_name(name) or _ORGANISATION.search(name))
        ]
        text = without_people(title, people)
        if len(text) < settings.title_characters:
            begin = _cut(without_people(summary, people), settings.summary_characters)
            text = f"{text} {begin}".strip()
        return _cut(text, settings.most_characters)


def _cut(text: str, most: int) -> str:
    """Return the first `most` characters, without a torn word."""
    if len(text) <= most:
        return text
    head, space, _ = text[: most + 1].rpartition(" ")
    return head if space and len(head) > most // 2 else text[:most]
