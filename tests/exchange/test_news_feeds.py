import asyncio
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from itertools import pairwise

import feedparser
import pytest

from exchange.corpus import NewsSettings, read_stories
from exchange.news_faults import NewsFault, faults_of
from tests.exchange.serving import Hand, get, ns, served, venue_at

PATHS = ["/rss", "/feed", "/arc/outboundfeeds/rss/", "/feed/atom", "/rss/ja", "/rdf/ja"]
START = "2024-08-08T18:00:00+00:00"


def titles_of(outlet):
    return {story.tell[outlet] for story in read_stories() if outlet in story.tell}


def stem(title):
    """Return a title without what marks its round."""
    return title.split(" (sample round")[0].split("【見本")[0]


@pytest.mark.parametrize(
    ("path", "outlet", "version"),
    [
        ("/rss", "wire", "rss20"),
        ("/feed", "ledger", "rss20"),
        ("/arc/outboundfeeds/rss/", "desk", "rss20"),
        ("/feed/atom", "gazette", "atom10"),
        ("/rss/ja", "tsushin", "rss20"),
        ("/rdf/ja", "keizai", "rss10"),
    ],
)
def test_each_feed_is_well_formed_and_reads_back_as_the_items(path, outlet, version):
    async def scenario():
        async with served(venue_at(START, hand=Hand())) as (url, client):
            return await get(client, url + path)

    status, headers, body = asyncio.run(scenario())
    found = feedparser.parse(body, response_headers={"content-type": headers["Content-Type"]})

    assert (status, found.version, found.bozo) == (200, version, False)
    assert len(found.entries) > 3
    # Atom titles of type html stay HTML, and one wire title was written with an entity.
    known = {unescape(title).strip() for title in titles_of(outlet)}
    assert {unescape(stem(entry.title)).strip() for entry in found.entries} <= known
    name = "updated_parsed" if version == "rss10" else "published_parsed"
    times = [datetime(*entry[name][:6], tzinfo=UTC) for entry in found.entries]
    assert times == sorted(times, reverse=True)
    assert times[0] <= datetime.fromisoformat(START)
    assert all("canary-author-" in str(entry) for entry in found.entries)
    assert "nvented sample item" in body.decode()


def test_items_appear_as_venue_time_passes_and_only_then():
    async def scenario():
        hand = Hand()
        venue = venue_at(START, hand=hand, settings=[NewsSettings(spacing_seconds=3.0)])
        async with served(venue) as (url, client):
            seen = []
            for _ in range(20):
                _, _, body = await get(client, f"{url}/rss?limit=100")
                seen.append([entry.link for entry in feedparser.parse(body).entries])
                hand.forward(15.0)
        return seen

    seen = asyncio.run(scenario())
    counts = [len(links) for links in seen]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] + 10
    for before, after in pairwise(seen):
        assert after[len(after) - len(before) :] == before


@pytest.mark.parametrize("path", PATHS)
def test_a_reader_that_knows_the_feed_gets_304_until_an_item_appears(path):
    async def scenario():
        hand = Hand()
        async with served(venue_at(START, hand=hand)) as (url, client):
            _, first, _ = await get(client, url + path)
            tag, date = first["ETag"], first["Last-Modified"]
            by_tag = await get(client, url + path, headers={"If-None-Match": tag})
            weak = await get(client, url + path, headers={"If-None-Match": f'"x", W/{tag}'})
            by_date = await get(client, url + path, headers={"If-Modified-Since": date})
            # The tag decides where both are sent.
            both = await get(
                client, url + path, headers={"If-None-Match": '"old"', "If-Modified-Since": date}
            )
            hand.forward(600.0)
            later = await get(
                client, url + path, headers={"If-None-Match": tag, "If-Modified-Since": date}
            )
        assert [answer[0] for answer in (by_tag, weak, by_date)] == [304, 304, 304]
        assert by_tag[2] == b""
        assert by_tag[1]["ETag"] == tag
        assert both[0] == 200
        assert later[0] == 200
        assert later[1]["ETag"] != tag

    asyncio.run(scenario())


