"""How fast the models answer: each at batches of 1, 50 and 500, all three together, and the start.

`python -m tests.benchmarks.models` (make bench); run it while nothing else does. Latencies of one
thread a session, as serving opens them.
"""

import os
import platform
import subprocess
import sys
import time

import numpy as np
import psutil

from flows.models import load_models
from flows.settings import load_profile
from models.finbert.evaluation import read_csv
from models.runtime import ONNX
from models.schema import FEATURES, WINDOW
from tests.integration.replays import ROOT

BATCHES = (1, 50, 500)
SECONDS = 3.0  # for each line
SYMBOLS = 50
START = """
import time
begun = time.perf_counter()
from flows.models import load_models
from flows.settings import load_profile
load_models(load_profile("demo"))  # runs each model once
print(time.perf_counter() - begun)
"""


def main():
    """Print all figures as Markdown."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| model | batch | p50 ms | p99 ms | file, MB |\n|---|---|---|---|---|")
    for profile in ("demo", "equities"):
        models = load_models(load_profile(profile))
        forecaster, actor = models.forecaster, models.actor
        for rows in BATCHES:
            features, volatility, ready = batch(rows)
            nothing = np.zeros(rows, np.int64)
            line(forecaster.identity, rows, forecaster.predict, features, volatility, ready)
            line(actor.artefact.identity, rows, actor.act, features, nothing, nothing, ready)
    texts = {
        lang: [row.text for row in read_csv(ROOT / "models/finbert" / name)]
        for lang, name in (("en", "reference.csv"), ("ja", "reference_ja.csv"))
    }
    for lang, scorer in models.readers.scorers.items():
        unseen = numbered(texts[lang])
        line(scorer.identity, 1, lambda score=scorer.score, texts=unseen: score(next(texts)))
    print()

    features, volatility, ready = batch(SYMBOLS)
    nothing = np.zeros(SYMBOLS, np.int64)
    unseen = numbered(texts["en"])

    def all_three():
        models.forecaster.predict(features, volatility, ready)
        models.actor.act(features, nothing, nothing, ready)
        models.read(next(unseen), "en", "")

    p50, p99 = quantiles(all_three)
    memory = psutil.Process().memory_info().rss / 1e6
    print(
        f"All three for {SYMBOLS} symbols, one after the other, with a headline: p50 {p50:.1f}, "
        f"p99 {p99:.1f} ms; memory of this process {memory:,.0f} MB.\n"
    )
    began = [start() for _ in range(5)]
    print(
        "From the first import to all models loaded, verified and run once: "
        f"{np.median(began):.2f} s (median of {len(began)}, most {max(began):.2f})."
    )


def batch(rows):
    """Return features, volatilities and flags of made-up rows; the time is that of real ones."""
    features = np.random.default_rng(0).normal(size=(rows, WINDOW, len(FEATURES)))
    return features.astype(np.float32), np.full(rows, 1e-4), np.ones(rows, bool)


def numbered(texts):
    """Yield texts without end, none of them twice, so that no memory answers."""
    count = 0
    while True:
        yield f"{texts[count % len(texts)]} {count}"
        count += 1


def quantiles(run, *given):
    """Return how long `run` takes, p50 and p99 in ms."""
    for _ in range(5):
        run(*given)
    took = []
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end or len(took) < 20:
        run(*given)
        took.append((time.perf_counter() - begun) * 1e3)
    return np.quantile(took, [0.5, 0.99])


def line(identity, rows, run, *given):
    """Print one line of the table."""
    p50, p99 = quantiles(run, *given)
    name = identity.partition("@")[0]
    size = (ONNX / f"{name}.onnx").stat().st_size / 1e6
    print(f"| {name} | {rows} | {p50:.2f} | {p99:.2f} | {size:.1f} |", flush=True)


def start():
    """Return the seconds that a fresh process takes until its models have answered once."""
    said = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(said.stdout)


if __name__ == "__main__":
    main()
