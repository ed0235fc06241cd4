"""Profiles, the configuration hash and what is refused."""

import msgspec
import pytest

from flows.settings import load_profile, profile_names, with_receive_offset
from operators.errors import SettingsError


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
