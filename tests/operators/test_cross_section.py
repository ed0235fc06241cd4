import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.schema import FEATURES, WINDOW
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.messages import SECOND, CrossSection, Features, Notice, Repaired
from tests.support import bar, headline, notice

UNIVERSE = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def features(symbol, ts_close=1, *, ready=True, volatility=0.5):
    return Features(
        symbol=symbol,
        ts_close=ts_close * SECOND,
        bar=bar(symbol, ts_close=ts_close),
        window=np.full((WINDOW, len(FEATURES)), len(symbol), np.float32) if ready else None,
        volatility=volatility,
        ready=ready,
    )


def run(messages, stage=None):
    stage = stage or CrossSections(CrossSectionSettings(shard=3), UNIVERSE)
    return [out for message in messages for out in stage.on(message)]


def test_cross_section_comes_with_its_last_symbol_in_the_universes_order():
    rows = [features("SOLUSDT"), features("BTCUSDT"), features("ETHUSDT")]
    [cross] = run(rows)

    assert run(rows[:2]) == []
    assert (cross.shard, cross.ts_close, cross.interval) == (3, SECOND, SECOND)
    assert cross.symbols == UNIVERSE
    assert [b.symbol for b in cross.bars] == list(UNIVERSE)
    assert cross.features.shape == (3, WINDOW, len(FEATURES))


def test_unready_symbols_are_masked_by_zeros():
    [cross] = run([features("BTCUSDT"), features("ETHUSDT", ready=False), features("SOLUSDT")])

    assert cross.ready.tolist() == [True, False, True]
    assert not cross.features[1].any()
    assert cross.features[0].all()


def test_notice_belongs_to_the_first_cross_section_that_closes_after_it():
    news = [notice(headline(), after=SECOND, offset=n) for n in (9, 4)]
    first, second, third = run(
        [
            features("BTCUSDT", 1),
            features("BTCUSDT", 2),
            *news,
            *(features(symbol, n) for n in (1, 2) for symbol in UNIVERSE[1:]),
            *(features(symbol, 3) for symbol in UNIVERSE),
        ]
    )

    assert first.notices == ()
    assert [n.offset for n in second.notices] == [4, 9]
    assert third.notices == ()


def repaired(symbol, known_at):
    return Repaired(symbol=symbol, known_at=known_at * SECOND, bars=(bar(symbol),))


def test_repairs_belong_to_the_cross_section_that_may_know_them():
    ahead, late, early = (repaired(*r) for r in (("BTCUSDT", 2), ("SOLUSDT", 1), ("ETHUSDT", 1)))
    first, second, third = run(
        [
            features("BTCUSDT", 1),
            ahead,
            features("BTCUSDT", 2),
            late,
            features("SOLUSDT", 1),
            early,
            features("ETHUSDT", 1),
            *(features(symbol, 2) for symbol in UNIVERSE[1:]),
            *(features(symbol, 3) for symbol in UNIVERSE),
        ]
    )

    assert first.repaired == (early, late)  # by symbol
    assert second.repaired == (ahead,)
    assert third.repaired == ()


def test_other_messages_pass_and_the_end_says_nothing():
    stage = CrossSections(CrossSectionSettings(), UNIVERSE)
    assert run(["something"], stage) == ["something"]
    assert list(stage.on_end()) == []


@given(st.lists(st.sampled_from(UNIVERSE), max_size=40), st.integers(0, 40))
def test_any_interleaving_gives_each_close_once_and_in_order(picks, cut):
    times = dict.fromkeys(UNIVERSE, 0)
    messages = []
    for symbol in picks:
        times[symbol] += 1
        messages.append(features(symbol, times[symbol]))
        if symbol == UNIVERSE[0]:
            messages.append(notice(headline(), after=times[symbol] * SECOND, offset=len(messages)))
            messages.insert(-2, repaired(symbol, times[symbol]))
    out = run(messages)

    assert [c.ts_close // SECOND for c in out] == list(range(1, min(times.values()) + 1))
    assert all(isinstance(c, CrossSection) for c in out)
    assert all(n.after == c.ts_close - SECOND for c in out for n in c.notices)

    first = CrossSections(CrossSectionSettings(shard=3), UNIVERSE)
    second = CrossSections(CrossSectionSettings(shard=3), UNIVERSE)
    begun = run(messages[:cut], first)
    second.state = pickle.loads(pickle.dumps(first.state))
    resumed = begun + run(messages[cut:], second)
    assert [(c.ts_close, c.notices, c.repaired) for c in resumed] == [
        (c.ts_close, c.notices, c.repaired) for c in out
    ]
    assert all(len(c.repaired) == 1 and c.repaired[0].known_at == c.ts_close for c in out)


def test_state_holds_only_what_is_pending():
    stage = CrossSections(CrossSectionSettings(), UNIVERSE)
    run([features(symbol, n) for n in range(1, 100) for symbol in UNIVERSE], stage)

    assert len(pickle.dumps(stage.state)) < 500
    assert not any(isinstance(n, Notice) for n in stage.state.notices)
