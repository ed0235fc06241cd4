import json

import msgspec
import pytest

from connectors.sinks.store import open_store
from flows.digest import digest
from flows.runs import begin_run, end_run, recovery_folder
from flows.settings import Settings
from flows.summary import summarise
from operators.errors import StoreError
from operators.messages import SECOND, Action, BarQuality, Gap, HoleState, Reason, Tally
from operators.metrics import Timer
from tests.stores import (
    TS,
    decision,
    gap,
    hole,
    outcome,
    rejection,
    repaired,
    signal,
    store_messages,
    stored_bar,
    switch,
)

SETTINGS = Settings()
INPUTS = [{"name": "a.gz", "bytes": 10}]
MODELS = ["forecast@1", "policy@2"]


def summary_of(path):
    store = open_store(path, readonly=True)
    made = summarise(store)
    store.close()
    return made


def test_every_tick_is_accounted_for(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            stored_bar(trades=2, quotes=3),
            stored_bar(ts_close=TS + SECOND, trades=0, quotes=0, quality=BarQuality.QUIET),
            Tally(key="BTCUSDT", name="open_trades", count=4),
            Tally(key="BTCUSDT", name="open_quotes", count=1),
            Tally(key="clocks", name="ignored:depthUpdate", count=9),
            rejection(1, Reason.DUPLICATE),
            rejection(2, Reason.DUPLICATE),
            rejection(3, Reason.OUTLIER),
            rejection(4, Reason.LATE),
            Gap(symbol="BTCUSDT", venue="b", first_id=1, last_id=2, ts_from=TS, ts_to=TS),
        )
    )

    assert made["accepted"] == 10
    assert made["rejected"] == {"duplicate": 2, "outlier": 1}
    assert made["late"] == 1
    assert made["ticks_in"] == made["accepted"] + sum(made["rejected"].values()) + made["late"]
    assert made["ignored"] == {"depthUpdate": 9}
    assert made["bars"] == {"observed": 1, "quiet": 1}
    assert made["gaps"] == 1


def test_backfilled_trades_count_where_they_happened(tmp_path):
    empty = {"trades": 0, "quotes": 1, "quality": BarQuality.GAP}
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            stored_bar(trades=2, quotes=3),
            stored_bar(ts_close=TS + SECOND, **empty),
            stored_bar(ts_close=TS + 2 * SECOND, **empty),
            repaired(
                *(
                    stored_bar(
                        ts_close=TS + n * SECOND,
                        trades=5,
                        quotes=1,
                        quality=BarQuality.BACKFILLED,
                    )
                    for n in (1, 2)
                ),
            ),
            # Fetched in two pages: the second bar is known a third time.
            repaired(
                stored_bar(
                    ts_close=TS + 2 * SECOND, trades=6, quotes=1, quality=BarQuality.BACKFILLED
                ),
                known_at=TS + 20 * SECOND,
            ),
            hole(state=HoleState.FILLED, trades=12),
            gap(10, 21, filled=12),
            rejection(1, Reason.COVERED),
            switch(before="binance", after="binance", cause="start"),
            switch(),
            Tally(key="clocks", name="received", count=19),
        )
    )
    assert made["unaccounted"] == 0
    assert made["accepted"] == 13 + 5
    assert made["bars"] == {"backfilled": 2, "observed": 1}
    loss = made["data_loss"]
    assert (loss["repaired_bars"], loss["merged_trades"], loss["fetched_trades"]) == (2, 11, 12)
    assert (loss["covered"], loss["switches"]) == (1, 1)
    assert (loss["used"], loss["missing"], loss["share"], loss["within"]) == (13, 0, 0.0, True)
    json.dumps(made)


def test_lost_message_is_unaccounted_also_among_repaired_bars(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            stored_bar(trades=1, quotes=0),
            repaired(stored_bar(trades=3, quotes=0)),
            Tally(key="clocks", name="received", count=4),
        )
    )
    assert made["unaccounted"] == 1


def test_simulated_run_is_named_and_fresh_run_is_not(tmp_path):
    path = tmp_path / "run.sqlite"
    store = open_store(path)
    begin_run(store, SETTINGS, INPUTS, MODELS)
    assert not summarise(store)["simulated"]
    store_messages(path, simulated=True)
    assert summarise(store)["simulated"]
    store_messages(path, simulated=False)
    assert not summarise(store)["simulated"]
    store.close()


def test_delivered_bar_is_one_tick_however_many_trades_it_sums_up(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite",
        stored_bar(trades=0, quotes=0),
        stored_bar(ts_close=TS + SECOND, trades=0, quotes=0, quality=BarQuality.QUIET),
    )
    assert summary_of(path)["ticks_in"] == 1

    store_messages(
        path,
        stored_bar(ts_close=TS + 2 * SECOND, trades=7, quotes=1),  # a kline of seven trades
        Tally(key="BTCUSDT", name="delivered_bars", count=2),
        Tally(key="BTCUSDT", name="delivered_trades", count=7),
        Tally(key="BTCUSDT", name="open_bars", count=1),
    )
    assert summary_of(path)["ticks_in"] == 4


