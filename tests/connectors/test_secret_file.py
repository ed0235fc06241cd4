"""Secrets at rest: what a thief, a full disk, a wrong key or a second writer makes of them."""

import base64
import json
import re
import subprocess
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.secret_file import MOST, SecretFile, checked_name
from connectors.secret_keys import (
    EnvironmentKeys,
    FileKeys,
    KeyringKeys,
    key_place,
    new_key,
)
from connectors.secrets import Secret, redact
from operators.errors import SecretsError
from tests.small_disk import small_disks

CANARY = "c4n4ry-7hX9q2Lm"


@pytest.fixture
def file(tmp_path):
    return SecretFile(tmp_path / "secrets.json", FileKeys(tmp_path / "secrets.key"))


def again(file):
    """Return the same file as another process would open it."""
    return SecretFile(file.path, FileKeys(file.place.path))


def value(file, name="BINANCE_KEY"):
    found = again(file).get(name)
    return None if found is None else found.reveal()


def test_what_was_set_comes_back_and_nothing_else(file):
    file.set("BINANCE_KEY", Secret(CANARY))
    file.set("REDDIT_ID", Secret("päss\nwörd \0 end"))

    assert value(file) == CANARY
    assert value(file, "REDDIT_ID") == "päss\nwörd \0 end"
    assert value(file, "OTHER") is None
    assert again(file).names() == ["BINANCE_KEY", "REDDIT_ID"]
    assert file.remove("REDDIT_ID")
    assert not file.remove("REDDIT_ID")
    assert again(file).names() == ["BINANCE_KEY"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.text(min_size=1, max_size=300))
def test_any_text_comes_back(file, text):
    # Not as short as a word: every secret is struck out of all that this process says later.
    file.set("A", Secret(f"c4n4ry{text}"))
    assert value(file, "A") == f"c4n4ry{text}"


def test_no_file_is_no_secret(file):
    assert file.get("A") is None
    assert file.names() == []
    assert not file.place.path.exists()  # asking makes no key


def test_files_are_their_owners_alone(file):
    file.set("A", Secret("some-other-value"))
    for path in (file.path, file.place.path):
        assert path.stat().st_mode & 0o777 == 0o600
    file.path.chmod(0o644)
    file.set("A", Secret("yet-another-value"))
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_stolen_file_tells_names_and_no_value(file):
    file.set("BINANCE_KEY", Secret(CANARY))
    file.set("SHORT", Secret("4-short-one"))
    file.set("LONG", Secret("4-long-one-" * 5))
    stolen = file.path.read_bytes()
    entries = json.loads(stolen)["entries"]

    assert b"BINANCE_KEY" in stolen  # which `list` shows without the key
    for form in (
        CANARY,
        base64.b64encode(CANARY.encode()).decode().rstrip("="),
        CANARY.encode().hex(),
    ):
        for start in range(0, len(form) - 8, 4):
            assert form[start : start + 8].encode() not in stolen
            decoded = b"".join(base64.b64decode(e["value"]) for e in entries.values())
            assert form[start : start + 8].encode() not in decoded
    assert len(entries["SHORT"]["value"]) == len(entries["LONG"]["value"])
    key = file.place.read()[0].reveal().encode()
    assert key not in stolen
    # Another key, though of the right form, opens nothing.
    thief = SecretFile(file.path, EnvironmentKeys("NEXTGEN_SECRETS_KEY", new_key()))
    with pytest.raises(SecretsError, match="is not the one of"):
        thief.get("BINANCE_KEY")


def test_the_same_value_is_never_the_same_bytes(file):
    file.set("A", Secret(CANARY))
    first = json.loads(file.path.read_bytes())["entries"]["A"]["value"]
    file.set("B", Secret(CANARY))
    file.set("A", Secret(CANARY))
    now = json.loads(file.path.read_bytes())["entries"]
    assert len({first, now["A"]["value"], now["B"]["value"]}) == 3


def use(file):
    """Read a secret; where its very name was changed, write one."""
    if file.get("BINANCE_KEY") is None:
        file.set("X", Secret("some-other-value"))


def test_every_changed_byte_is_noticed_and_shows_nothing(file):
    file.set("BINANCE_KEY", Secret(CANARY))
    good = file.path.read_bytes()
    spaces = [found.start() for found in re.finditer(rb"\s", good)]
    for place in range(0, len(good), 3):
        if place in spaces:  # between the parts, where it means nothing
            continue
        file.path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(SecretsError) as error:
            use(again(file))
        assert CANARY not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(file, share):
    file.set("BINANCE_KEY", Secret(CANARY))
    good = file.path.read_bytes()
    file.path.write_bytes(
        good[: int(len(good) * share) - 2 if share > 0.99 else int(len(good) * share)]
    )
    with pytest.raises(SecretsError, match="damaged"):
        again(file).get("BINANCE_KEY")


