"""Signals decided before, in and after an outage are explained from what was known then."""

import random
from contextlib import closing

import pytest

from connectors.sinks.sqlite import SqliteSink
from connectors.sinks.store import open_store
from flows.explain import explain
from flows.models import load_models
from flows.runs import begin_run
from flows.settings import load_profile
from flows.summary import summarise
from models.schema import HISTORY
from operators.messages import (
    SECOND,
    Clock,
    CrossSection,
    Gap,
    Hole,
    HoleState,
    Rejection,
    Tally,
)
from tests.chain import makers
from tests.stores import TS
from tests.support import quote, tick

SYMBOLS = ("BTCUSDT", "ETHUSDT")
COUNT = HISTORY + 75
CUT, BACK, FETCHED = HISTORY + 10, HISTORY + 16, HISTORY + 22  # seconds of the first symbol


RECORDS = (Gap, Hole, Rejection, Tally)


def at(second):
    return TS + round(second * SECOND)


def market():
    """Four trades a second and one quote of each symbol, in order, with consecutive ids."""
    generator = random.Random(7)
    prices = dict(zip(SYMBOLS, (60_000.0, 2_500.0), strict=True))
    for second in range(COUNT):
        for symbol in SYMBOLS:
            for part in range(4):
                prices[symbol] *= 1.0 + generator.gauss(0.0, 2e-5)
                ts, n = at(second + part / 4 + 0.1), 4 * second + part
                yield second, tick(
                    symbol, round(prices[symbol], 2), ts, size=generator.uniform(0.01, 1.0),
                    trade_id=1000 + n, offset=2 * n,
                )  # fmt: skip
            price, ts = prices[symbol], at(second + 0.95)
            yield second, quote(symbol, price - 0.05, price + 0.05, ts, update_id=second + 1)


def hole(state, **fields):
    return Hole(
        feed="binance", symbol=SYMBOLS[0], cause="cut", state=state, found_at=at(CUT + 1.5),
        **{"ts_from": at(CUT), "ts_to": None} | fields,
    )  # fmt: skip


def log(*, cut):
    """The market as the log has it: with `cut`, the first symbol is lost for six seconds."""
    lost = []
    messages = {second: [] for second in range(COUNT)}
    for second, message in market():
        if cut and message.symbol == SYMBOLS[0] and CUT <= second < BACK:
            lost.append(message)
        else:
            messages[second].append(message)
    for second in range(COUNT):
        yield from messages[second]
        if cut and second == CUT + 1:
            yield hole(HoleState.OPEN)
        if cut and second == BACK:
            yield hole(HoleState.ENDED, ts_to=at(BACK))
        if cut and second == FETCHED:
            for message in lost:
                if hasattr(message, "trade_id"):
                    fields = {name: getattr(message, name) for name in ("size", "trade_id")}
                    yield tick(
                        message.symbol, message.price, message.ts_event, backfilled=True,
                        ts_init=at(FETCHED), **fields,
                    )  # fmt: skip
            yield hole(
                HoleState.FILLED, ts_to=at(BACK), resolved_at=at(FETCHED), trades=4 * (BACK - CUT)
            )
        for symbol in SYMBOLS:
            yield Clock(ts_event=at(second + 1), symbol=symbol)


