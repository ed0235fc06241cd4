"""RSS and Atom become headlines; documents of every kind of brokenness cost themselves."""

import asyncio

import msgspec
import pytest

from connectors.secrets import AuthorHash
from connectors.sources.headlines import HeadlineDesk
from connectors.sources.polled_feed import UnusableError
from connectors.sources.rss import RssFeed, RssSettings, document_text
from connectors.sources.symbol_book import SymbolBook
from operators.messages import SECOND, Headline, Raw
from tests.pages import NOW, QUICK, Pages, inbox, running, until

BOOK = SymbolBook(("BTCUSDT", "ETHUSDT", "AAPL", "7203.T"))
DATE = "Thu, 08 Aug 2024 23:00:00 GMT"


def desk():
    return HeadlineDesk(BOOK, AuthorHash(b"k" * 16))


def settings(pages, **fields):
    given = {"name": "wire", "url": "https://wire.example/rss", "every_s": 0.01, "poll": QUICK}
    return RssSettings(**given | fields).at(pages.base)


def rss(*items, head="<title>Wire</title><language>en</language>"):
    body = "".join(f"<item>{item}</item>" for item in items)
    return f'<rss version="2.0"><channel>{head}{body}</channel></rss>'.encode()


def entry(title, guid=None, date=DATE, more=""):
    guid = f"<guid>{guid}</guid>" if guid else ""
    when = f"<pubDate>{date}</pubDate>" if date else ""
    return f"<title>{title}</title>{guid}{when}{more}"


def told(to):
    return [msgspec.json.decode(each.payload, type=Headline) for each in to.take(10_000)]


def collect(answer, rounds=3, **fields):
    """Run a feed of one page for some rounds; return (headlines, feed, pages)."""
    to = inbox()

    async def run():
        async with Pages({"/rss": answer}) as pages:
            feed = RssFeed(settings(pages, **fields), desk())
            async with running(feed, to):
                await until(lambda: pages.count("/rss") > rounds)
            return feed, pages

    feed, pages = asyncio.run(run())
    return told(to), feed, pages


def test_entries_become_headlines_once_and_in_order():
    later = entry("Apple gains", "2", "Thu, 08 Aug 2024 23:30:00 GMT")
    earlier = entry("Bitcoin &amp;amp; Ether &lt;b&gt;rise&lt;/b&gt; - Wire", "1")
    headlines, feed, _ = collect(rss(later, earlier))

    assert [headline.text for headline in headlines] == ["Bitcoin & Ether rise", "Apple gains"]
    assert [headline.symbols for headline in headlines] == [("BTCUSDT", "ETHUSDT"), ("AAPL",)]
    assert {headline.source for headline in headlines} == {"wire"}
    assert headlines[0].published_at == NOW - 3254 * SECOND
    assert headlines[0].available_at == NOW
    assert feed.health.state == "up"
    assert feed.health.counts["messages"] == 2  # each item once, however often polled
    assert feed.health.counts["headlines"] == 2
    assert feed.symbols == ()


def test_unchanged_feed_is_asked_with_validators():
    def page(request):
        if request.headers.get("If-None-Match") == '"a"':
            return {"status": 304}
        return {"body": rss(entry("Bitcoin rises", "1")), "headers": {"ETag": '"a"'}}

    headlines, feed, pages = collect(page)

    assert len(headlines) == 1
    assert "If-None-Match" not in pages.asked[0][2]
    assert all(asked[2]["If-None-Match"] == '"a"' for asked in pages.asked[1:])
    assert feed.health.state == "up"


def test_atom_with_authors_and_zones():
    atom = """<?xml version="1.0" encoding="utf-8"?>
    <feed xmlns="http://www.w3.org/2005/Atom" xml:lang="ja"><title>T</title>
    <entry><id>1</id><title type="html">トヨタが&lt;i&gt;上昇&lt;/i&gt;</title>
    <author><name>山田 太郎</name></author><updated>2024-08-09T08:00:00+09:00</updated></entry>
    </feed>""".encode()
    (headline,), _, _ = collect(atom)

    assert (headline.text, headline.lang, headline.symbols) == ("トヨタが 上昇", "ja", ("7203.T",))
    assert headline.published_at == NOW - 3254 * SECOND
    assert headline.author_hash == AuthorHash(b"k" * 16)("山田 太郎")