def test_sound_input_that_no_bar_could_hold_is_rejected_by_name(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            Tally(key="BTCUSDT", name="unpriced_quotes", count=2),
            Tally(key="ETHUSDT", name="unpriced_quotes", count=3),
            Tally(key="ETHUSDT", name="given_up_trades", count=1),
        )
    )
    assert made["rejected"] == {"given_up_trades": 1, "unpriced_quotes": 5}
    assert made["ticks_in"] == 6


def test_unknown_symbols_count_beyond_those_kept_as_rows(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            rejection(1, Reason.UNKNOWN_SYMBOL),
            Tally(key="clocks", name="unknown_symbol", count=5000),
        )
    )

    assert made["rejected"] == {"unknown_symbol": 5000}
    assert made["ticks_in"] == 5000


def test_decisions_are_counted_and_holds_named_by_their_first_gate(tmp_path):
    held = [
        signal(f"S{n}", action=Action.HOLD, approved=False, reasons=reasons)
        for n, reasons in enumerate((("score",), ("score", "stale"), ("stale",), ()))
    ]
    made = summary_of(store_messages(tmp_path / "run.sqlite", decision(signal(), *held)))

    assert made["signals"] == {"BUY": 1, "SELL": 0, "HOLD": 4}
    assert made["approved"] == 1
    assert made["held_by"] == {"score": 2, "none": 1, "stale": 1}
    assert next(iter(made["held_by"])) == "score"


def test_effective_weights_are_means_over_signals_that_any_leg_spoke_for(tmp_path):
    silent = {"legs": {name: {"weight": 0.0} for name in ("forecast", "policy", "sentiment")}}
    alone = {"legs": {**silent["legs"], "forecast": {"weight": 1.0}}}
    signals = (signal("A"), signal("B", detail=alone), signal("C", detail=silent))
    made = summary_of(store_messages(tmp_path / "run.sqlite", decision(*signals)))

    assert made["effective_weights"] == {"forecast": 0.8, "policy": 0.2, "sentiment": 0.0}


def test_hit_rate_counts_only_outcomes_that_can_hit(tmp_path):
    outcomes = [
        outcome(signal(f"S{n}"), hit=hit) for n, hit in enumerate((True, True, False, None))
    ]
    made = summary_of(store_messages(tmp_path / "run.sqlite", *outcomes))["hit_rate"]

    assert (made["value"], made["n"]) == (0.6667, 3)
    assert made["interval"] == [0.2077, 0.9385]  # Wilson, as statsmodels gives it


def test_profit_is_measured_from_the_capital_before_the_first_cost(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            decision(ts_close=TS, equity=999.0, costs=1.0, buy_and_hold=999.5, trades=1),
            decision(ts_close=TS + 1, equity=1010.0, costs=2.0, buy_and_hold=990.0, trades=3,
                     drawdown=0.01),
        )
    )["pnl"]  # fmt: skip

    assert made["return"] == pytest.approx(0.01)
    assert made["buy_and_hold"] == pytest.approx(-0.01)
    assert made["costs"] == pytest.approx(0.002)
    assert made["trades"] == 3
    assert made["max_drawdown"] == 0.01


def test_value_at_risk_is_the_highest_of_the_run_with_the_last_kupiec_test(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            decision(ts_close=TS, var_95=0.01, var_99=0.02, risk={"kupiec": {"95%": 1}}),
            decision(ts_close=TS + 1, var_95=0.0, var_99=0.0, risk={"kupiec": {"95%": 2}}),
        )
    )["var"]

    assert made == {"max_var_95": 0.01, "max_var_99": 0.02, "kupiec": {"95%": 2}}


def test_empty_store_has_a_summary_of_nothing(tmp_path):
    made = summary_of(store_messages(tmp_path / "run.sqlite"))

    assert made["ticks_in"] == 0
    assert made["hit_rate"] == {"value": None, "n": 0, "interval": [0.0, 1.0]}
    assert not made["finished"]
    json.dumps(made)


def test_times_of_two_processes_of_one_run_add_up(tmp_path):
    store = open_store(tmp_path / "run.sqlite")
    begin_run(store, SETTINGS, INPUTS, MODELS)
    fast, slow = Timer(), Timer()
    for _ in range(98):
        fast.add(1_000_000)
    for _ in range(2):
        slow.add(100_000_000)

    end_run(store, finished=False, seconds=1.5, timers={"risk": fast})
    assert not summarise(store)["finished"]
    end_run(store, finished=True, seconds=2.0, timers={"risk": slow, "bars": fast})

    made = summarise(store)
    store.close()
    assert made["finished"]
    assert made["seconds"] == 3.5
    assert list(made["stages"]) == ["bars", "risk"]  # in the order of the flow
    assert 0.9 < made["stages"]["risk"]["p50_ms"] < 1.15
    assert 90 < made["stages"]["risk"]["p99_ms"] < 115


