"""The same log, the same decisions: at any speed, with any workers, over any interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import onnx
import pytest

from models.exporting import write_entry
from models.runtime import ONNX, read_manifest
from tests.integration import replays
from tests.integration.replays import MOOD, ROOT, decisions, digest, nextgen, replay, rows


def test_short_replay_decides_and_does_not_only_hold(reference):
    _, summary, _ = reference
    signals = summary["signals"]
    assert signals["BUY"] + signals["SELL"] >= 4
    assert sum(signals.values()) > 100


def test_twenty_times_real_speed_gives_the_same_digest(short, reference, tmp_path):
    store = tmp_path / "run.sqlite"
    replay(store, short, MOOD, "--speed", "20")
    assert digest(store) == reference[2]


def test_two_workers_give_the_same_digest(short, reference, tmp_path):
    store = tmp_path / "run.sqlite"
    summary = replay(store, short, MOOD, "--workers", "2")
    assert digest(store) == reference[2]
    for part in ("ticks_in", "accepted", "rejected", "bars", "signals"):
        assert summary[part] == reference[1][part]


def test_byteway_runner_gives_the_same_digest(short, reference, tmp_path):
    store = tmp_path / "run.sqlite"
    subprocess.run(
        [sys.executable, "-m", "bytewax.run", "flows.signals:flow", "-w", "2"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        env=os.environ
        | {
            "NEXTGEN_PROFILE": "demo",
            "NEXTGEN_INPUTS": os.pathsep.join(map(str, (short, MOOD))),
            "NEXTGEN_STORE": str(store),
        },
    )
    assert digest(store) == reference[2]


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("signals", [1, 60])
def test_run_that_is_ended_and_resumed_gives_the_same_digest(
    short, reference, tmp_path, order, signals
):
    store = tmp_path / "run.sqlite"
    # Twenty times real speed leaves seconds between the first signal and the end.
    arguments = ("replay", short, MOOD, "--profile", "demo", "--store", store, "--quiet")
    line, options = replays.command(*arguments, "--speed", "20")
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    while stored(store) < signals:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(order)
    _, errors = process.communicate()
    assert process.returncode == (0 if order is signal.SIGTERM else -order), errors
    before = stored(store)
    assert before < stored(reference[0])

    summary = replay(store, short, MOOD)
    assert digest(store) == reference[2]
    for part in ("ticks_in", "accepted", "rejected", "late", "bars", "signals"):
        assert summary[part] == reference[1][part]


def stored(store):
    """Return how many signals stand in a store that may not be there yet."""
    if not store.is_file():
        return 0
    try:
        return rows(store, "SELECT count(*) FROM signals")[0][0]
    except Exception:  # noqa: BLE001 - the tables are just being made
        return 0


def changed(short, tmp_path, edit):
    """Return the path of the short recording with one line edited."""
    lines = replays.recorded(replays.SHORT)
    place = next(
        i for i in range(60_000, len(lines)) if b'"e":"trade"' in lines[i] and b"ETH" in lines[i]
    )
    lines[place] = edit(lines[place])
    return replays.write(tmp_path / short.name, lines)


def test_one_tick_changes_the_digest(short, reference, tmp_path):
    def edit(line):
        head, tail = line.split(b'"q":"', 1)
        return head + b'"q":"7' + tail  # a larger trade

    store = tmp_path / "run.sqlite"
    replay(store, changed(short, tmp_path, edit), MOOD)
    assert digest(store) != reference[2]
    assert decisions(store) != decisions(reference[0])


def test_one_headline_changes_the_digest(short, reference, tmp_path):
    middle = rows(reference[0], "SELECT ts_close FROM signals ORDER BY ts_close LIMIT 1 OFFSET 50")
    news = tmp_path / "news.jsonl"
    news.write_text(
        json.dumps(
            {
                "text": "Bitcoin crashes as exchange is hacked",
                "available_at": middle[0][0],
                "symbols": ["BTC"],
            }
        )
    )
    store = tmp_path / "run.sqlite"
    replay(store, short, MOOD, "--headlines", news)
    assert digest(store) != reference[2]
    # Not before it could be known: the recorder's clock ran 1.27 s behind the exchange's.
    ours, theirs = decisions(store), decisions(reference[0])
    first = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    assert ours[first][1] >= middle[0][0]


def test_one_limit_changes_the_digest(short, reference, tmp_path):
    profile = tmp_path / "tight.toml"
    text = (ROOT / "flows/profiles/demo.toml").read_text()
    profile.write_text(text.replace("[risk]", "[risk]\nposition_limit = 0.01"))
    store = tmp_path / "run.sqlite"
    replay(store, short, MOOD, profile=profile)
    assert digest(store) != reference[2]
    assert decisions(store) != decisions(reference[0])


@pytest.mark.parametrize("name", ["forecast_1s", "policy_1s", "sentiment_en"])
def test_one_weight_of_any_model_changes_the_digest(short, reference, tmp_path, name):
    folder = tmp_path / "onnx"
    folder.mkdir()
    for path in ONNX.iterdir():
        (folder / path.name).symlink_to(path)
    entry = dict(read_manifest()[name])
    model = onnx.load(ONNX / entry["file"])
    nudge(model)
    (folder / entry["file"]).unlink()
    onnx.save(model, folder / entry["file"])
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_bytes((ONNX / "manifest.json").read_bytes())
    write_entry(folder, name, entry)
    news = tmp_path / "news.jsonl"
    news.write_text('{"text": "Bitcoin soars", "available_at": 1723161255000000000}')
    plain, nudged = tmp_path / "plain.sqlite", tmp_path / "nudged.sqlite"
    replay(plain, short, news)
    replay(nudged, short, news, NEXTGEN_MODELS=str(folder))
    assert digest(plain) != digest(nudged)
    assert decisions(plain) != decisions(nudged)


def nudge(model):
    """Change one weight of the last matrix that is large enough to be one."""
    import numpy as np
    from onnx import numpy_helper

    def floats(tensor):
        return numpy_helper.to_array(tensor).dtype == np.float32

    weights = [t for t in model.graph.initializer if floats(t) and len(t.dims) >= 1]
    last = max(weights, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(last).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= 1.5
    last.CopyFrom(numpy_helper.from_array(values, last.name))


def test_changed_store_is_refused_for_another_run(short, reference, tmp_path):
    store = tmp_path / "run.sqlite"
    store.write_bytes(reference[0].read_bytes())
    error = nextgen("replay", short, "--profile", "demo", "--store", store, "--quiet", code=2)
    assert "holds a run of other inputs" in error
