"""A model that cannot be trusted stops the start, with what was expected, found and to do."""

import json

import pytest

from models.runtime import ONNX, read_manifest
from tests.integration.replays import nextgen


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the shipped artefacts, to be spoiled."""
    folder = tmp_path / "onnx"
    folder.mkdir()
    for path in ONNX.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def refused(short, tmp_path, folder):
    """Return the sentence with which a replay refuses `folder`."""
    error = nextgen(
        *("replay", short, "--profile", "demo", "--store", tmp_path / "s.sqlite", "--quiet"),
        code=2,
        NEXTGEN_MODELS=str(folder),
    )
    assert error.count("\n") == 1
    return error


def rewrite(folder, name, **fields):
    """Change fields of one manifest entry."""
    manifest = read_manifest()
    manifest[name] = {**manifest[name], **fields}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["forecast_1s", "policy_1s", "sentiment_en", "sentiment_ja"])
def test_altered_file_is_refused_by_its_hash(short, tmp_path, folder, name):
    file = folder / read_manifest()[name]["file"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    file.write_bytes(content)
    error = refused(short, tmp_path, folder)
    assert name in error
    assert "SHA-256" in error
    assert "restore the file or run 'make train'" in error


def test_absent_file_is_refused(short, tmp_path, folder):
    (folder / read_manifest()["policy_1s"]["file"]).unlink()
    assert "absent" in refused(short, tmp_path, folder)


def test_absent_manifest_is_refused(short, tmp_path, folder):
    (folder / "manifest.json").unlink()
    assert "run 'make train'" in refused(short, tmp_path, folder)


def test_unreadable_manifest_is_refused(short, tmp_path, folder):
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text("{")
    assert "not a manifest" in refused(short, tmp_path, folder)


def test_other_feature_schema_is_refused(short, tmp_path, folder):
    rewrite(folder, "forecast_1s", schema_hash="0" * 16)
    error = refused(short, tmp_path, folder)
    assert "expected feature schema" in error
    assert "0" * 16 in error


def test_other_interval_is_refused(short, tmp_path, folder):
    rewrite(folder, "policy_1s", interval_ns=5)
    assert "expected bars of 1000000000 ns" in refused(short, tmp_path, folder)


def test_model_of_another_kind_is_refused(short, tmp_path, folder):
    rewrite(folder, "forecast_1s", kind="policy")
    assert "expected a forecast model" in refused(short, tmp_path, folder)


def test_file_that_is_no_model_is_refused(short, tmp_path, folder):
    from models.runtime import sha256_of

    file = folder / read_manifest()["forecast_1s"]["file"]
    file.unlink()
    file.write_bytes(b"no model at all")
    rewrite(folder, "forecast_1s", sha256=sha256_of(file))
    assert "no model that ONNX Runtime" in refused(short, tmp_path, folder)


def test_entry_that_lacks_what_serving_reads_is_refused(short, tmp_path, folder):
    entry = {**read_manifest()["forecast_1s"]}
    del entry["ranks"]
    manifest = read_manifest() | {"forecast_1s": entry}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "lacks ranks" in refused(short, tmp_path, folder)


def test_graph_of_another_model_is_refused(short, tmp_path, folder):
    other = read_manifest()["policy_1s"]
    rewrite(folder, "forecast_1s", file=other["file"], sha256=other["sha256"])
    assert "no model of its kind" in refused(short, tmp_path, folder)