@pytest.mark.parametrize(
    ("date", "published"),
    [
        ("Fri, 09 Aug 2024 08:00:00 JST", NOW - 3254 * SECOND),
        ("Thu, 08 Aug 2024 19:00:00 EDT", NOW - 3254 * SECOND),
        ("2024-08-08 23:00:00", NOW - 3254 * SECOND),
        ("next tuesday", NOW),
        ("", NOW),
        ("Thu, 08 Aug 9999999 23:00:00 GMT", NOW),
    ],
)
def test_dates_as_desks_write_them(date, published):
    (headline,), _, _ = collect(rss(entry("Bitcoin rises", "1", date)), rounds=1)

    assert headline.published_at == published


def test_old_items_are_not_news():
    old = entry("Bitcoin rose", "1", "Tue, 06 Aug 2024 23:00:00 GMT")
    headlines, feed, _ = collect(rss(old, entry("Bitcoin rises", "2")))

    assert [headline.text for headline in headlines] == ["Bitcoin rises"]
    assert feed.health.counts["too_old"] == 1


def test_japanese_encodings():
    text = rss(entry("ビットコインが上昇", "1"), head="<title>W</title>").decode()
    for encoding in ("shift_jis", "euc-jp"):
        body = f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding)
        assert collect(body, rounds=1)[0][0].text == "ビットコインが上昇"
    told_by_header = {
        "body": text.encode("shift_jis"),
        "headers": {"Content-Type": "application/rss+xml; charset=Shift_JIS"},
    }
    assert collect(told_by_header, rounds=1)[0][0].text == "ビットコインが上昇"
    assert collect(text.encode("utf-16"), rounds=1)[0][0].text == "ビットコインが上昇"


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;">]>' + rss(
    entry("Bitcoin &b;", "1")
)
FILE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + rss(
    entry("Bitcoin &f;", "1")
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml at all",
        b"<html><body>Service unavailable</body></html>",
        b'{"json": true}',
        b"\x00\xff\xfe\x00",
        b"<rss version='2.0'><channel>",
        LAUGHS,
        FILE,
        FILE.decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?>' + FILE.decode().split("?>")[1].encode("utf-7"),
        b'<?xml version="1.0" encoding="no-such-code"?>' + rss(entry("Bitcoin", "1")),
        b'<?xml version="1.0" encoding="base64"?>' + rss(entry("Bitcoin", "1")),
    ],
)
def test_unusable_document_is_counted_and_asked_for_again(body):
    pages = [{"body": body, "headers": {"ETag": '"bad"'}}] * 2
    headlines, feed, asked = collect([*pages, rss(entry("Bitcoin rises", "1"))])

    assert [headline.text for headline in headlines] == ["Bitcoin rises"]
    assert "If-None-Match" not in asked.asked[1][2]  # not taken for known
    assert feed.health.state == "up"
    assert feed.health.note == ""


def test_entities_are_refused_in_any_encoding():
    for body in (LAUGHS, FILE, FILE.decode().encode("utf-32")):
        with pytest.raises(UnusableError, match="entities"):
            document_text(body, "")


@pytest.mark.parametrize("end", ["Appl", "Apple gains", "<guid>2", "</item></chan"])
def test_document_torn_in_the_middle_gives_what_is_surely_whole(end):
    whole = rss(entry("Bitcoin rises", "1"), entry("Apple gains, but not much", "2"))
    torn = whole[: whole.index(end.encode(), whole.index(b"Apple")) + len(end)]
    headlines, feed, _ = collect([torn, torn, whole])

    assert [headline.text for headline in headlines] == [
        "Bitcoin rises",
        "Apple gains, but not much",
    ]
    assert {headline.published_at for headline in headlines} == {NOW - 3254 * SECOND}
    assert feed.health.counts["undated"] == 0
    assert feed.health.counts["malformed"] == 2


