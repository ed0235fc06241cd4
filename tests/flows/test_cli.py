import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from connectors.sinks.store import open_store
from flows import commands_run
from flows.cli import app, sentence_of
from flows.commands_explain import explanation_view, full_id
from flows.digest import digest
from flows.explain import Explanation
from flows.runs import begin_run, end_run
from flows.settings import Settings
from models.runtime import ModelError
from models.seen import SeenData
from operators.errors import ExplanationError, InputError, StoreError
from operators.messages import SECOND, Action, Mood, Notice
from tests.stores import TS, decision, rejection, signal, store_messages, stored_bar

runner = CliRunner()


@pytest.fixture
def store(tmp_path):
    """A store of one finished run."""
    path = store_messages(tmp_path / "run.sqlite")
    opened = open_store(path)
    begin_run(opened, Settings(), [], [])
    end_run(opened, finished=True, seconds=2.0, timers={})
    opened.close()
    return store_messages(
        path,
        stored_bar(),
        rejection(),
        decision(signal(), signal("ETHUSDT", action=Action.HOLD, reasons=("entry_score",))),
    )


def explanation(difference=None):
    return Explanation(
        signal=signal(),
        bars=(stored_bar(),),
        notices=(Notice(after=0, offset=1, body=Mood(source="fg", value=26.0, available_at=1)),),
        features={"roc_1": 0.25, "rsi_14": -0.5, "has_quotes": 1.0},
        settings=Settings(),
        models=("forecast_1s@abc", "policy_1s@def"),
        checkpoint=TS - SECOND,
        difference=difference,
        simulated=False,
    )


@pytest.fixture
def replayed(monkeypatch):
    """Stand in for the engine: keep what it was asked for, and store one decision."""
    asked = {}

    def run(settings, inputs, path, **options):
        asked.update(options, settings=settings, inputs=inputs, path=path)
        opened = open_store(path)
        begin_run(opened, settings, [], [], overwrite=options["overwrite"])
        end_run(opened, finished=True, seconds=1.0, timers={})
        opened.close()
        store_messages(path, stored_bar(), decision(signal()))

    monkeypatch.setattr(commands_run, "run_replay", run)
    return asked


# ------------------------------------------------------------------------------- help


def test_help_names_every_command_and_imports_no_engine():
    code = (
        "import sys; from flows.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'bytewax', 'numpy', 'onnxruntime', 'polars', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for command in ("demo", "replay", "digest", "explain", "evaluate", "models", "doctor"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "Missing"),
        (["replay", "a", "--profile", "demo", "--store", "s", "--speed", "0"], "above 0"),
        (["replay", "a", "--profile", "demo", "--store", "s", "--speed", "nan"], "above 0"),
        (["replay", "a", "--profile", "demo", "--store", "s", "--symbols", ","], "BTCUSDT"),
        (["replay", "a", "--profile", "demo", "--store", "s", "--workers", "0"], "workers"),
        (["evaluate", "magic", "--data", "x"], "forecast"),
        (["unknown"], "unknown"),
    ],
)
def test_wrong_usage_ends_with_two(arguments, said):
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


# ----------------------------------------------------------------------------- errors


def test_expected_errors_are_sentences_even_when_wrapped():
    wrapped = RuntimeError("error in step 'store'")
    wrapped.__cause__ = RuntimeError("once more")
    wrapped.__cause__.__cause__ = StoreError("the disk is full")
    assert sentence_of(wrapped) == "the disk is full"
    assert sentence_of(ModelError("no model")) == "no model"
    assert sentence_of(SeenData("seen")) == "seen"
    assert sentence_of(ValueError("a bug")) is None


@pytest.mark.parametrize("command", ["digest", "summary", "explain"])
def test_store_that_is_not_there_is_one_sentence_and_two(command, tmp_path):
    more = ["0123"] if command == "explain" else []
    done = runner.invoke(app, [command, str(tmp_path / "none.sqlite"), *more])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "expected a store at" in done.stderr


def test_profile_that_is_not_there_is_one_sentence_and_two(tmp_path):
    done = runner.invoke(
        app, ["replay", "x", "--profile", "nope", "--store", str(tmp_path / "s.sqlite")]
    )
    assert done.exit_code == 2
    assert "no profile 'nope'" in done.stderr


def test_bug_is_no_sentence(monkeypatch, replayed, tmp_path):
    def broken(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(commands_run, "run_replay", broken)
    done = runner.invoke(
        app, ["replay", "x", "--profile", "demo", "--store", str(tmp_path / "s"), "-q"]
    )
    assert isinstance(done.exception, ZeroDivisionError)


def test_interruption_ends_with_130(monkeypatch, replayed, tmp_path):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands_run, "run_replay", interrupted)
    done = runner.invoke(
        app, ["replay", "x", "--profile", "demo", "--store", str(tmp_path / "s"), "-q"]
    )
    assert done.exit_code == 130


# -------------------------------------------------------------------- digest and summary


def test_digest_prints_the_hash_alone(store):
    done = runner.invoke(app, ["digest", str(store)])
    opened = open_store(store, readonly=True)
    assert done.stdout == digest(opened) + "\n"
    opened.close()