def test_interrupted_run_is_resumed_and_a_finished_one_starts_over(tmp_path):
    path = tmp_path / "run.sqlite"
    store = open_store(path)
    assert begin_run(store, SETTINGS, INPUTS, MODELS) == "fresh"
    recovery_folder(path).mkdir()
    (recovery_folder(path) / "part-0.sqlite3").touch()
    store_messages(path, decision(signal()))

    assert begin_run(store, SETTINGS, INPUTS, MODELS) == "resume"
    assert summarise(store)["signals"] == {"BUY": 1, "SELL": 0, "HOLD": 0}

    end_run(store, finished=True, seconds=1.0, timers={})
    assert begin_run(store, SETTINGS, INPUTS, MODELS) == "fresh"
    assert summarise(store)["signals"] == {"BUY": 0, "SELL": 0, "HOLD": 0}
    assert not recovery_folder(path).exists()
    store.close()


def test_interrupted_run_without_recovery_state_starts_over(tmp_path):
    path = tmp_path / "run.sqlite"
    store = open_store(path)
    begin_run(store, SETTINGS, INPUTS, MODELS)
    store_messages(path, decision(signal()))
    recovery_folder(path).mkdir()  # killed before anything was in it

    assert begin_run(store, SETTINGS, INPUTS, MODELS) == "fresh"
    assert summarise(store)["signals"] == {"BUY": 0, "SELL": 0, "HOLD": 0}
    store.close()


@pytest.mark.parametrize(
    ("settings", "inputs", "models", "named"),
    [
        (SETTINGS, [{"name": "b.gz", "bytes": 10}], MODELS, "other inputs"),
        (SETTINGS, INPUTS, ["forecast@1", "policy@3"], "other models"),
        (
            msgspec.structs.replace(SETTINGS, group=msgspec.structs.replace(
                SETTINGS.group, symbols=("BTCUSDT",))),
            [{"name": "b.gz", "bytes": 10}], MODELS, "other inputs and configuration",
        ),
    ],
)  # fmt: skip
def test_store_of_another_run_is_refused_unless_overwritten(
    tmp_path, settings, inputs, models, named
):
    store = open_store(tmp_path / "run.sqlite")
    begin_run(store, SETTINGS, INPUTS, MODELS)

    with pytest.raises(StoreError, match=named) as refusal:
        begin_run(store, settings, inputs, models)
    assert "--overwrite" in str(refusal.value)
    assert begin_run(store, settings, inputs, models, overwrite=True) == "fresh"
    store.close()


def test_repeated_decisions_after_a_resume_change_no_digest(tmp_path):
    first = decision(signal(), ts_close=TS)
    second = decision(signal(ts_close=TS + 1), ts_close=TS + 1)
    whole = open_store(store_messages(tmp_path / "whole.sqlite", first, second))
    path = store_messages(tmp_path / "torn.sqlite", first, second)
    torn = open_store(store_messages(path, second))

    assert digest(whole) == digest(torn)
    whole.close()
    torn.close()


def test_coverage_of_the_forecasts_intervals_is_shown_with_its_interval(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            Tally(key="forecast", name="intervals_below", count=1),
            Tally(key="forecast", name="intervals_below", count=30),
            Tally(key="forecast", name="intervals_within", count=160),
            Tally(key="forecast", name="intervals_above", count=10),
        )
    )["intervals"]

    assert made["coverage"] == 0.8
    assert made["promised"] == 0.8
    assert made["n"] == 200
    assert made["interval"] == [0.7391, 0.8495]
    assert (made["below"], made["above"]) == (30, 10)


def test_coverage_adds_up_over_shards_and_age_is_the_oldest(tmp_path):
    made = summary_of(
        store_messages(
            tmp_path / "run.sqlite",
            Tally(key="forecast/0", name="intervals_within", count=3),
            Tally(key="forecast/1", name="intervals_within", count=4),
            Tally(key="forecast/0", name="model_age_days", count=99),
            Tally(key="forecast/1", name="model_age_days", count=100),
            Tally(key="forecast/1", name="stale_model", count=1),
            Tally(key="policy", name="model_age_days", count=7),
        )
    )

    assert made["intervals"]["n"] == 7
    assert made["models"] == {
        "forecast": {"age_days": 100, "stale": True},
        "policy": {"age_days": 7, "stale": False},
    }


def test_nothing_is_said_of_intervals_before_the_first_is_due(tmp_path):
    made = summary_of(store_messages(tmp_path / "run.sqlite", stored_bar()))

    assert made["intervals"]["coverage"] is None
    assert made["models"] == {}