def test_one_bad_item_does_not_cost_the_others():
    bad = "<title></title><pubDate>never</pubDate>"
    headlines, feed, _ = collect(rss(bad, entry("Bitcoin rises", "1"), "<x/>"))

    assert [headline.text for headline in headlines] == ["Bitcoin rises"]
    assert feed.health.counts["rejected"] >= 1


def test_feed_that_is_away_is_cut_and_comes_back():
    to = inbox()

    async def run():
        async with Pages({"/rss": {"status": 404}}) as pages:
            feed = RssFeed(settings(pages), desk())
            async with running(feed, to):
                await until(lambda: feed.health.state == "cut")
                note = feed.health.note
                pages.answers["/rss"] = rss(entry("Bitcoin rises", "1"))
                await until(lambda: feed.health.state == "up")
            return note, feed.health

    note, health = asyncio.run(run())
    assert note == "no answer: status 404"
    assert health.note == ""
    assert health.counts["requests_failed"] >= 1
    assert len(told(to)) == 1


def test_restart_does_not_tell_again_what_the_log_holds():
    page = rss(entry("Bitcoin rises", "1"))
    (first,), _, _ = collect(page, rounds=1)
    to = inbox()

    async def run():
        async with Pages({"/rss": page}) as pages:
            feed = RssFeed(settings(pages), desk())
            payload = msgspec.json.encode(first)
            feed.remember(Raw(offset=0, path="wire", kind="headline", ts_init=NOW, payload=payload))
            async with running(feed, to):
                await until(lambda: pages.count("/rss") > 2)
            return feed

    feed = asyncio.run(run())
    assert told(to) == []
    assert feed.health.counts["duplicates"] == 1


def test_what_a_full_inbox_sheds_is_told_when_there_is_room():
    to = inbox(max_messages=1)

    def page(request):
        if request.headers.get("If-None-Match"):
            return {"status": 304}
        items = rss(entry("Bitcoin rises", "1"), entry("Apple gains", "2"))
        return {"body": items, "headers": {"ETag": '"a"'}}

    async def run():
        headlines = []
        async with Pages({"/rss": page}) as pages:
            feed = RssFeed(settings(pages), desk())
            async with running(feed, to):
                await until(lambda: feed.health.counts["shed"] > 0)
                headlines += told(to)
                await until(lambda: feed.health.counts["headlines"] == 2)
            return headlines + told(to), feed

    headlines, feed = asyncio.run(run())
    assert {headline.text for headline in headlines} == {"Bitcoin rises", "Apple gains"}
    assert feed.health.counts["shed"] >= 1


def test_two_feeds_of_one_desk_tell_a_story_once():
    to = inbox()

    async def run():
        answers = {
            "/a": rss(entry("Bitcoin hits $60,000 - Wire", "1")),
            "/b": rss(entry("BITCOIN hits $60,000", "x")),
        }
        async with Pages(answers) as pages:
            shared = desk()
            feeds = [
                RssFeed(settings(pages, name=name, url=f"https://w.example/{name}"), shared)
                for name in "ab"
            ]
            async with running(feeds[0], to), running(feeds[1], to):
                await until(lambda: pages.count("/a") > 1 and pages.count("/b") > 1)
            return feeds

    feeds = asyncio.run(run())
    assert len(told(to)) == 1
    assert sum(feed.health.counts["duplicates"] for feed in feeds) == 1


def test_large_document_does_not_hold_up_the_loop():
    items = [entry(f"Bitcoin story number {number}", str(number)) for number in range(2_000)]
    turns = []

    async def run():
        to = inbox()
        async with Pages({"/rss": rss(*items)}) as pages:
            feed = RssFeed(settings(pages, every_s=60.0), desk())
            async with running(feed, to):
                await until(lambda: turns.append(1) or feed.health.state == "up")
        return told(to)

    headlines = asyncio.run(run())
    assert len(headlines) == 500  # the most that is taken of a document
    assert len(turns) > 30  # of other tasks, meanwhile