def test_entries_cannot_be_swapped_renamed_removed_or_put_back(file):
    file.set("A", Secret("the-first-value"))
    old = json.loads(file.path.read_bytes())
    file.set("A", Secret("the-second-value"))
    file.set("B", Secret("the-other-value"))
    good = json.loads(file.path.read_bytes())
    entries = good["entries"]
    forged = [
        {"A": entries["B"], "B": entries["A"]},
        {"C": entries["A"], "B": entries["B"]},
        {"B": entries["B"]},
        {"A": old["entries"]["A"], "B": entries["B"]},
    ]
    for each in forged:
        file.path.write_text(json.dumps(good | {"entries": each}))
        for name in each:
            with pytest.raises(SecretsError, match="was changed since it was written"):
                again(file).get(name)


def test_a_value_in_anothers_place_does_not_open_even_if_the_seal_is_right(file, monkeypatch):
    file.set("A", Secret("the-first-value"))
    file.set("B", Secret("the-other-value"))
    good = json.loads(file.path.read_bytes())
    entries = good["entries"]
    file.path.write_text(json.dumps(good | {"entries": {"A": entries["B"], "B": entries["A"]}}))
    monkeypatch.setattr("connectors.secret_file._seal", lambda *_: good["seal"])
    with pytest.raises(SecretsError, match="the secret A was changed"):
        again(file).get("A")


def test_rotation_changes_the_key_and_every_byte_of_values(file):
    file.set("A", Secret("the-first-value"))
    file.set("B", Secret("the-second-value"))
    before, old = json.loads(file.path.read_bytes()), file.place.read()
    assert file.rotate() == 2
    after, new = json.loads(file.path.read_bytes()), file.place.read()

    assert (value(file, "A"), value(file, "B")) == ("the-first-value", "the-second-value")
    assert len(new) == 1
    assert new != old
    assert before["key"] != after["key"]
    assert before["entries"]["A"]["value"] != after["entries"]["A"]["value"]
    assert before["entries"]["A"]["set_at"] == after["entries"]["A"]["set_at"]
    with pytest.raises(SecretsError, match="is not the one"):
        SecretFile(file.path, EnvironmentKeys("X", old[0])).get("A")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_rotation_that_is_cut_off_anywhere_loses_nothing(file, monkeypatch, step):
    """It writes three times: both keys, the file, the new key alone."""
    file.set("A", Secret("the-first-value"))
    from connectors import secret_file, secret_keys
    from connectors.whole_files import write_whole

    writes = iter(range(1, 9))

    def cut_off(path, content):
        if next(writes) == step:
            raise KeyboardInterrupt
        write_whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(secret_file, "write_whole", cut_off)
        patched.setattr(secret_keys, "write_whole", cut_off)
        with pytest.raises(KeyboardInterrupt):
            file.rotate()
    assert value(file, "A") == "the-first-value"
    again(file).rotate()
    assert value(file, "A") == "the-first-value"
    assert len(file.place.read()) == 1


def test_rotation_with_keys_in_the_environment_takes_the_one_in_front(tmp_path):
    old, new = new_key(), new_key()
    path = tmp_path / "secrets.json"
    alone = SecretFile(path, EnvironmentKeys("NEXTGEN_SECRETS_KEY", old))
    alone.set("A", Secret("the-first-value"))
    with pytest.raises(SecretsError, match="nextgen secrets new-key"):
        alone.rotate()
    both = Secret(f"{new.reveal()},{old.reveal()}")
    SecretFile(path, EnvironmentKeys("NEXTGEN_SECRETS_KEY", both)).rotate()
    found = SecretFile(path, EnvironmentKeys("NEXTGEN_SECRETS_KEY", new)).get("A")
    assert found == Secret("the-first-value")
    with pytest.raises(SecretsError, match="is not the one"):
        alone.get("A")


def _set_some(arguments):
    folder, number = arguments
    for each in range(5):
        file = SecretFile(folder / "secrets.json", FileKeys(folder / "secrets.key"))
        file.set(f"S{number}_{each}", Secret(f"value {number} {each}"))


def test_writers_at_once_lose_nothing_of_each_other(tmp_path, file):
    file.set("FIRST", Secret("some-other-value"))
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(_set_some, [(tmp_path, number) for number in range(4)]))
    assert len(file.names()) == 21
    assert all(
        value(file, f"S{n}_{each}") == f"value {n} {each}" for n in range(4) for each in range(5)
    )
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".secrets.json.lock", "secrets.json", "secrets.key"]


