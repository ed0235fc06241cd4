"""Items become headlines: cleaned, dated, mapped, once; and no author shows."""

import time
from collections import Counter

import msgspec
import pytest

from connectors.secrets import AuthorHash
from connectors.sources.headline_language import language
from connectors.sources.headline_text import (
    plain_text,
    tokens,
    without_people,
    without_publisher,
)
from connectors.sources.headlines import HeadlineDesk, HeadlineSettings, Item
from connectors.sources.symbol_book import SymbolBook
from operators.messages import SECOND, Headline, Raw

NOW = 1_723_161_254 * SECOND
HOUR = 3600 * SECOND
BOOK = SymbolBook(("BTCUSDT", "ETHUSDT", "AAPL", "7203.T"))


def desk(**settings):
    return HeadlineDesk(BOOK, AuthorHash(b"k" * 16), HeadlineSettings(**settings))


def item(title="Bitcoin hits record", **fields):
    return Item(**{"source": "wire", "title": title, "published_at": NOW - HOUR} | fields)


def take(*items, to=None, now=NOW):
    """Return the headlines of `items` and the counts."""
    counts = Counter()
    to = to or desk()
    return [to.take(each, now, counts) for each in items], dict(counts)


def test_item_becomes_a_headline_of_our_symbols():
    (made,), counts = take(
        item("<b>Bitcoin</b> &amp; Ether hit&nbsp;records - Reuters", authors=("Jane Doe",))
    )

    assert made == Headline(
        id=made.id,
        source="wire",
        lang="en",
        symbols=("BTCUSDT", "ETHUSDT"),
        text="Bitcoin & Ether hit records",
        published_at=NOW - HOUR,
        available_at=NOW,
        author_hash=AuthorHash(b"k" * 16)("Jane Doe"),
        names={"BTCUSDT": "Bitcoin", "ETHUSDT": "Ether"},
    )
    assert counts == {}


def test_a_name_that_only_the_summary_tells_or_nobody_is_not_asked_about():
    (told, hinted), _ = take(
        item("Coins jump", summary="Bitcoin leads"), item("Big move ahead", tickers=("CRYPTO:ETH",))
    )

    assert (told.symbols, told.names) == (("BTCUSDT",), {})  # the text is the title alone
    assert (hinted.symbols, hinted.names) == (("ETHUSDT",), {})


def test_story_of_two_sources_is_told_once_under_one_id():
    first = item("Bitcoin \u2013 \u201crecord\u201d high", source="a")
    second = item("BITCOIN - 'record' high | CoinDesk", source="b")
    (one, none), counts = take(first, second)
    (alone,), _ = take(second)

    assert none is None
    assert counts == {"duplicates": 1}
    assert one.id == alone.id


def test_story_is_told_again_after_two_days_and_after_it_was_forgotten():
    to = desk(max_age_s=1e9)
    (first, again), _ = take(item(), item(), to=to)
    (later,), _ = take(item(), to=to, now=NOW + 49 * HOUR)
    to.forget(later)
    (retried,), _ = take(item(), to=to, now=NOW + 49 * HOUR)

    assert (first is None, again, later is None, retried is None) == (False, None, False, False)


def test_headlines_of_the_log_are_known():
    (told,), _ = take(item())
    to = desk()
    entry = Raw(
        offset=1, path="rss", kind="headline", ts_init=NOW, payload=msgspec.json.encode(told)
    )
    to.remember(entry)
    to.remember(msgspec.structs.replace(entry, payload=b"{", offset=2))
    to.remember(msgspec.structs.replace(entry, kind="mood", offset=3))
    (made,), counts = take(item("BITCOIN hits record!"), to=to)

    assert made is None
    assert counts == {"duplicates": 1}
    assert to.stories == 1


def test_headline_of_no_symbol_is_the_markets_only_where_its_feed_is():
    (dropped, kept), counts = take(
        item("Fed cuts rates"), item("Fed cuts rates again", market_wide=True)
    )

    assert dropped is None
    assert kept.symbols == ()
    assert counts == {"unmatched": 1}


def test_codes_of_the_source_and_the_summary_name_symbols():
    (hinted, summarised, far), _ = take(
        item("Miners gain", tickers=("CRYPTO:BTC", "FOREX:USD")),
        item("Miners fall", summary="<p>As Bitcoin slid.</p>"),
        item("Miners rest", summary="x" * 400 + " Bitcoin"),
    )

    assert hinted.symbols == ("BTCUSDT",)
    assert summarised.symbols == ("BTCUSDT",)
    assert summarised.text == "Miners fall"
    assert far is None


@pytest.mark.parametrize(
    ("published", "expected", "count"),
    [
        (NOW - HOUR, NOW - HOUR, {}),
        (None, NOW, {"undated": 1}),
        (-5, NOW, {"undated": 1}),
        (NOW + 30 * SECOND, NOW, {}),
        (NOW + HOUR, NOW, {"from_future": 1}),
        (NOW - 25 * HOUR, None, {"too_old": 1}),
    ],
)
def test_times(published, expected, count):
    (made,), counts = take(item(published_at=published))

    assert counts == count
    assert (made and made.published_at) == expected
    assert made is None or made.available_at == NOW


