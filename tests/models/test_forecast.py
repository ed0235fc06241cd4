"""The shipped forecasts: the same function in torch and ONNX, honest where they know nothing."""

import json

import numpy as np
import pytest

from models import datasets, runtime
from models.bar_files import read_bars
from models.lstm_transformer.forecaster import OUTPUTS, Forecaster, doubted
from models.runtime import Artefact, ModelHashMismatch, rank
from models.schema import FEATURES, WINDOW
from tests.support import EQKER, MINUTE, SECOND

MODELS = {"forecast_1m": MINUTE, "forecast_1s": SECOND}


@pytest.fixture(scope="module")
def spy():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    of_spy = frame.filter(frame["symbol"] == "SPY").head(700)
    return datasets.from_frame(of_spy, interval_ns=MINUTE, calendar="XNYS")["SPY"]


@pytest.fixture(scope="module")
def real(spy):
    """Windows and volatility of real bars."""
    rows = np.flatnonzero(spy.ready)[::4]
    return spy.windows(rows), spy.volatility[rows]


@pytest.fixture(scope="module", params=sorted(MODELS))
def artefact(request):
    return runtime.load(request.param, kind="forecast", interval=MODELS[request.param])


def test_onnx_equals_torch_within_the_manifests_tolerance(artefact, real):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    from models.lstm_transformer.network import Network, Shape

    network = Network(Shape(**artefact.entry["shape"]))
    network.load_state_dict(load_file(artefact.folder / artefact.entry["state"]))
    network.eval()

    with torch.no_grad():
        expected = network(torch.from_numpy(real[0]))
    found = artefact.session().run(OUTPUTS, {"features": real[0]})

    assert artefact.entry["parity"] <= artefact.entry["tolerance"]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=0, atol=artefact.entry["tolerance"])


def test_the_same_cross_section_gives_the_same_bits(artefact, real):
    windows, volatility = real
    ready = np.ones(len(windows), bool)

    first = Forecaster(artefact).predict(windows, volatility, ready)
    again = Forecaster(artefact).predict(windows, volatility, ready)

    assert first.value.tobytes() == again.value.tobytes()
    assert first.quantiles.tobytes() == again.quantiles.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 24, 50])
def test_a_rows_forecast_is_the_same_to_the_bit_beside_any_other_rows(artefact, real, size):
    windows, volatility = real
    forecaster = Forecaster(artefact)

    together = forecaster.predict_inputs(windows, volatility, np.ones(len(windows), bool))
    for first in range(0, len(windows) - size + 1, size):
        part = slice(first, first + size)
        alone = forecaster.predict_inputs(windows[part], volatility[part], np.ones(size, bool))
        np.testing.assert_array_equal(alone.p_up, together.p_up[part])
        np.testing.assert_array_equal(alone.quantiles, together.quantiles[part])
        np.testing.assert_array_equal(alone.value, together.value[part])
        np.testing.assert_array_equal(alone.disagreement, together.disagreement[part])
        np.testing.assert_array_equal(alone.strangeness, together.strangeness[part])


def test_the_one_minute_model_reads_symbols_against_their_mean(real):
    forecaster = Forecaster(runtime.load("forecast_1m", kind="forecast", interval=MINUTE))
    windows, volatility = real[0][:8], real[1][:8]
    ready = np.arange(8) < 6
    market = windows[:6].mean(axis=0, dtype=np.float64).astype(np.float32)

    found = forecaster.predict(windows, volatility, ready)
    expected = forecaster.predict_inputs(windows - market, volatility, ready)

    np.testing.assert_array_equal(found.p_up, expected.p_up)


def test_rows_that_are_not_ready_abstain_and_say_nothing(artefact, real):
    windows, volatility = real
    ready = np.arange(len(windows)) % 2 == 0

    forecast = Forecaster(artefact).predict(windows, volatility, ready)

    assert forecast.abstains[~ready].all()
    assert not forecast.value[~ready].any()
    assert not forecast.certainty[~ready].any()
    assert not forecast.quantiles[~ready].any()
    assert (forecast.p_up[~ready] == 0.5).all()


def test_inputs_unlike_the_training_data_abstain(artefact):
    strange = np.full((2, WINDOW, len(FEATURES)), 8.0, np.float32)
    strange[1] = -8.0

    forecast = Forecaster(artefact).predict(strange, np.full(2, 1e-3), np.ones(2, bool))

    assert forecast.abstains.all()