def test_a_full_disk_keeps_what_was_there(tmp_path):
    with small_disks() as mount:
        disk = tmp_path / "disk"
        mount(disk, "size=64k")
        file = SecretFile(disk / "secrets.json", FileKeys(tmp_path / "secrets.key"))
        file.set("A", Secret("the-first-value"))
        with pytest.raises(SecretsError, match="could not be written: No space left"):
            file.set("B", Secret("x" * 60_000))
        assert value(file, "A") == "the-first-value"
        assert file.names() == ["A"]
        assert not [path for path in disk.iterdir() if path.name.startswith(".secrets.json.") and
                    not path.name.endswith(".lock")]  # fmt: skip
        file.set("B", Secret("a-short-value"))
        assert value(file, "B") == "a-short-value"


@pytest.mark.parametrize(
    ("bad", "words"),
    [("", "1 to 65536 bytes, found 0"), ("x" * (MOST + 1), "found 65537")],
)
def test_values_that_are_none_are_refused(file, bad, words):
    with pytest.raises(SecretsError, match=words):
        file.set("A", Secret(bad))


@pytest.mark.parametrize("name", ["", "a", "1A", "A B", "A\n", "../A", "Ä", "A" * 101])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(SecretsError, match="expected a name of capitals"):
        checked_name(name)


def test_a_key_file_that_others_can_read_is_refused(file):
    file.set("A", Secret("some-other-value"))
    file.place.path.chmod(0o640)
    with pytest.raises(SecretsError, match="open to others; run: chmod 600"):
        file.get("A")


@pytest.mark.parametrize("text", ["short", "!" * 44, base64.b64encode(b"x" * 31).decode()])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SecretsError, match="expected a key of 32 bytes") as error:
        FileKeys(path).read()
    assert text not in str(error.value)


def test_a_lost_key_says_where_it_should_be(file):
    file.set("A", Secret("some-other-value"))
    file.place.path.unlink()
    with pytest.raises(SecretsError, match=r"no key for .*NEXTGEN_SECRETS_KEY"):
        file.get("A")
    with pytest.raises(SecretsError, match="no key for"):
        file.set(
            "B", Secret("yet-another-value")
        )  # and no second key beside what the first one closed


def test_the_key_is_looked_for_in_this_order(tmp_path):
    default, named, key = tmp_path / "default", tmp_path / "named", new_key()

    class Ring(KeyringKeys):
        def read(self):
            return [key]

    class NoRing(KeyringKeys):
        def read(self):
            return []

    assert isinstance(key_place(key, named, default, Ring), EnvironmentKeys)
    assert key_place(None, named, default, Ring).where == str(named)
    assert isinstance(key_place(None, None, default, Ring), Ring)
    assert key_place(None, None, default, NoRing).where == str(default)
    default.touch()
    assert key_place(None, None, default, Ring).where == str(default)


def test_a_keyring_keeps_keys_if_the_package_is_there(tmp_path, monkeypatch):
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        priority = 1
        kept: ClassVar = {}

        def get_password(self, service, username):
            return self.kept.get((service, username))

        def set_password(self, service, username, password):
            self.kept[service, username] = password

        def delete_password(self, service, username):
            del self.kept[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    try:
        place = KeyringKeys()
        assert place.read() == []
        file = SecretFile(tmp_path / "secrets.json", place)
        file.set("A", Secret("the-first-value"))
        file.rotate()
        assert SecretFile(file.path, KeyringKeys()).get("A") == Secret("the-first-value")
        assert len(place.read()) == 1
    finally:
        keyring.set_keyring(before)
        Memory.kept.clear()  # the package may chain every keyring that it has seen


def test_no_traceback_shows_a_value_or_a_key(file):
    file.set("BINANCE_KEY", Secret(CANARY))
    key = file.place.read()[0].reveal()
    document = json.loads(file.path.read_bytes())
    document["seal"] = "x"
    file.path.write_text(json.dumps(document))
    try:
        file.set("OTHER", Secret("an0ther-c4n4ry"))
    except SecretsError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(shown.format())
    assert "changed since" in text
    for hidden in (CANARY, "an0ther-c4n4ry", key):
        assert hidden not in redact(text)


def test_what_is_read_is_struck_out_of_logs_from_then_on(file):
    file.set("A", Secret(CANARY))
    program = (
        "import logging, sys; from pathlib import Path\n"
        "from connectors.secret_file import SecretFile\n"
        "from connectors.secret_keys import FileKeys\n"
        "from flows.logs import log_to_standard_error\n"
        "import structlog\n"
        "log_to_standard_error(); logging.basicConfig(level=0)\n"
        "found = SecretFile(Path(sys.argv[1]), FileKeys(Path(sys.argv[2]))).get('A')\n"
        "structlog.get_logger().info('a', url='https://x/' + found.reveal(), own=found)\n"
        "logging.info('%s %r', found.reveal(), found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, file.path, file.place.path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "https://x/***" in done.stderr
    assert CANARY not in done.stdout + done.stderr
