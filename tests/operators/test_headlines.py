"""Headlines on their way: scored by language and by name, renamed, joined over shards."""

from msgspec.structs import replace

from operators.headlines import headline_of, joined, renamed, score_headlines
from operators.messages import Headline, Mood, ScoredHeadline
from tests.support import headline, notice

ROW = {"AAPL": 0, "BTCUSDT": 1, "ETHUSDT": 2}


def read(text, lang, about):
    """Answer in English alone, and say who is asked about."""
    if lang != "en":
        return None
    return ((0.2, 0.5, 0.3) if not about else (0.0, len(about) / 10, 0.0)), "m@1"


def named(text="Bitcoin up as Ether falls", **names):
    return replace(
        headline(text, tuple(names)), names={key: name for key, name in names.items() if name}
    )


def test_headlines_are_scored_one_by_one_and_others_pass():
    asked = []

    def noted(*about):
        asked.append(about)
        return read(*about)

    messages = [notice(headline("A")), "other", notice(Mood(source="", value=1, available_at=0))]
    scored, other, mood = score_headlines(messages, noted)
    assert asked == [("A", "en", "")]
    assert (scored.body.positive, scored.body.model, scored.body.each) == (0.5, "m@1", {})
    assert (other, mood) == (messages[1], messages[2])


def test_a_language_that_nobody_reads_is_kept_and_says_nothing():
    german = notice(replace(headline("Kurse fallen"), lang="de"))
    assert score_headlines([german], read) == [german]


def test_each_name_in_a_text_is_asked_about():
    [scored] = score_headlines([notice(named(BTC="Bitcoin", ETH="Ether", SOL=""))], read)
    assert scored.body.each == {"BTC": (0.0, 0.7, 0.0), "ETH": (0.0, 0.5, 0.0)}


def test_a_headline_keeps_what_is_known_of_a_symbol_under_our_name():
    [scored] = score_headlines([notice(named(BTC="Bitcoin", ETH="Ether"))], read)
    ours = renamed(scored.body, {"BTCUSDT": "BTC"})
    assert ours.headline.symbols == ("BTCUSDT",)
    assert ours.headline.names == {"BTCUSDT": "Bitcoin"}
    assert ours.each == {"BTCUSDT": (0.0, 0.7, 0.0)}


def test_copies_of_several_shards_become_one_in_the_order_of_the_universe():
    [scored] = score_headlines([notice(named(BTC="Bitcoin", ETH="Ether"))], read)
    first, second = (
        renamed(scored.body, {ours: name})
        for ours, name in (("ETHUSDT", "ETH"), ("BTCUSDT", "BTC"))
    )
    whole = joined([first, second], ROW)
    assert whole == joined([second, first], ROW)
    assert whole == renamed(scored.body, {"BTCUSDT": "BTC", "ETHUSDT": "ETH"})
    assert list(whole.each) == ["BTCUSDT", "ETHUSDT"]
    assert joined([first.headline, second.headline], ROW) == whole.headline


def test_only_news_holds_a_headline():
    news = headline("A")
    scored = ScoredHeadline(headline=news, negative=0, positive=1, neutral=0, model="m")
    assert headline_of(news) is headline_of(scored) is news
    assert headline_of(Mood(source="", value=1, available_at=0)) is None
    assert isinstance(news, Headline)
