import json

from typer.testing import CliRunner

from flows import doctor
from flows.cli import app
from models import runtime

runner = CliRunner()


def test_doctor_finds_this_machine_fit_but_for_models_that_are_not_there(tmp_path):
    found = {check.name: check for check in doctor.checks(tmp_path, tmp_path)}
    assert not found.pop("models").ok
    assert [check for check in found.values() if not check.ok] == []
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_an_altered_model(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"altered")
    names = "horizon_bars skill ranks centre distribution doubt hidden widths seen"
    needed = dict.fromkeys(names.split())
    entry = {"kind": "forecast", "file": "a.onnx", "sha256": "0" * 64} | needed
    (tmp_path / "manifest.json").write_text(json.dumps({"a": entry}))
    found = {check.name: check for check in doctor.checks(tmp_path, tmp_path)}
    assert not found["model a"].ok
    assert "should have SHA-256" in found["model a"].found


def test_doctor_ends_with_one_if_anything_is_wrong(monkeypatch):
    for ok, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(doctor, "checks", lambda ok=ok: [doctor.Check("disk", ok, "x")])
        done = runner.invoke(app, ["doctor", "--json"])
        assert done.exit_code == code
        assert json.loads(done.stdout) == [{"name": "disk", "ok": ok, "found": "x"}]


def test_models_are_listed_with_what_they_saw_and_how_good_they_are(monkeypatch, tmp_path):
    day = 86_400 * 10**9
    seen = [{"dataset": "lean", "from_ns": 0, "to_ns": day, "symbols": [], "use": "fit"}]
    manifest = {
        "forecast_1s": {"sha256": "a" * 64, "interval_ns": 10**9, "seen": seen,
                        "skill": {"value": 0.2, "ic": [0.05, 0.02, 0.08], "n": 100}},
        "sentiment_en": {"sha256": "b" * 64, "trained_on": {"sentfin": {"rows": 5}, "seed": 1},
                         "metrics": {"sentfin": {"int8": {"accuracy": [0.86, 0.84, 0.88]},
                                                 "fp32": {"accuracy": [0.9, 0.9, 0.9]}}}},
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(runtime.read_manifest, "__defaults__", (tmp_path,))
    text = " ".join(runner.invoke(app, ["models"], env={"COLUMNS": "200"}).stdout.split())

    assert "forecast_1s aaaaaaaaaaaa 1 s lean, 1970-01-01 to 1970-01-02" in text
    assert "IC 0.050 (0.020 to 0.080), n = 100" in text
    assert "sentfin accuracy 0.860 (0.840 to 0.880)" in text
    assert "0.900" not in text
    assert json.loads(runner.invoke(app, ["models", "--json"]).stdout) == manifest


def test_models_without_a_manifest_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.read_manifest, "__defaults__", (tmp_path,))
    done = runner.invoke(app, ["models"])
    assert done.exit_code == 2
    assert "run 'make train'" in done.stderr
