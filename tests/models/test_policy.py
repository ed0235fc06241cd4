"""The shipped policies: the same function in torch and ONNX, measured only on unseen bars."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest

from models import datasets, runtime
from models.bar_files import read_bars
from models.ppo import evaluation
from models.ppo.actor import INPUT, OUTPUT, Actor
from models.ppo.market import SIGNS
from models.ppo.rules import PositionRules, observe, rules_for
from models.runtime import Artefact, ModelHashMismatch
from models.schema import FEATURES, WINDOW
from models.seen import SeenData, overlap, refuse_seen, span
from tests.support import EQKER, MINUTE, SECOND

MODELS = {"policy_1m": MINUTE, "policy_1s": SECOND}
SYMBOLS = ("BAC", "SPY")


@pytest.fixture(scope="module")
def by_symbol():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    frame = frame.filter(pl.col("symbol").is_in(SYMBOLS))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


@pytest.fixture(scope="module")
def real(by_symbol):
    """Observations of real bars with every position."""
    rows = np.concatenate([bars.features[bars.ready] for bars in by_symbol.values()])
    number = np.arange(len(rows))
    return observe(rows, number % 3 - 1, number % 90)


@pytest.fixture(scope="module", params=sorted(MODELS))
def artefact(request):
    return runtime.load(request.param, kind="policy", interval=MODELS[request.param])


@pytest.fixture(scope="module")
def report(by_symbol):
    return evaluation.evaluate(by_symbol, minutes(), rules_for(MINUTE), allow_seen=False)


def minutes(**changes):
    """Return the one-minute policy, its manifest entry changed."""
    found = runtime.load("policy_1m", kind="policy", interval=MINUTE)
    return replace(found, entry=found.entry | changes)


def test_onnx_equals_torch_within_the_manifests_tolerance(artefact, real):
    pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")
    from models.ppo.export import restored
    from models.ppo.network import torch_probabilities

    graph = restored(artefact.folder / artefact.entry["state"])
    (found,) = artefact.session().run([OUTPUT], {INPUT: real})

    expected = torch_probabilities(graph, real)
    assert artefact.entry["parity"] <= artefact.entry["tolerance"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=artefact.entry["tolerance"])


def test_probabilities_sum_to_one_and_differ_from_row_to_row(artefact, real):
    (found,) = artefact.session().run([OUTPUT], {INPUT: real})

    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)
    assert (found.std(0) > 1e-3).all()


def test_same_cross_section_gives_the_same_bits(artefact, real):
    features = np.repeat(real[:50, None, : len(FEATURES)], WINDOW, axis=1)
    nothing, ready = np.zeros(50, np.int64), np.ones(50, bool)

    first = Actor(artefact).act(features, nothing, nothing, ready)
    again = Actor(artefact).act(features, nothing, nothing, ready)

    assert first.tobytes() == again.tobytes()


def test_market_upside_down_is_acted_on_upside_down(artefact, real):
    turned = real * np.r_[SIGNS, -1.0, 1.0].astype(np.float32)

    (found,) = artefact.session().run([OUTPUT], {INPUT: real})
    (mirror,) = artefact.session().run([OUTPUT], {INPUT: turned})

    np.testing.assert_allclose(mirror, found[:, ::-1], atol=1e-5)


def test_minutes_are_read_against_the_market_and_seconds_as_they_are(real):
    features = np.repeat(real[:50, None, : len(FEATURES)], WINDOW, axis=1)
    nothing, ready = np.zeros(50, np.int64), np.arange(50) % 5 > 0
    risen = np.where(ready[:, None, None], features + np.float32(0.25), features)
    relative_one, plain_one = (
        Actor(runtime.load(name, kind="policy", interval=MODELS[name])) for name in sorted(MODELS)
    )

    one = relative_one.act(features, nothing, nothing, ready)
    # What all symbols have in common says nothing; nor does one that is not ready.
    np.testing.assert_allclose(relative_one.act(risen, nothing, nothing, ready), one, atol=1e-5)
    masked = np.where(ready[:, None, None], features, np.float32(np.nan))
    assert (relative_one.act(masked, nothing, nothing, ready) == one).all()
    other = plain_one.act(risen, nothing, nothing, ready)
    assert np.abs(other - plain_one.act(features, nothing, nothing, ready)).max() > 1e-3


def test_rules_in_the_manifest_are_those_a_training_begins_with(artefact):
    rules = msgspec.convert(artefact.entry["rules"], PositionRules)

    assert rules == rules_for(artefact.entry["interval_ns"])


def test_symbol_that_is_not_ready_is_flat_and_has_no_opinion(artefact):
    actor = Actor(artefact)
    features = np.full((1, WINDOW, len(FEATURES)), np.nan, np.float32)
    nothing, unready = np.zeros(1, np.int64), np.zeros(1, bool)

    probabilities = actor.act(features, nothing, nothing, unready)
    value, certainty = actor.view(probabilities, unready)

    assert probabilities.tolist() == [[0.0, 1.0, 0.0]]
    assert (value[0], certainty[0]) == (0.0, 0.0)


def test_value_is_the_rank_of_the_preference_with_its_sign(artefact):
    actor = Actor(artefact)
    preference = np.array([-1e9, 0.0, artefact.entry["ranks"][50]])

    value, certainty = actor.opinion(preference, np.ones(3, bool))

    assert value == pytest.approx([-1.0, 0.0, 0.5], abs=1e-9)
    # Bars without a trade say nothing of either side: an output of 0 is as rare as they are.
    silent = np.mean(np.array(artefact.entry["ranks"][1:]) <= 0.0)
    assert certainty == pytest.approx([1.0, silent, 0.5], abs=1e-9)


def test_policy_for_another_number_of_inputs_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", minversion="1.16")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    narrow = helper.make_model(
        helper.make_graph(
            [helper.make_node("Softmax", [INPUT], [OUTPUT])],
            "narrow",
            [helper.make_tensor_value_info(INPUT, float32, ["symbols", 3])],
            [helper.make_tensor_value_info(OUTPUT, float32, ["symbols", 3])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(narrow, tmp_path / "narrow.onnx")

    with pytest.raises(runtime.ModelError, match=rf"expected {len(FEATURES) + 2} inputs"):
        Actor(Artefact("narrow", minutes().entry | {"file": "narrow.onnx"}, tmp_path))


def test_altered_policy_is_refused(tmp_path, artefact):
    for file in (artefact.entry["file"], *artefact.entry["extra_files"]):
        (tmp_path / file).write_bytes((artefact.folder / file).read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps({artefact.name: artefact.entry}))
    altered = bytearray((tmp_path / artefact.entry["file"]).read_bytes())
    altered[-9] ^= 1
    (tmp_path / artefact.entry["file"]).write_bytes(bytes(altered))

    with pytest.raises(ModelHashMismatch):
        runtime.load(artefact.name, kind="policy", folder=tmp_path)


def test_serving_a_policy_imports_no_training_package():
    code = (
        "import sys, models.ppo.actor, models.ppo.rules;"
        "print([n for n in ('torch','gymnasium','stable_baselines3') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_evaluation_imports_no_training_package():
    code = (
        "import sys, models.ppo.evaluation;"
        "print([n for n in ('torch','gymnasium','stable_baselines3') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_report_has_every_figure_with_its_interval_beside_doing_nothing(by_symbol, report):
    for name in ("return", "sharpe", "ic"):
        estimate, low, high = report[name]
        assert low <= estimate <= high
    assert report["blocks"] == {"kind": "hour", "count": 37}
    assert report["n"] == sum(int(bars.ready.sum()) for bars in by_symbol.values())
    assert 0.0 <= report["max_drawdown"] < 1.0
    assert report["baselines"]["flat"]["return"] == [0.0, 0.0, 0.0]
    json.dumps(report)


def test_buy_and_hold_is_the_mean_of_the_price_ratios_less_costs(by_symbol, report):
    ratios = [bars.close[-1] / bars.close[bars.ready][0] for bars in by_symbol.values()]

    costs = 2 * 1.5e-4
    expected = np.mean(ratios) - 1.0 - costs
    assert report["baselines"]["buy_and_hold"]["return"][0] == pytest.approx(expected, abs=2e-5)


def test_higher_costs_leave_the_actions_and_lower_the_return(by_symbol, report):
    dear = PositionRules(fee_bps=10.0)
    other = evaluation.evaluate(by_symbol, minutes(), dear, allow_seen=False)

    assert other["trades"] == report["trades"] > 0
    assert other["gross_return"] == pytest.approx(report["gross_return"])
    assert other["return"][0] < report["return"][0]
    assert other["cost_bps"] == pytest.approx(11.0)


def test_evaluation_repeats_and_its_seed_moves_the_interval_only(by_symbol, report):
    again = evaluation.evaluate(by_symbol, minutes(), rules_for(MINUTE), allow_seen=False)
    other = evaluation.evaluate(by_symbol, minutes(), rules_for(MINUTE), allow_seen=False, seed=1)

    assert again == report
    assert other["return"][0] == report["return"][0]
    assert other["return"] != report["return"]


def test_bars_that_the_policy_has_seen_are_refused(by_symbol):
    stamps = by_symbol["SPY"].ts_close
    knows = [span("here", ["SPY"], int(stamps[0]), int(stamps[400]), "validation")]

    with pytest.raises(SeenData, match=r"SPY .* served for validation"):
        evaluation.evaluate(by_symbol, minutes(seen=knows), rules_for(MINUTE), allow_seen=False)
    evaluation.evaluate(by_symbol, minutes(seen=knows), rules_for(MINUTE), allow_seen=True)


def test_warm_up_bars_are_not_acted_on_and_may_have_been_seen(by_symbol):
    stamps = by_symbol["SPY"].ts_close
    knows = [span("here", ["SPY"], int(stamps[0]), int(stamps[185]), "train")]

    evaluation.evaluate(by_symbol, minutes(seen=knows), rules_for(MINUTE), allow_seen=False)


def test_manifest_names_what_each_policy_has_seen(artefact):
    uses = {each["use"] for each in artefact.entry["seen"]}
    first = artefact.entry["seen"][0]
    symbol, moment = first["symbols"][0], first["from_ns"]

    assert uses == {"train", "validation"}
    assert overlap(artefact.entry, [symbol], moment, moment)
    with pytest.raises(SeenData, match="allow-seen"):
        refuse_seen(artefact.name, artefact.entry, [symbol], moment, moment)


def test_span_without_symbols_means_all_of_them():
    entry = {"seen": [span("all", [], 10, 20, "train")]}

    assert overlap(entry, ["ANY"], 20, 30)
    assert not overlap(entry, ["ANY"], 21, 30)


def test_splits_follow_one_another_without_touching(artefact):
    horizon = artefact.entry["horizon_bars"] * artefact.entry["interval_ns"]
    spans = artefact.entry["trained_on"]["splits"]
    for source in {each["dataset"] for each in spans}:
        parts = [each for each in spans if each["dataset"] == source]

        assert [each["use"] for each in parts] == ["train", "validation", "test"]
        for before, after in pairwise(parts):
            assert after["from_ns"] - before["to_ns"] > horizon


def test_skill_is_what_the_test_split_bears_out(artefact):
    skill = artefact.entry["skill"]
    estimate, low, high = skill["ic"]

    assert 0.02 <= skill["value"] <= 1.0
    assert low <= estimate <= high
    assert skill["value"] <= max(0.02, estimate / 0.10)
