"""Which folder may write which log, without a broker in between."""

import msgspec
import pytest

from flows import scale_ingest
from flows.broker import Agreed
from flows.scale import parse_shards
from flows.scale_ingest import Own
from flows.settings import load_profile
from operators.errors import SettingsError

INPUTS = [{"name": "a"}]


class Kept:
    """What Kafka holds of a configuration."""

    def __init__(self):
        self.settings = type("Settings", (), {"prefix": "p", "bootstrap": "b"})()
        self.known = None

    def send(self, entries):
        self.known = msgspec.json.decode(entries[-1].value, type=Agreed)


@pytest.fixture
def kept(monkeypatch):
    broker = Kept()
    monkeypatch.setattr(scale_ingest, "agreed_at", lambda broker: broker.known)
    return broker


def agreed(**fields):
    return Agreed(
        **{"settings": load_profile("demo"), "models": ("m",), "partitions": 8, "log": ""} | fields
    )


def begin(broker, folder, inputs=INPUTS, **fields):
    own = scale_ingest._own_log(broker, agreed(**fields), folder, inputs)
    (folder / "recovery").mkdir(exist_ok=True)
    return own


def test_a_log_is_begun_and_gone_on_with(kept, tmp_path):
    first = begin(kept, tmp_path)
    assert kept.known.log == first.log
    assert begin(kept, tmp_path) == first


def test_a_start_that_was_cut_short_can_be_repeated(kept, tmp_path):
    own = scale_ingest._own_log(kept, agreed(), tmp_path, INPUTS)
    kept.known = None  # the folder was written, Kafka was not
    assert scale_ingest._own_log(kept, agreed(), tmp_path, INPUTS) == own
    assert kept.known.log == own.log
    assert scale_ingest._own_log(kept, agreed(), tmp_path, INPUTS) == own  # nor a position


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": [{"name": "b"}]}, "other inputs"),
        ({"models": ("n",)}, "another configuration, universe or models"),
        ({"partitions": 4}, "another configuration, universe or models"),
    ],
)
def test_another_run_does_not_write_into_it(kept, tmp_path, change, words):
    begin(kept, tmp_path)
    with pytest.raises(SettingsError, match=words):
        begin(kept, tmp_path, **change)


def test_another_folder_does_not_write_into_it(kept, tmp_path):
    begin(kept, tmp_path)
    with pytest.raises(SettingsError, match="go on with the folder it was begun with"):
        scale_ingest._own_log(kept, agreed(), tmp_path / "other", INPUTS)


def test_a_broker_without_its_log_keeps_the_position(kept, tmp_path):
    begin(kept, tmp_path)
    kept.known = None
    with pytest.raises(SettingsError, match="its data are gone, or these are others"):
        begin(kept, tmp_path)
    assert (tmp_path / "recovery").is_dir()


def test_own_tells_what_is_finished():
    own = Own("1", INPUTS, finished=True)
    assert msgspec.json.decode(msgspec.json.encode(own), type=Own) == own


@pytest.mark.parametrize(
    ("text", "found"), [("0", (0,)), ("0-3,6", (0, 1, 2, 3, 6)), ("1,1", (1,))]
)
def test_shards_are_named(text, found):
    assert parse_shards(text, 8) == found


@pytest.mark.parametrize("text", ["", "a", "0-", "8", "0-8", "-1", "3-1"])
def test_no_such_shards(text):
    with pytest.raises(SettingsError, match="expected shards"):
        parse_shards(text, 8)
