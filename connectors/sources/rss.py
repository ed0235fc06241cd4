"""RSS and Atom feeds as headlines.

feedparser parses; it never fetches. A document that declares entities is refused whole: no
news desk does that, and entities of entities can grow without bound or name files.
"""

import asyncio
import codecs
import io
import re
from typing import Any, Self
from xml.sax import SAXException

import feedparser  # type: ignore[import-untyped]
import msgspec

from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.news_feed import NewsFeed, moment
from connectors.sources.polled_feed import UnusableError, at_base
from connectors.sources.polling import Poller, PollSettings

_MOST_ENTRIES = 500  # desks publish 10 to 100
_PARSE_SECONDS = 20.0
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{2,40})["']""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,400}\?>")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._:-]{2,40})", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class RssSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One RSS or Atom feed."""

    name: str
    url: str
    lang: str | None = None  # what the feed itself declares
    publisher: str = ""  # struck out of headlines; what the feed is titled, where empty
    # Whether its news is for every symbol where it names none of ours: a desk for the market
    # as a whole. Of a general desk such news is dropped.
    market_wide: bool = False
    every_s: float = 120.0  # with validators, an unchanged feed costs the desk next to nothing
    jitter: float = 0.2
    poll: PollSettings = PollSettings(max_body_bytes=4 << 20)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class RssFeed(NewsFeed):
    """One RSS or Atom feed, asked with its validators."""

    def __init__(self, settings: RssSettings, desk: HeadlineDesk, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        super().__init__(settings.name, settings, desk, **options)
        self.settings = settings

    def places(self) -> tuple[str, ...]:
        """Return the one address."""
        return (self.settings.url,)

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the entries of the feed; none where it is unchanged."""
        answer = await poller.get(
            place, headers={"accept": "application/rss+xml, application/atom+xml, application/xml"}
        )
        if answer.not_modified:
            return []
        try:
            text = document_text(answer.body, answer.headers.get("content-type", ""))
            async with asyncio.timeout(_PARSE_SECONDS):
                found = await asyncio.to_thread(_parsed, text)
        except TimeoutError:
            poller.forget(place)
            raise UnusableError("not parsed in time") from None
        except UnusableError:
            poller.forget(place)
            raise
        entries = found.entries[:_MOST_ENTRIES]
        if found.get("bozo") and isinstance(found.get("bozo_exception"), SAXException):
            # Read loosely as far as it goes. Its last entry may be torn before its date or
            # author: left for the next round, when it is whole.
            self.health.counts["malformed"] += 1
            poller.forget(place)
            entries = entries[:-1]
        channel = found.get("feed", {})
        lang = self.settings.lang or channel.get("language")
        publisher = self.settings.publisher or str(channel.get("title", ""))
        return self.made(entries, lambda entry: self._item(entry, lang, publisher))

    def _item(self, entry: Any, lang: str | None, publisher: str) -> Item:
        title, summary = str(entry.get("title", "")), str(entry.get("summary", ""))
        named = [author.get("name", "") for author in entry.get("authors", ())]
        authors = [name for name in (*named, entry.get("author", "")) if name]
        source = entry.get("source") or {}
        return Item(
            source=self.name,
            title=title,
            summary=summary,
            key=str(entry.get("id") or entry.get("link") or title),
            published_at=moment(entry.get("published") or entry.get("updated")),
            lang=lang,
            authors=tuple(part for name in dict.fromkeys(authors) for part in people(str(name))),
            publisher=str(source.get("title") or publisher),
            market_wide=self.settings.market_wide,
        )


def people(author: str) -> list[str]:
    """Return the names in an author element, as `mail (Name)` or `A, B and C`.

    >>> people("jane@desk.example (Jane Doe)"), people("By Jane Doe and John Roe")
    (['Jane Doe', 'jane@desk.example'], ['Jane Doe', 'John Roe'])
    """
    in_brackets = re.match(r"^\s*(\S+@\S+)\s*\((.+)\)\s*$", author)
    mail = [in_brackets[1]] if in_brackets else []
    names = in_brackets[2] if in_brackets else re.sub(r"(?i)^\s*by\s+", "", author)
    split = re.split(r"\s*(?:[,;、&]|\band\b)\s*", names)
    return [name for name in map(str.strip, split) if name] + mail


def document_text(body: bytes, content_type: str) -> str:
    """Return a feed's text, decoded as its mark, its declaration or its header says.

    Raises:
        UnusableError: it declares entities, or an unknown encoding.
    """
    told = _CHARSET.search(content_type)
    declared = _DECLARED.match(body[:500])
    names = [name for mark, name in _MARKS if body.startswith(mark)]
    names += [declared[1].decode()] if declared else []
    names += [told[1]] if told else []
    try:
        text = body.decode((names or ["utf-8"])[0], "replace")
    except (LookupError, UnicodeError, ValueError):
        raise UnusableError("unknown encoding") from None
    text = text.lstrip("\ufeff").replace("\x00", "")
    if "<!ENTITY" in text.upper():
        raise UnusableError("declares entities")
    return _DECLARATION.sub("", text, count=1)


def _parsed(text: str) -> Any:
    # As bytes in a stream: a string would be taken for an address or a file to open.
    found = feedparser.parse(
        io.BytesIO(text.encode("utf-8", "replace")),
        response_headers={"content-type": "application/xml; charset=utf-8"},
        resolve_relative_uris=False,
    )
    if not found.entries and (found.get("bozo") or not found.get("version")):
        raise UnusableError("no RSS or Atom")
    return found