def test_windows_with_a_strange_past_and_an_ordinary_last_row_abstain(artefact, real):
    windows, volatility = real
    forecaster = Forecaster(artefact)
    strange = windows.copy()
    # One row in two is somebody else's, eight deviations off; the last patch is as it was.
    deviations = np.random.default_rng(1).choice([-8.0, 8.0], (1, 1, windows.shape[2]))
    strange[:, 1:-6:2] += (deviations * windows.std(axis=(0, 1))).astype(np.float32)

    ordinary = forecaster.predict_inputs(windows, volatility, np.ones(len(windows), bool))
    odd = forecaster.predict_inputs(strange, volatility, np.ones(len(windows), bool))

    np.testing.assert_array_equal(forecaster.distance(strange), forecaster.distance(windows))
    assert ordinary.abstains.mean() < 0.1
    assert odd.abstains.mean() > 0.9


def test_certainty_is_the_rank_of_the_edge_less_what_members_disagree_by(artefact, real):
    windows, volatility = real
    entry = artefact.entry
    doubtless = Artefact(artefact.name, entry | {"doubt": 0.0}, artefact.folder)
    ready = np.ones(len(windows), bool)

    found = Forecaster(artefact).predict_inputs(windows, volatility, ready)
    without = Forecaster(doubtless).predict_inputs(windows, volatility, ready)

    spoken = ~found.abstains
    edge = 2.0 * found.p_up - 1.0 - entry["centre"]
    left = doubted(edge, found.disagreement, entry["doubt"])
    np.testing.assert_array_equal(found.certainty[spoken], rank(left, entry["ranks"])[spoken])
    assert (found.certainty <= without.certainty).all()
    assert (found.certainty < without.certainty).any()
    np.testing.assert_array_equal(found.p_up, without.p_up)


def test_a_motionless_symbol_abstains(artefact, real):
    windows, _ = real

    forecast = Forecaster(artefact).predict(windows[:2], np.array([0.0, 1e-4]), np.ones(2, bool))

    assert forecast.abstains[0]


def test_outputs_keep_their_ranges_on_real_bars(real):
    artefact = runtime.load("forecast_1m", kind="forecast", interval=MINUTE)
    windows, volatility = real

    forecast = Forecaster(artefact).predict(windows, volatility, np.ones(len(windows), bool))

    spoken = ~forecast.abstains
    assert spoken.mean() > 0.9
    assert ((forecast.p_up > 0.0) & (forecast.p_up < 1.0)).all()
    assert (np.abs(forecast.value) <= 1.0).all()
    assert ((forecast.certainty >= 0.0) & (forecast.certainty <= 1.0)).all()
    assert (np.diff(forecast.quantiles[spoken], axis=1) > 0.0).all()
    np.testing.assert_allclose(np.abs(forecast.value), forecast.certainty)
    assert len(np.unique(forecast.value)) > 50


def test_quantiles_are_returns_in_the_symbols_own_volatility(real):
    artefact = runtime.load("forecast_1m", kind="forecast", interval=MINUTE)
    windows, volatility = real
    ready = np.ones(len(windows), bool)
    forecaster = Forecaster(artefact)

    once = forecaster.predict(windows, volatility, ready)
    twice = forecaster.predict(windows, 2.0 * volatility, ready)

    np.testing.assert_allclose(twice.quantiles, 2.0 * once.quantiles)
    np.testing.assert_array_equal(twice.value, once.value)


def test_a_changed_model_file_is_refused(artefact, tmp_path):
    entry = artefact.entry
    for file in (entry["file"], *entry["extra_files"]):
        (tmp_path / file).write_bytes((artefact.folder / file).read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps({artefact.name: entry}))
    runtime.load(artefact.name, kind="forecast", folder=tmp_path)
    content = bytearray((tmp_path / entry["file"]).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / entry["file"]).write_bytes(content)

    with pytest.raises(ModelHashMismatch, match="make train"):
        runtime.load(artefact.name, kind="forecast", folder=tmp_path)


def test_the_manifest_says_what_the_model_has_seen_and_leaves_out_its_test(artefact):
    entry = artefact.entry
    uses = {each["use"] for each in entry["seen"]}
    tested = [each for each in entry["trained_on"]["splits"] if each["use"] == "test"]

    assert uses == {"fit", "tune", "calibrate"}
    assert 0.0 <= entry["skill"]["value"] <= 1.0
    assert len(entry["ranks"]) == 101
    for test in tested:
        of_source = [each for each in entry["seen"] if each["dataset"] == test["dataset"]]
        assert max(each["to_ns"] for each in of_source) < test["from_ns"]


def test_the_identity_names_the_files_content(artefact):
    other = Artefact(artefact.name, artefact.entry | {"sha256": "0" * 64}, artefact.folder)

    assert Forecaster(artefact).identity == artefact.identity
    assert other.identity != artefact.identity