def run(messages, settings, models):
    """Yield what the store is given, stage after stage, as the flow wires them."""
    make = makers(settings, models)
    by_symbol = {
        symbol: [make[name]() for name in ("quality", "bars", "indicators")] for symbol in SYMBOLS
    }
    names = ("cross_section", "forecast", "policy", "sentiment", "fusion", "risk", "outcomes")
    shard = {name: make[name]() for name in names}

    def through(stages, message):
        if not stages:
            yield message
            return
        for made in stages[0].on(message):
            yield from through(stages[1:], made)

    for message in messages:
        for made in through(by_symbol[message.symbol], message):
            if isinstance(made, RECORDS):
                yield made
            for cross in shard["cross_section"].on(made):
                if not isinstance(cross, CrossSection):
                    continue
                yield from (bar for bar in cross.bars if bar is not None)
                yield from cross.repaired
                legs = [
                    leg for name in ("forecast", "policy", "sentiment")
                    for leg in shard[name].on(cross)
                ]  # fmt: skip
                for each in (cross, *legs):
                    yield from through([shard["fusion"], shard["risk"], shard["outcomes"]], each)
    for stages in by_symbol.values():
        yield from stages[1].on_end()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of the run that was cut, and of one that was not."""
    folder = tmp_path_factory.mktemp("repaired")
    settings = load_profile("demo", symbols=SYMBOLS)
    models = load_models(settings)
    made = {}
    for name, cut in (("cut", True), ("whole", False)):
        path = folder / f"{name}.sqlite"
        made[name] = open_store(path)
        begin_run(made[name], settings, [], models.identities)
        part = SqliteSink(path).build_part("store", "0", None)
        part.write_batch(list(run(log(cut=cut), settings, models)))
        part.close()
    yield made
    for store in made.values():
        store.close()


def of(store, symbol, second):
    (row,) = store.execute(
        "SELECT signal_id FROM signals WHERE symbol = ? AND ts_close = ?",
        (symbol, at(second)),
    ).fetchall()
    return row["signal_id"]


def test_run_was_cut_and_repaired(stores):
    made = summarise(stores["cut"])
    assert made["data_loss"]["repaired_bars"] >= BACK - CUT
    assert made["data_loss"]["holes"] == {"filled": 1}
    assert made["data_loss"]["missing"] == 0
    assert made["accepted"] == 2 * COUNT * 4 + 2 * COUNT - (BACK - CUT)  # but for lost quotes
    states = {
        row["quality"]
        for row in stores["cut"].execute(
            "SELECT quality FROM bars WHERE symbol = ? AND ts_close > ? AND ts_close <= ?",
            (SYMBOLS[0], at(CUT + 2), at(BACK)),
        )
    }
    assert states == {"gap"}


@pytest.mark.parametrize(
    "second",
    [HISTORY + 2, CUT + 1, CUT + 4, BACK + 1, FETCHED, FETCHED + 1, FETCHED + 2, COUNT - 1],
)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_signal_is_decided_again_from_what_was_known_then(stores, second, symbol):
    store = stores["cut"]
    made = explain(store, of(store, symbol, second))
    assert made.difference is None


def test_some_explanations_begin_before_the_outage_and_some_behind_the_repair(stores):
    store = stores["cut"]
    begins = [
        explain(store, of(store, SYMBOLS[0], second)).checkpoint
        for second in (FETCHED + 2, COUNT - 1)
    ]
    assert 0 < begins[0] < at(CUT)
    assert at(FETCHED + 1) < begins[1] < at(COUNT - 1)


def test_explanation_shows_bars_as_they_were_known(stores):
    store = stores["cut"]
    in_outage = explain(store, of(store, SYMBOLS[0], CUT + 4)).bars
    assert [bar.trades for bar in in_outage] == [4, 0, 0, 0, 0]
    after = explain(store, of(store, SYMBOLS[0], FETCHED + 1)).bars
    assert [bar.trades for bar in after] == [4] * 5


def test_outage_changed_what_was_decided_on(stores):
    """The cut is seen in the features, and once repaired the trades' are the undisturbed ones."""
    cut, whole = (
        {
            second: explain(stores[name], of(stores[name], SYMBOLS[0], second)).features
            for second in (CUT + 4, FETCHED + 1)
        }
        for name in ("cut", "whole")
    )
    assert cut[CUT + 4]["roc_5"] != whole[CUT + 4]["roc_5"]
    for name in ("roc_1", "roc_15", "rsi_14", "natr_14", "ema_distance_21", "volume_zscore_60"):
        assert cut[FETCHED + 1][name] == whole[FETCHED + 1][name]


def test_repair_that_the_store_has_lost_is_found_out(stores, tmp_path):
    path = tmp_path / "spoiled.sqlite"
    with closing(open_store(path)) as spoiled:
        stores["cut"].backup(spoiled)
        before = explain(spoiled, of(spoiled, SYMBOLS[0], FETCHED)).difference
        spoiled.execute("DELETE FROM repaired_bars")
        unknown_yet = explain(spoiled, of(spoiled, SYMBOLS[0], FETCHED)).difference
        after = explain(spoiled, of(spoiled, SYMBOLS[0], FETCHED + 1)).difference
    assert before is None
    assert unknown_yet is None
    assert after is not None