@pytest.mark.parametrize("encoding", ["utf-8", "euc-jp", "shift_jis"])
def test_an_older_encoding_is_declared_and_used(encoding):
    async def scenario():
        async with served(venue_at(START, hand=Hand())) as (url, client):
            return await get(client, f"{url}/rss/ja?encoding={encoding}&limit=100")

    _, headers, body = asyncio.run(scenario())
    assert headers["Content-Type"].endswith(f"charset={encoding}")
    assert f'encoding="{encoding}"'.encode() in body
    assert "ビットコイン" in body.decode(encoding)
    found = feedparser.parse(body, response_headers={"content-type": headers["Content-Type"]})
    assert any("トヨタ" in entry.title for entry in found.entries)


def test_the_same_story_is_told_in_several_typographies():
    told = next(story for story in read_stories() if story.key == "btc-volume").tell

    assert len(set(told.values())) > 2
    # Without case and all that is neither letter nor digit they are one.
    assert len({re.sub(r"\W", "", title).casefold() for title in told.values()}) == 1


def test_a_bad_limit_is_a_400():
    async def scenario():
        async with served(venue_at(START)) as (url, client):
            return [(await get(client, f"{url}/rss?{q}"))[0] for q in ("limit=0", "encoding=x")]

    assert asyncio.run(scenario()) == [400, 400]


def faulty(kind, path="/rss", **options):
    async def scenario():
        venue = venue_at(START, hand=Hand())
        async with served(venue) as (url, client):
            whole = await get(client, url + path)
            faults_of(venue).add(NewsFault(kind=kind, endpoint="rss", **options))
            return whole, await get(client, url + path)

    return asyncio.run(scenario())


def parses(body):
    """Whether `body` is XML; a page may be that as well, and no feed."""
    try:
        return ET.fromstring(body).tag != "html"
    except ET.ParseError:
        return False


@pytest.mark.parametrize("path", PATHS)
def test_a_sound_document_parses(path):
    (_, _, body), _ = faulty("slow", path, delay_seconds=0.0)

    assert parses(body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["malformed", "truncated", "empty", "html"])
def test_broken_documents_do_not_parse(kind, path):
    _, (status, _, body) = faulty(kind, path)

    assert status == 200
    assert not parses(body)


@pytest.mark.parametrize("path", PATHS)
def test_missing_dates_leave_items_without_any_time(path):
    _, (_, _, body) = faulty("missing_dates", path)
    found = feedparser.parse(body)

    assert found.entries
    assert not found.bozo
    assert not any(entry.get("published") or entry.get("updated") for entry in found.entries)


@pytest.mark.parametrize(
    ("kind", "charset"), [("wrong_encoding", "iso-8859-1"), ("bad_charset", "x-nonsense")]
)
def test_a_lying_charset_leaves_the_bytes_as_they_were(kind, charset):
    (_, _, whole), (_, headers, body) = faulty(kind, "/rss/ja")

    assert headers["Content-Type"].endswith(f"charset={charset}")
    assert body == whole


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("503", 503), ("429", 429)])
def test_errors_of_the_server_say_when_to_come_again(kind, status):
    _, (got, headers, _) = faulty(kind, retry_after_seconds=7)

    assert got == status
    assert headers.get("Retry-After") == (None if status == 500 else "7")


def test_a_huge_document_is_well_formed_and_huge():
    (_, _, whole), (_, headers, body) = faulty("huge")

    assert len(body) > 32 * 1024 * 1024
    assert "Content-Length" not in headers
    assert body.endswith(whole[whole.find(b"?>") + 2 :])


def test_the_clock_of_the_venue_tells_the_times():
    _, (_, headers, _) = faulty("slow", delay_seconds=0.01)

    told = parsedate_to_datetime(headers["Last-Modified"]).timestamp() * 10**9
    assert ns(START) - 600 * 10**9 < told <= ns(START)
