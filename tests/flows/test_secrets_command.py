"""`nextgen secrets`, and where the engine looks for a secret."""

import os
import subprocess
import sys

import pytest

from connectors.secrets import Secret
from flows.secret_lookup import find_secret, secret_file
from operators.errors import SecretsError

CANARY = "c4n4ry-7hX9q2Lm"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("SECRETS_FILE", "SECRETS_KEY", "SECRETS_KEY_FILE", "BINANCE_KEY"):
        monkeypatch.delenv(f"NEXTGEN_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "nextgen"


def nextgen(*arguments, given="", code=0):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "secrets", *arguments],
        input=given, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if "get" not in arguments:
        assert CANARY not in done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_set_get_list_rotate_and_remove(home):
    nextgen("set", "BINANCE_KEY", given=f"{CANARY}\n")
    nextgen("set", "NEXTGEN_REDDIT_ID", given="other")

    assert nextgen("get", "BINANCE_KEY") == f"{CANARY}\n"
    assert nextgen("list") == "BINANCE_KEY\nREDDIT_ID\n"
    key = (home / "secrets.key").read_bytes()
    nextgen("rotate")
    assert (home / "secrets.key").read_bytes() != key
    assert nextgen("get", "NEXTGEN_BINANCE_KEY") == f"{CANARY}\n"
    nextgen("remove", "BINANCE_KEY")
    assert nextgen("list") == "REDDIT_ID\n"
    assert "holds no BINANCE_KEY" in nextgen("get", "BINANCE_KEY", code=2)


def test_a_value_is_never_an_argument(home):
    nextgen("set", "BINANCE_KEY", CANARY[:6], code=2)
    assert not (home / "secrets.json").exists()


def test_what_is_wrong_is_one_sentence_and_exit_code_2(home, monkeypatch):
    nextgen("set", "BINANCE_KEY", given=CANARY)
    file, key = home / "secrets.json", home / "secrets.key"
    good = file.read_bytes()

    def told(words):
        error = nextgen("get", "BINANCE_KEY", code=2)
        assert words in error
        assert error.startswith("nextgen: ")
        assert len(error.strip().splitlines()) == 1
        assert CANARY not in error

    file.write_bytes(good[:-40])
    told("damaged")
    file.write_bytes(good.replace(b'"set_at": 1', b'"set_at": 2'))
    told("was changed since it was written")
    file.write_bytes(good)
    key.chmod(0o644)
    told("chmod 600")
    key.chmod(0o600)
    monkeypatch.setenv("NEXTGEN_SECRETS_KEY", nextgen("new-key").strip())
    told("is not the one of")
    monkeypatch.setenv("NEXTGEN_SECRETS_KEY", "x")
    told("expected a key of 32 bytes")
    monkeypatch.delenv("NEXTGEN_SECRETS_KEY")
    key.unlink()
    told("no key for")
    assert nextgen("list") == "BINANCE_KEY\n"  # names take no key
    assert "expected a value of 1 to" in nextgen("set", "A", given="", code=2)


def test_the_environment_goes_before_the_file(home, monkeypatch, tmp_path):
    assert find_secret("BINANCE_KEY") is None
    secret_file().set("BINANCE_KEY", Secret("the-kept-value"))
    assert find_secret("BINANCE_KEY") == Secret("the-kept-value")
    assert find_secret("REDDIT_ID") is None
    (tmp_path / "named").write_text("the-named-value\n")
    monkeypatch.setenv("NEXTGEN_BINANCE_KEY_FILE", str(tmp_path / "named"))
    assert find_secret("BINANCE_KEY") == Secret("the-named-value")
    monkeypatch.delenv("NEXTGEN_BINANCE_KEY_FILE")
    monkeypatch.setenv("NEXTGEN_BINANCE_KEY", "the-given-value")
    assert find_secret("BINANCE_KEY") == Secret("the-given-value")


def test_a_secret_that_cannot_be_opened_is_not_taken_for_absent(home):
    secret_file().set("BINANCE_KEY", Secret("the-kept-value"))
    (home / "secrets.key").unlink()
    with pytest.raises(SecretsError, match="no key"):
        find_secret("BINANCE_KEY")
    assert find_secret("REDDIT_ID") is None  # which the file does not hold


def test_keys_of_feeds_and_passwords_of_stores_come_from_the_file(home):
    from flows.feeds import find_keys
    from flows.services import kafka_password

    secret_file().set("ALPHA_VANTAGE_KEY", Secret("the-alpha-value"))
    secret_file().set("AUTHOR_KEY", Secret("0123456789abcdef"))
    secret_file().set("KAFKA_PASSWORD", Secret("the-kafka-value"))

    assert find_keys().alpha_vantage == Secret("the-alpha-value")
    assert find_keys().author == b"0123456789abcdef"
    assert kafka_password() == "the-kafka-value"
