"""Profiles, the configuration hash and what is refused."""

import json

import msgspec
import pytest

from flows.settings import load_profile, profile_names, with_receive_offset
from models.ppo.rules import rules_for
from operators.errors import SettingsError
from operators.messages import SECOND


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_loads(name):
    assert load_profile(name).profile == name


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(SettingsError, match="demo"):
        load_profile("nowhere")


def test_universe_is_sorted_and_without_repeats():
    settings = load_profile("demo", symbols=("B", "A", "B"))
    assert settings.symbols == ("A", "B")


def test_hash_covers_what_decides():
    settings = load_profile("demo")
    tight = msgspec.structs.replace(
        settings, risk=msgspec.structs.replace(settings.risk, position_limit=0.01)
    )
    shifted = with_receive_offset(settings, 7)
    hashes = {
        s.config_hash for s in (settings, tight, shifted, load_profile("demo", symbols=("A",)))
    }
    assert len(hashes) == 4


def test_hash_does_not_cover_names_and_paths(tmp_path):
    settings = load_profile("demo")
    moved = msgspec.structs.replace(settings, profile="other")
    assert moved.config_hash == settings.config_hash


@pytest.mark.parametrize(
    "text",
    ["[bars]\ninterval_ns = 5", "[quality]\nreceive_offset_ns = 5\n[clock]\nreceive_offset_ns = 5"],
)
def test_what_parts_share_is_set_in_one_place(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="is set in"):
        load_profile(str(path))


def manifest(folder, **rules):
    """Put a manifest with a policy under these rules into `folder`."""
    entry = {"rules": msgspec.to_builtins(rules_for(SECOND)) | rules}
    (folder / "manifest.json").write_text(json.dumps({"policy_1s": entry}))


def test_position_rules_are_those_the_policy_was_trained_under(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGEN_MODELS", str(tmp_path))
    manifest(tmp_path, min_holding_bars=77)
    path = tmp_path / "p.toml"

    path.write_text("[group]\ninterval = '1s'")
    trained = load_profile(str(path)).policy
    path.write_text("[policy]\nfee_bps = 9.0")
    dearer = load_profile(str(path)).policy

    assert trained == msgspec.structs.replace(rules_for(SECOND), min_holding_bars=77)
    assert dearer == msgspec.structs.replace(trained, fee_bps=9.0)


def test_rules_of_a_manifest_that_no_run_knows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGEN_MODELS", str(tmp_path))
    manifest(tmp_path, hold_for_ever=True)
    path = tmp_path / "p.toml"
    path.write_text("")

    with pytest.raises(SettingsError, match="hold_for_ever"):
        load_profile(str(path))


def test_profile_without_trained_models_has_the_rules_a_training_begins_with(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGEN_MODELS", str(tmp_path))

    assert load_profile("demo").policy == rules_for(SECOND)
