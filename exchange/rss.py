"""RSS and Atom feeds of the invented items, in the shapes that publishers' systems make.

| path | shape |
|---|---|
| `/rss` | RSS 2.0, plain: entities for what XML reserves, guid as permalink, named authors |
| `/feed` | RSS 2.0 as WordPress makes it: CDATA, dc:creator, content:encoded, sy:updatePeriod |
| `/arc/outboundfeeds/rss/` | RSS 2.0 as Arc XP makes it: CDATA titles, media:content, guid apart |
| `/feed/atom`, `/atom` | Atom 1.0: type="html" titles, ISO 8601 times with an offset |
| `/rss/ja` | RSS 2.0 in Japanese; `?encoding=euc-jp` or `shift_jis` for an older publisher |
| `/rdf/ja` | RSS 1.0 (RDF) in Japanese, as many desks there publish still |

Each knows `?limit=` (20, at most 100). All have ETag and Last-Modified and answer 304; both
change only when an item appears. Faults are those of endpoint "rss" in `exchange.news_faults`;
"missing_dates" leaves every item without a time.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from html import escape

from aiohttp import web

from exchange import news_faults
from exchange.app import Venue
from exchange.corpus import DISCLAIMER, Item, newsroom
from exchange.delivery import deliver

__all__ = ["routes"]

type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JST = timezone(timedelta(hours=9))
_SITE = "https://{}.example.com"
_NAMESPACES = (
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:content="http://purl.org/rss/1.0/modules/content/"'
    ' xmlns:media="http://search.yahoo.com/mrss/"'
    ' xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"'
    ' xmlns:atom="http://www.w3.org/2005/Atom"'
)
_ENCODINGS = ("utf-8", "euc-jp", "shift_jis")


def _link(item: Item) -> str:
    # A tracking parameter, so that the ampersand has to be escaped and unescaped.
    return (
        f"{_SITE.format(item.outlet)}/{item.story.key}-{item.number}?utm_source=rss&utm_medium=feed"
    )


def _body(item: Item) -> str:
    return f"{item.story.body} ({DISCLAIMER})".strip()


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _mail_time(item: Item, zone: timezone = UTC) -> str:
    return format_datetime(datetime.fromtimestamp(item.seconds, zone))


def _iso_time(item: Item, zone: timezone = UTC) -> str:
    return datetime.fromtimestamp(item.seconds, zone).isoformat()


def _plain_item(item: Item, dated: bool) -> str:
    time = f"<pubDate>{_mail_time(item)}</pubDate>" if dated else ""
    return (
        f"<item><title>{escape(item.title)}</title><link>{escape(_link(item))}</link>"
        f'<guid isPermaLink="true">{escape(_link(item))}</guid>{time}'
        f"<author>{item.author}@example.com ({item.author})</author>"
        f"<description>{escape(_body(item))}</description></item>"
    )


def _wordpress_item(item: Item, dated: bool) -> str:
    time = f"<pubDate>{_mail_time(item)}</pubDate>" if dated else ""
    return (
        f"<item><title>{escape(item.title)}</title><link>{escape(_link(item))}</link>"
        f"<dc:creator>{_cdata(item.author)}</dc:creator>{time}"
        f"<category>{_cdata('Sample & invented')}</category>"
        f'<guid isPermaLink="false">{_SITE.format(item.outlet)}/?p={item.number + 100_000}</guid>'
        f"<description>{_cdata(_body(item) + ' [&#8230;]')}</description>"
        f"<content:encoded>{_cdata(f'<p>{_body(item)}</p>')}</content:encoded></item>"
    )


def _arc_item(item: Item, dated: bool) -> str:
    time = f"<pubDate>{_mail_time(item)}</pubDate>" if dated else ""
    return (
        f"<item><title>{_cdata(item.title)}</title><link>{escape(_link(item))}</link>"
        f'<guid isPermaLink="false">sample-{item.number}</guid>'
        f"<dc:creator>{_cdata(item.author)}</dc:creator>"
        f"<description>{_cdata(_body(item))}</description>{time}"
        f'<media:content url="{_SITE.format(item.outlet)}/{item.story.key}.jpg" type="image/jpeg"/>'
        "</item>"
    )


def _rss2(items: list[Item], dated: bool, make: Callable[[Item, bool], str], lang: str) -> str:
    outlet = items[0].outlet if items else "wire"
    built = f"<lastBuildDate>{_mail_time(items[0])}</lastBuildDate>" if items and dated else ""
    return (
        f'<rss version="2.0"{_NAMESPACES}><channel><title>Sample {outlet}</title>'
        f"<link>{_SITE.format(outlet)}</link><description>{DISCLAIMER}</description>"
        f"<language>{lang}</language>{built}<ttl>1</ttl>"
        "<sy:updatePeriod>hourly</sy:updatePeriod><sy:updateFrequency>1</sy:updateFrequency>"
        f"{''.join(make(item, dated) for item in items)}</channel></rss>"
    )


def _plain(items: list[Item], dated: bool) -> str:
    return _rss2(items, dated, _plain_item, "en")


def _wordpress(items: list[Item], dated: bool) -> str:
    return _rss2(items, dated, _wordpress_item, "en-US")


def _arc(items: list[Item], dated: bool) -> str:
    return _rss2(items, dated, _arc_item, "en")


def _japanese(items: list[Item], dated: bool) -> str:
    return _rss2(items, dated, _plain_item, "ja")


def _atom(items: list[Item], dated: bool) -> str:
    def entry(item: Item) -> str:
        time = _iso_time(item, timezone(timedelta(hours=-5)))
        times = f"<published>{time}</published><updated>{time}</updated>" if dated else ""
        return (
            f'<entry><title type="html">{escape(escape(item.title))}</title>'
            f'<link rel="alternate" type="text/html" href="{escape(_link(item))}"/>'
            f"<id>tag:example.com,2024:{item.outlet}/{item.number}</id>{times}"
            f"<author><name>{item.author}</name></author>"
            f'<summary type="html">{escape(escape(_body(item)))}</summary></entry>'
        )

    updated = f"<updated>{_iso_time(items[0])}</updated>" if items and dated else ""
    return (
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>Sample gazette</title>'
        f"<subtitle>{DISCLAIMER}</subtitle><id>tag:example.com,2024:gazette</id>{updated}"
        f'<link rel="self" href="{_SITE.format("gazette")}/feed/atom"/>'
        f"{''.join(map(entry, items))}</feed>"
    )


def _rdf(items: list[Item], dated: bool) -> str:
    def entry(item: Item) -> str:
        time = f"<dc:date>{_iso_time(item, _JST)}</dc:date>" if dated else ""
        return (
            f'<item rdf:about="{escape(_link(item))}"><title>{escape(item.title)}</title>'
            f"<link>{escape(_link(item))}</link><description>{escape(_body(item))}</description>"
            f"<dc:creator>{item.author}</dc:creator>{time}</item>"
        )

    listed = "".join(f'<rdf:li rdf:resource="{escape(_link(item))}"/>' for item in items)
    site = _SITE.format("keizai")
    return (
        '<rdf:RDF xmlns="http://purl.org/rss/1.0/" xml:lang="ja"'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        f' xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="{site}/rdf/ja">'
        f"<title>Sample keizai</title><link>{site}</link><description>{DISCLAIMER}</description>"
        f"<items><rdf:Seq>{listed}</rdf:Seq></items></channel>"
        f"{''.join(map(entry, items))}</rdf:RDF>"
    )


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the feeds, and the switch of all news faults."""

    def feed(outlet: str, content_type: str, make: Callable[[list[Item], bool], str]) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            limit, encoding = (
                request.query.get("limit", "20"),
                request.query.get("encoding", "utf-8"),
            )
            if not limit.isdecimal() or not 1 <= int(limit) <= 100 or encoding not in _ENCODINGS:
                known = ", ".join(_ENCODINGS)
                return web.Response(status=400, text=f"limit is 1 to 100; encoding is {known}")
            items = newsroom(venue).items(venue.clock.now(), outlet, int(limit))
            fault = news_faults.faults_of(venue).on("rss")
            dated = fault is None or fault.kind != "missing_dates"
            text = f'<?xml version="1.0" encoding="{encoding}"?>\n{make(items, dated)}'
            return await deliver(
                request,
                venue,
                "rss",
                # What an older encoding lacks is written as a reference, as XML allows.
                text.encode(encoding, "xmlcharrefreplace"),
                content_type,
                charset=encoding,
                modified=items[0].seconds if items else venue.clock.start // 1_000_000_000,
            )

        return answer

    return [
        *news_faults.routes(venue),
        web.get("/rss", feed("wire", "application/rss+xml", _plain)),
        web.get("/feed", feed("ledger", "application/rss+xml", _wordpress)),
        web.get("/arc/outboundfeeds/rss/", feed("desk", "application/xml", _arc)),
        web.get("/feed/atom", feed("gazette", "application/atom+xml", _atom)),
        web.get("/atom", feed("gazette", "application/atom+xml", _atom)),
        web.get("/rss/ja", feed("tsushin", "application/rss+xml", _japanese)),
        web.get("/rdf/ja", feed("keizai", "text/xml", _rdf)),
    ]
