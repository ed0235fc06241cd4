"""Runs through Kafka that are killed, halted, stopped and cut in other shards: full length.

`make acceptance` runs it and writes RECOVERY.md beside this file.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

from connectors.kafka.topics import FUSED, LOG
from tests.integration import replays
from tests.integration.replays import MOOD, ROOT, digest, replay
from tests.integration.test_digest import stored
from tests.kafka_watch import Watch
from tests.pipeline import ARCHIVE, INGEST, PORTFOLIO, Pipeline
from tests.recovery_drill import (
    Strike,
    bar_closes,
    drill,
    headlines,
    rescale,
    seeded,
    split,
    whole,
)
from tests.reports import report_of
from tests.servers.kafka import broker
from tests.servers.process import free_port
from tests.support import RECORDING
from tests.tiers import tiers
from tests.wide import wide

REPORT = Path(__file__).parent / "RECOVERY.md"
SEED = 20240808
PROCESSES = (INGEST, "0-3", "4-7", PORTFOLIO, ARCHIVE)
KILLS = 25  # of processes of a run through Kafka
EMBEDDED_KILLS = 5
STOPS = 10
HALT = 60.0  # seconds
SYMBOLS = 8
MINUTES = 12
SPEED = 4  # times real time: three minutes of drill
COUNTS = (1, 2, 4)
SECTIONS = 4


@pytest.fixture(scope="module")
def report():
    """Sections of the report by title, written once all are there."""
    words = (
        f", seed {SEED}. The broker (a Kafka-compatible one that keeps all in memory), the stores "
        "and all processes share the machine."
    )
    with report_of(REPORT, "Recovery", words, SECTIONS) as sections:
        yield sections


@pytest.fixture(scope="module")
def kafka():
    with broker() as started:
        yield started


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a recording of many symbols."""
    return wide(
        tmp_path_factory.mktemp("many") / "wide.ndjson", SYMBOLS, minutes=MINUTES, quotes=False
    )[0]


def table(*rows):
    """Return rows as a table, the first as its head."""
    head, *rest = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *rest])


# ------------------------------------------------------------------------------- kills


def test_thirty_kills_leave_every_store_as_an_undisturbed_run(kafka, many, tmp_path, report):
    news = headlines(tmp_path / "news.jsonl")
    inputs = (many, "--symbols", "all", "--headlines", news)
    with tiers(tmp_path) as stores:
        plain = tmp_path / "plain.sqlite"
        replay(plain, *inputs, profile=stores.profile)
        strikes = seeded(SEED, PROCESSES, KILLS)
        with (
            Pipeline(
                tmp_path / "kafka", kafka, *inputs,
                profile=stores.profile, tiers=stores, speed=SPEED,
            ) as pipeline,
            Watch(pipeline.settings) as watch,
        ):  # fmt: skip
            pipeline.start(*PROCESSES)
            drill(pipeline, watch, strikes, bar_closes(plain))
        assert digest(pipeline.store) == digest(plain)
        whole(watch, plain)
        assert stores.differences(pipeline.store) == {}

        stores.fresh()
        alone = tmp_path / "alone.sqlite"
        replay(plain, *inputs, "--overwrite", profile=stores.profile)
        strikes += embedded(alone, stores, inputs, total=stored(plain))
        assert digest(alone) == digest(plain)
        assert stores.differences(alone) == {}
    assert len(strikes) == KILLS + EMBEDDED_KILLS
    assert sum(strike.repeated > 0 for strike in strikes) * 3 >= len(strikes)
    report["Thirty kills"] = told(strikes, stored(plain), digest(plain))


