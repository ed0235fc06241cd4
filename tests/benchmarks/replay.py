"""How fast the engine runs: raw lines to bars, whole replays, and each stage's p50 and p99.

`python -m tests.benchmarks.replay` (make bench); run it while nothing else does. Figures hold
for the machine they were made on, ratios travel better.
"""

import os
import platform
import tempfile
import time
from contextlib import closing
from pathlib import Path

from connectors.sinks.store import open_store
from connectors.sources.replay import ReplayInputs, iterate
from flows.engine import run_replay
from flows.settings import load_profile
from flows.summary import summarise
from operators.indicators import Indicators
from operators.messages import Gap, Rejection, Tally
from operators.normalise import normalise
from tests.chain import makers
from tests.support import DATA, EQKER, RECORDING

BATCH = 1000


def main():
    """Print all figures as Markdown."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    rows_to_features()
    for name, profile, paths in (
        ("Binance, ten minutes", "demo", [RECORDING, DATA / "mood/fear_greed_2024-08.csv"]),
        ("24 US symbols, five sessions", "equities", [EQKER]),
    ):
        whole_replay(name, profile, paths)


def rows_to_features():
    """Time raw JSON through decoding, clocks, quality, bars and indicators, without Bytewax."""
    settings = load_profile("demo")
    log = list(iterate(ReplayInputs([RECORDING])))
    make = makers(settings, None)
    clocks = make["clocks"]()
    stages = {
        symbol: [make["quality"](), make["bars"](), Indicators()]
        for symbol in ("", *settings.symbols)
    }
    begin = time.perf_counter()
    for first in range(0, len(log), BATCH):
        for message in normalise(log[first : first + BATCH], settings.clock.receive_offset_ns):
            for symbol, routed in clocks.on(message):
                quality, bars, indicators = stages[symbol]
                for checked in quality.on(routed):
                    for bar in bars.on(checked):
                        if not isinstance(bar, Rejection | Gap | Tally):
                            indicators.on(bar)
    seconds = time.perf_counter() - begin
    print(f"raw JSON to features, one process: {len(log) / seconds:,.0f} messages/s\n")


def whole_replay(name, profile, paths):
    """Time a whole replay into a store."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run.sqlite"
        run_replay(load_profile(profile), paths, store)
        with closing(open_store(store, readonly=True)) as opened:
            summary = summarise(opened)
    seconds, ticks = summary["seconds"], summary["ticks_in"]
    signals = sum(summary["signals"].values())
    print(f"**{name}**: {ticks:,} in, {signals:,} signals, {seconds:.1f} s "
          f"({ticks / seconds:,.0f}/s)\n")  # fmt: skip
    print("| stage | p50 ms | p99 ms |\n|---|---|---|")
    for stage, times in summary["stages"].items():
        print(f"| {stage} | {times['p50_ms']:.3f} | {times['p99_ms']:.3f} |")
    print()


if __name__ == "__main__":
    main()
