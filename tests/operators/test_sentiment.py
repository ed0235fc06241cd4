"""The sentiment leg: decay, de-duplication, mood, and what may be known when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.messages import SECOND, Checkpoint, Leg, Mood, Notice, ScoredHeadline
from operators.sentiment import Sentiment, SentimentSettings, text_key
from tests.support import cross_section, headline, notice

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SETTINGS = SentimentSettings()


def stage(**settings):
    return Sentiment(SentimentSettings(**settings), SYMBOLS, 0.2, "sentiment@test", 60)


def news(text="Bitcoin rises", symbols=("BTCUSDT",), negative=0.1, positive=0.8, offset=0):
    return notice(
        ScoredHeadline(
            headline=headline(text, symbols),
            negative=negative,
            positive=positive,
            neutral=1.0 - negative - positive,
            model="m",
        ),
        offset=offset,
    )


def leg_after(sentiment, ts_close, *notices):
    messages = sentiment.on(cross_section(SYMBOLS, ts_close, notices=tuple(notices)))
    return next(message for message in messages if isinstance(message, Leg))


def test_no_news_abstains_and_is_not_neutral():
    leg = leg_after(stage(), 1)
    assert leg.abstains.all()
    assert not leg.value.any()


def test_good_news_of_one_symbol_speaks_for_that_symbol_alone():
    leg = leg_after(stage(), 1, news())
    assert leg.value[0] == pytest.approx(0.7)
    assert leg.abstains.tolist() == [False, True]


def test_news_of_the_whole_market_speaks_for_all_at_less_weight():
    whole, named = leg_after(stage(), 1, news(symbols=())), leg_after(stage(), 1, news())
    assert not whole.abstains.any()
    assert whole.certainty[0] < named.certainty[0]


def test_certainty_halves_its_weight_in_a_half_life_and_news_fades_out():
    sentiment = stage(half_life_s=10.0)
    first = leg_after(sentiment, 1, news())
    second = leg_after(sentiment, 11)
    assert second.detail["news_weight"][0] == pytest.approx(first.detail["news_weight"][0] / 2)
    assert second.value[0] == pytest.approx(first.value[0])
    assert leg_after(sentiment, 200).abstains[0]


def test_same_text_from_two_sources_counts_once():
    sentiment = stage()
    leg_after(sentiment, 1, news("ETF approved!"))
    again = leg_after(sentiment, 2, news("ETF  APPROVED", offset=1))
    assert again.detail["news_weight"][0] < 0.81


def test_same_text_counts_again_after_a_day():
    sentiment = stage(half_life_s=1e9)
    leg_after(sentiment, 1, news())
    assert leg_after(sentiment, 86_500, news()).detail["news_weight"][0] > 1.5


def test_mood_alone_is_a_tilt_of_little_certainty():
    mood = notice(Mood(source="alternative.me", value=10.0, available_at=0))
    leg = leg_after(stage(), 1, mood)
    assert leg.value.tolist() == pytest.approx([-0.8, -0.8])
    assert (leg.certainty < 0.25).all()
    assert not leg.abstains.any()


def test_later_mood_replaces_the_earlier():
    moods = [
        notice(Mood(source="a", value=value, available_at=0), offset=i)
        for i, value in enumerate((10.0, 90.0))
    ]
    assert leg_after(stage(), 1, *moods).value[0] == pytest.approx(0.8)


def test_emitted_leg_is_not_changed_by_later_news():
    sentiment = stage()
    leg = leg_after(sentiment, 1, news())
    weight = leg.detail["news_weight"].copy()
    leg_after(sentiment, 2, news("Other", offset=1))
    np.testing.assert_array_equal(leg.detail["news_weight"], weight)


def test_checkpoint_comes_with_every_sixtieth_bar():
    messages = list(stage().on(cross_section(SYMBOLS, 120)))
    assert [type(message) for message in messages] == [Leg, Checkpoint]
    assert messages[1].ts_close == 120 * SECOND


def test_a_name_in_the_text_counts_for_its_symbol_and_the_whole_for_the_others():
    body = ScoredHeadline(
        headline=headline("Bitcoin up as Ether falls", SYMBOLS),
        negative=0.3, positive=0.3, neutral=0.4, model="m",
        each={"BTCUSDT": (0.0, 0.9, 0.1)},
    )  # fmt: skip
    leg = leg_after(stage(), 1, notice(body))
    assert leg.value.tolist() == pytest.approx([0.9, 0.0])
    assert leg.detail["news_weight"].tolist() == pytest.approx([0.9, 0.4], rel=1e-3)


def test_news_unlike_the_usual_is_a_surprise_that_wears_off():
    sentiment = stage(half_life_s=1e9, usual_half_life_s=10.0)
    first = leg_after(sentiment, 1, news())
    assert first.detail["news_surprise"].tolist() == pytest.approx([0.7, 0.0])
    same = leg_after(sentiment, 2)
    assert same.detail["news_surprise"][0] == pytest.approx(0.0, abs=1e-9)
    bad = leg_after(sentiment, 3, news("Bitcoin falls", negative=0.9, positive=0.0, offset=1))
    assert bad.detail["news_surprise"][0] < -0.5
    later = leg_after(sentiment, 13)
    after = leg_after(sentiment, 23)
    assert bad.detail["news_surprise"][0] < later.detail["news_surprise"][0]
    assert later.detail["news_surprise"][0] < after.detail["news_surprise"][0] < 0.0


def test_mood_has_a_trend_once_it_moves():
    sentiment = stage(usual_half_life_s=10.0)
    moods = [
        notice(Mood(source="a", value=value, available_at=0), offset=i)
        for i, value in enumerate((50.0, 90.0))
    ]
    assert leg_after(sentiment, 1, moods[0]).detail["mood_trend"].tolist() == [0.0, 0.0]
    up = leg_after(sentiment, 2, moods[1]).detail["mood_trend"][0]
    assert up == pytest.approx(0.8)
    assert 0.0 < leg_after(sentiment, 12).detail["mood_trend"][0] < up


@given(st.text())
def test_any_text_has_a_key(text):
    assert len(text_key(text)) == 24


@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 5), st.booleans()),
        max_size=20,
    )
)
def test_value_and_certainty_stay_in_range(items):
    sentiment = stage()
    for i, (negative, positive, gap, whole) in enumerate(items):
        leg = leg_after(
            sentiment,
            1 + 10 * i + gap,
            news(f"text {i}", () if whole else ("ETHUSDT",), negative, positive, i),
        )
        assert (np.abs(leg.value) <= 1).all()
        assert ((leg.certainty >= 0) & (leg.certainty <= 1)).all()


def test_mood_of_another_market_is_not_taken():
    ours, others = (Mood(source=s, value=90.0, available_at=1) for s in ("fear_greed", "other"))
    leg = stage(mood_source="fear_greed")
    notices = tuple(Notice(after=0, offset=n, body=body) for n, body in enumerate((ours, others)))

    leg.on(cross_section(notices=notices[1:]))
    assert leg.state.mood is None
    leg.on(cross_section(notices=notices))
    assert leg.state.mood == 0.8