@pytest.mark.parametrize(
    ("title", "declared", "expected"),
    [
        ("Bitcoin gains", None, "en"),
        ("Bitcoin gains", "en-GB", "en"),
        ("Bitcoin gains", "ja", "en"),
        ("ビットコインが上昇", None, "ja"),
        ("ビットコインが上昇", "en", "ja"),
        ("日経平均続伸", None, "ja"),
        ("日経平均続伸", "ja_JP", "ja"),
        ("比特币价格对业务", None, "zh"),
        ("比特幣上漲", "zh-TW", "zh"),
        ("비트코인 상승", None, "other"),
        ("Биткоин растёт", "ru", "ru"),
        ("Bitcoin gewinnt", "de", "de"),
        ("El precio de la luz y los bancos", None, "other"),
        ("5% 10%", None, "en"),
    ],
)
def test_language(title, declared, expected):
    assert language(title, declared) == expected


def test_other_languages_are_dropped_and_counted():
    made, counts = take(item("Bitcoin gewinnt", lang="de"), item("Биткоин Bitcoin растёт вверх"))

    assert made == [None, None]
    assert counts == {"foreign_language": 2}


@pytest.mark.parametrize("title", ["", "   ", "<p></p>", "!!!", "\u200b\u202e", "\U0001f680"])
def test_title_without_words_is_rejected(title):
    assert take(item(title, tickers=("BTC",)))[1] == {"rejected": 1}


def test_short_title_gets_the_begin_of_its_summary():
    (made,), _ = take(item("Update", summary="Bitcoin " + "rises further " * 40))

    assert made.text.startswith("Update Bitcoin rises further")
    assert len(made.text) <= 300
    assert not made.text.endswith("furthe")


def test_long_and_hostile_text_is_bounded():
    began = time.perf_counter()
    made, _ = take(
        item("Bitcoin " + "x" * 1_000_000),
        item("Bitcoin " + "<" * 100_000),
        item("Bitcoin " + "&lt;" * 100_000),
        item("Bitcoin" + " - " * 300_000, authors=("Jane Doe",)),
        item("Bitcoin " + "a.b-" * 300_000),
        item("Bitcoin " + "<!--" * 300_000),
        item("Bitcoin " + "(by " * 50_000, authors=("(by " * 1000,)),
        item("Bitcoin \ud800 broken", authors=("\ud800",)),
    )

    assert time.perf_counter() - began < 2.0  # nothing quadratic in a million characters
    assert all(each is None or len(each.text) <= 500 for each in made)
    assert msgspec.json.encode(made[-1])


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("AT&amp;amp;T &#8212; up", "AT&T \u2014 up"),
        ("a<br/>b<p class='x'>c</p>", "a b c"),
        ("任天堂<7974>が", "任天堂<7974>が"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;x", "x"),
        ("x<!-- hidden -->y", "x y"),
        ("a\x00\u200bb\tc\nd", "ab c d"),
    ],
)
def test_markup_is_stripped(markup, text):
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Bitcoin rises - Reuters", "Bitcoin rises"),
        ("Bitcoin rises \u2014 CNBC", "Bitcoin rises"),
        ("Bitcoin rises | My Desk", "Bitcoin rises"),
        ("Bitcoin rises - CNBC - Reuters", "Bitcoin rises"),
        ("Reuters: Bitcoin rises", "Bitcoin rises"),
        ("ビットコイン上昇（ロイター）", "ビットコイン上昇"),  # noqa: RUF001
        ("Bitcoin rises - analysts wonder", "Bitcoin rises - analysts wonder"),
        ("Reuters", "Reuters"),
    ],
)
def test_publisher_is_struck_out(title, text):
    assert without_publisher(title, (*BOOK.publishers, "My Desk")) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Bitcoin rises, by Jane Doe", "Bitcoin rises,"),
        ("By Jane Doe: Bitcoin rises", ": Bitcoin rises"),
        ("Bitcoin rises (By JANE DOE)", "Bitcoin rises"),
        ("Bitcoin rises | by John Roe", "Bitcoin rises"),
        ("Jane  Doe says bitcoin rises", "says bitcoin rises"),
        ("u/moon_boy and @jane-d say bitcoin rises", "and say bitcoin rises"),
        ("Mail jane@desk.example on bitcoin", "Mail on bitcoin"),
        ("Company bought by Warren Buffett", "Company bought by Warren Buffett"),
        ("moonboy77 here: bitcoin", "here: bitcoin"),
    ],
)
def test_people_are_struck_out(text, left):
    assert without_people(text, ["Jane Doe", "moonboy77"]) == left


def test_author_shows_nowhere():
    author = "Canaria Featherstone"
    (made,), counts = take(
        item(
            f"Update by {author}",
            summary=f"{author} writes that Bitcoin rises. @canaria_f",
            authors=(author, "canaria_f"),
        )
    )
    shown = msgspec.json.encode(made).decode() + str(counts) + repr(item(authors=(author,)))

    assert "anaria" not in shown
    assert "eatherstone" not in shown
    assert made.author_hash == AuthorHash(b"k" * 16)(author)


def test_a_desk_in_the_authors_place_does_not_garble_the_text():
    (made, other), _ = take(
        item("Apple tops Bitcoin", authors=("Apple",)),
        item("Federal Reserve minutes move Bitcoin", authors=("Federal Reserve",)),
    )

    assert made.text == "Apple tops Bitcoin"
    assert other.text == "Federal Reserve minutes move Bitcoin"


def test_tokens_of_a_told_text_are_those_of_its_title():
    (made,), _ = take(item("BREAKING: Bitcoin hits record - Reuters"))

    assert tokens(made.text) == tokens("Bitcoin hits record")