def test_summary_as_json_is_one_object_with_the_promised_keys(store):
    done = runner.invoke(app, ["summary", str(store), "--json"])
    made = json.loads(done.stdout)
    assert {
        "ticks_in", "accepted", "rejected", "late", "gaps", "bars", "signals", "approved",
        "seconds", "stages",
    } <= made.keys()  # fmt: skip
    assert made["signals"] == {"BUY": 1, "SELL": 0, "HOLD": 1}


def test_summary_for_people_names_the_gate_that_held(store):
    assert "1 entry_score" in runner.invoke(app, ["summary", str(store)]).stdout


# ------------------------------------------------------------------------------ explain


def test_signal_is_found_by_its_first_digits(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite", decision(signal(signal_id="abc1"), signal("E", signal_id="abd2"))
    )
    opened = open_store(path, readonly=True)
    assert full_id(opened, "abc") == "abc1"
    with pytest.raises(ExplanationError, match="several signals begin with 'ab'"):
        full_id(opened, "ab")
    with pytest.raises(ExplanationError, match="no signal 'x'; one it holds is abc1"):
        full_id(opened, "x")
    opened.close()


@pytest.mark.parametrize(("difference", "code"), [(None, 0), ("score: stored 1, recomputed 2", 1)])
def test_explain_says_whether_it_came_out_equal(monkeypatch, store, difference, code):
    monkeypatch.setattr("flows.commands_explain.explain", lambda *_: explanation(difference))
    done = runner.invoke(app, ["explain", str(store), signal().signal_id])

    assert done.exit_code == code
    assert (difference or "recomputed: equal") in done.stdout
    for words in ("rsi_14", "forecast", "volatility_target", "policy_1s@def", "26",
                  Settings().config_hash):  # fmt: skip
        assert words in done.stdout


def test_explain_as_json_is_one_object(monkeypatch, store):
    monkeypatch.setattr("flows.commands_explain.explain", lambda *_: explanation())
    done = runner.invoke(app, ["explain", str(store), signal().signal_id, "--json"])
    made = json.loads(done.stdout)
    assert made["difference"] is None
    assert made["signal"]["signal_id"] == signal().signal_id
    assert made["features"]["rsi_14"] == -0.5


def test_explanation_of_a_leg_that_abstains_can_be_shown():
    made = explanation()
    made.signal.detail["legs"]["policy"] = {"abstains": True, "weight": 0.0, "value": None}
    console = Console(width=80, record=True, file=StringIO())
    console.print(explanation_view(made))
    text = console.export_text()
    assert "abstains" in text
    assert max(len(line) for line in text.splitlines()) <= 80


# ------------------------------------------------------------------------ demo and replay


def test_replay_passes_its_options_on_and_prints_one_object(replayed, tmp_path):
    path = tmp_path / "run.sqlite"
    done = runner.invoke(
        app,
        ["replay", "one.gz", "two.gz", "--profile", "binance", "--store", str(path), "--speed",
         "20", "--symbols", "ETHUSDT,BTCUSDT", "--headlines", "news.jsonl", "--workers", "2",
         "--quiet", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["signals"] == {"BUY": 1, "SELL": 0, "HOLD": 0}
    assert replayed["inputs"] == (Path("one.gz"), Path("two.gz"))
    assert replayed["headlines"] == (Path("news.jsonl"),)
    assert (replayed["speed"], replayed["workers"], replayed["board"]) == (20.0, 2, None)
    assert replayed["settings"].symbols == ("BTCUSDT", "ETHUSDT")


def test_json_stays_alone_on_standard_output_while_a_view_runs(replayed, tmp_path):
    done = runner.invoke(
        app, ["replay", "x", "--profile", "binance", "--store", str(tmp_path / "s"), "--json"]
    )
    assert json.loads(done.stdout)
    assert replayed["board"] is not None
    assert replayed["speed"] is None


def test_replay_ends_with_a_summary_and_what_to_do_next(replayed, tmp_path):
    done = runner.invoke(
        app, ["replay", "x", "--profile", "binance", "--store", str(tmp_path / "s"), "-q"]
    )
    assert "ticks in" in done.stdout
    assert f"nextgen explain {tmp_path / 's'}" in done.stdout


def test_demo_passes_the_warm_up_fast_and_then_takes_a_headline_of_ones_own(replayed, tmp_path):
    path = tmp_path / "demo.sqlite"
    done = runner.invoke(
        app, ["demo", "--store", str(path), "--headline", "Bitcoin soars", "--quiet", "--json"]
    )
    assert done.exit_code == 0, done.output
    (file,) = replayed["headlines"]
    headline = json.loads(file.read_text())
    assert headline["text"] == "Bitcoin soars"
    assert headline["available_at"] == replayed["fast_until"]
    begin = commands_run.first_receive_time(replayed["inputs"][0])
    assert replayed["fast_until"] - begin == 189 * SECOND
    assert replayed["speed"] == 10.0
    assert replayed["overwrite"]


def test_recording_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "half.gz").write_bytes(b"\x1f\x8b half")
    (tmp_path / "text").write_text("no time here\n")
    for name in ("half.gz", "text", "absent"):
        with pytest.raises(InputError, match=name):
            commands_run.first_receive_time(tmp_path / name)
