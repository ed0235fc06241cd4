"""`python -m exchange` says where it listens, ends when told, and refuses in a sentence."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
import structlog
import typer
from typer.testing import CliRunner

from exchange.command import main

MODULE = [sys.executable, "-m", "exchange"]
COMMAND = typer.Typer()
COMMAND.command()(main)


@pytest.fixture(autouse=True)
def _logs_as_before():
    before = structlog.is_configured()
    yield
    if not before:
        structlog.reset_defaults()


def test_it_serves_until_told_to_end(tmp_path):
    script = tmp_path / "script.toml"
    script.write_text('[[fault]]\nkind = "cut"\nat = 0.0\n')
    command = [*MODULE, "--port", "0", "--first-seconds", "5", "--symbols", "3"]
    process = subprocess.Popen(
        [*command, "--script", str(script), "--chaos", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        url = line.removeprefix("listening on ").strip()
        with urllib.request.urlopen(f"{url}/exchange/faults", timeout=10) as response:
            faults = json.load(response)
        with urllib.request.urlopen(f"{url}/exchange/truth", timeout=10) as response:
            told = json.load(response)
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert not rest
    assert [fault["kind"] for fault in faults] == ["cut"]
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert list(told["symbols"]) == ["BTCUSDT", "ETHUSDT", "BTCA1USDT"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--recording", "none.ndjson"], "cannot be read"),
        (["--script", "none.toml"], "cannot be read"),
        (["--speed", "2", "--rate", "9"], "exclude each other"),
        (["--speed", "0"], "must be positive"),
        (["--symbols", "1000"], "at most 470"),
        (["--chaos", "1", "--chaos-kinds", "sulk"], "known: cut, half_open"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(options, sentence):
    done = CliRunner().invoke(COMMAND, ["--first-seconds", "1", "--port", "0", *options])

    assert done.exit_code == 2, done.output
    assert sentence in " ".join(done.stderr.split())