def embedded(store, stores, inputs, *, total):
    """Kill the engine in one process, with all stores beside SQLite; return what came of it."""
    generator = random.Random(SEED)
    moments = sorted(generator.sample(range(1, total * 8 // 10), EMBEDDED_KILLS))
    line, how = replays.command(
        "replay", *inputs, "--profile", stores.profile, "--store", store, "--quiet",
        "--services", stores.file, **stores.secrets,
    )  # fmt: skip
    strikes = []
    for moment in (*moments, total):
        begun, before = time.monotonic(), stored(store)
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how
        )
        while stored(store) <= before and process.poll() is None:
            time.sleep(0.01)
        if strikes:
            strikes[-1].seconds_to_output = time.monotonic() - begun
        if moment == total:
            assert process.wait(300) == 0
            return strikes
        while stored(store) < moment and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        behind = stored(store) - stores.counts()["postgresql"]
        strikes.append(Strike("embedded", moment / total, repeated=behind))
    raise AssertionError


def seconds_of(strikes):
    """Return the seconds to the next output of those that had not sent everything before."""
    return [each.seconds_to_output for each in strikes if each.seconds_to_output is not None]


def told(strikes, total, of):
    """Say what came of the kills."""
    by_name = defaultdict(list)
    for strike in strikes:
        by_name[strike.process].append(strike)
    lines = [
        (
            name,
            len(own),
            sum(strike.repeated > 0 for strike in own),
            sum(strike.repeated for strike in own),
            f"{median(seconds_of(own)):.1f}",
            f"{max(seconds_of(own)):.1f}",
        )
        for name, own in by_name.items()
    ]
    seconds = seconds_of(strikes)
    hit = sum(strike.repeated > 0 for strike in strikes)
    return (
        f"A replay of {SYMBOLS} symbols and {MINUTES} minutes, {SPEED} times as fast as it was, "
        "into SQLite, PostgreSQL, Redis and VictoriaMetrics; a process is killed (kill -9) at a "
        "seeded moment and begun again, and meanwhile others may be. `embedded` is one process "
        "without Kafka, as fast as it goes.\n\n"
        f"{total:,} signals, digest `{of[:16]}…` in all cases: in SQLite, and row by row in "
        "PostgreSQL (every table) and Redis; numbers in VictoriaMetrics to the twelve digits that "
        "it keeps. None is missing, none there twice. What Kafka holds twice (log, scores, "
        "signals, portfolio, outcomes) is the same to the byte, and in order.\n\n"
        + table(
            (
                "process",
                "kills",
                "of these with output in flight",
                "entries sent again",
                "seconds to the next output p50",
                "max",
            ),
            *lines,
        )
        + f"\n\n{hit} of {len(strikes)} kills hit output that was not acknowledged as done with: "
        "entries behind the last snapshot or cut; for `archive` rows in SQLite that Kafka had not "
        "been told of, for `embedded` signals that PostgreSQL did not have yet. From its new "
        "start to the first output that a process had not given before (`archive`, `portfolio` "
        f"and `embedded`: a signal): p50 {median(seconds):.1f} s, max {max(seconds):.1f} s, "
        "nearly all of it Python's imports, on cores that all processes share."
    )


# --------------------------------------------------------------- orders, and an absent broker


def test_a_broker_away_for_a_minute_and_ten_stops_cost_only_time(kafka, many, tmp_path, report):
    plain = tmp_path / "plain.sqlite"
    replay(plain, many, "--symbols", "all", profile="binance")
    strikes = seeded(SEED, PROCESSES, STOPS, first=0.4, order=signal.SIGTERM)
    with (
        Pipeline(
            tmp_path / "kafka", kafka, many, "--symbols", "all", profile="binance", speed=2 * SPEED
        ) as pipeline,
        Watch(pipeline.settings) as watch,
    ):
        pipeline.start(*PROCESSES)
        watch.until(lambda: watch.entries(FUSED.name) > 200)
        kafka.halt()
        time.sleep(HALT)
        assert all(pipeline.running(name) for name in PROCESSES if name != ARCHIVE)
        kafka.go_on()
        gone_on = time.monotonic()
        before = watch.entries(FUSED.name)
        watch.until(lambda: watch.entries(FUSED.name) > before)
        back = time.monotonic() - gone_on
        assert watch.repeated(FUSED.name) == 0  # nobody had begun again
        drill(pipeline, watch, strikes, bar_closes(plain))
    assert digest(pipeline.store) == digest(plain)
    whole(watch, plain)
    slowest = defaultdict(float)
    for strike in strikes:
        slowest[strike.process] = max(slowest[strike.process], strike.seconds_to_end)
    report["A broker that halts, and SIGTERM"] = (
        f"The broker stood still for {HALT:.0f} s (SIGSTOP), its connections open. No process "
        f"ended; {back:.1f} s after it went on the next scores came, all in order and none "
        f"twice. Then each process was told to end (SIGTERM), {STOPS} in all, and begun again: "
        "each ended with 0. The digest is that of an undisturbed run.\n\n"
        + table(
            ("process", "slowest end, seconds"),
            *((name, f"{seconds:.1f}") for name, seconds in slowest.items()),
        )
    )


# ------------------------------------------------------------------------------- shards


def test_shards_move_and_share_the_work(kafka, tmp_path, report):
    recording, _ = wide(tmp_path / "wide.ndjson", SYMBOLS, minutes=5)
    plain = tmp_path / "plain.sqlite"
    replay(plain, recording, "--symbols", "all", profile="binance")
    given = (recording, "--symbols", "all")
    with (
        Pipeline(tmp_path / "moved", kafka, *given, profile="binance", speed=3) as pipeline,
        Watch(pipeline.settings) as watch,
    ):
        pipeline.start(INGEST, PORTFOLIO, ARCHIVE)
        rescale(pipeline, watch, (*COUNTS, 1))
    assert digest(pipeline.store) == digest(plain)
    whole(watch, plain)

    measured = [rate(kafka, tmp_path / f"rate{count}", given, count) for count in COUNTS]
    entries = measured[0][0]
    report["Shards on 1, 2, 4 and 1 processes"] = (
        "In the middle of a stream the shards' only process is stopped and two take over, then "
        "four, then one again; they keep nothing on local disk. The digest is that of an "
        f"undisturbed run.\n\nHow fast a log of {entries:,} entries ({SYMBOLS} symbols, trades "
        "and quotes, all models) is read, from the first score to the last one; nothing else "
        f"ran, but the broker, which shares the {os.cpu_count()} cores:\n\n"
        + table(
            ("processes", "entries/s", "of one process"),
            *(
                (count, f"{entries / seconds:,.0f}", f"{measured[0][1] / seconds:.2f}")
                for count, (_, seconds) in zip(COUNTS, measured, strict=True)
            ),
        )
    )


def rate(kafka, folder, given, count):
    """Return how many entries a log holds, and how many seconds `count` processes take."""
    with Pipeline(folder, kafka, *given, profile="binance") as pipeline:
        with Watch(pipeline.settings, (LOG.name,)) as watch:
            pipeline.start(INGEST)
            pipeline.wait(INGEST)
            watch.settle(LOG.name)
            entries = watch.entries(LOG.name)
        with Watch(pipeline.settings, (FUSED.name,)) as watch:
            names = split(pipeline.settings.partitions, count)
            pipeline.start(*names)
            pipeline.wait(*names)
            watch.settle(FUSED.name)
    return entries, max(watch.last.values()) - min(watch.first.values())


# ------------------------------------------------------------------------- Bytewax's runner


def test_bytewax_itself_runs_the_flow_with_any_workers(tmp_path, report):
    plain = tmp_path / "plain.sqlite"
    replay(plain, RECORDING, MOOD)
    expected = digest(plain)
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    ways = {
        "plain": [()],
        "-w 2": [("-w", "2")],
        "-i 0 and -i 1": [("-i", "0", "-a", addresses), ("-i", "1", "-a", addresses)],
    }
    for name, processes in ways.items():
        store = tmp_path / f"{name}.sqlite"
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", "flows.signals:flow", *options],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                env=os.environ
                | {
                    "NEXTGEN_PROFILE": "demo",
                    "NEXTGEN_INPUTS": os.pathsep.join(map(str, (RECORDING, MOOD))),
                    "NEXTGEN_STORE": str(store),
                },
            )
            for options in processes
        ]
        for process in running:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
        assert digest(store) == expected
    report["Bytewax's own runner"] = (
        "`python -m bytewax.run flows.signals:flow` over the shipped ten minutes, plain, with two "
        "workers (`-w 2`) and as two processes (`-i`, `-a`): digest "
        f"`{expected[:16]}…`, as that of `nextgen replay`."
    )
