"""A full replay, killed again and again at seeded moments: the digest is the undisturbed one.

`make acceptance` runs it and writes REPORT.md beside this file.
"""

import platform
import random
import signal
import subprocess
import time
from pathlib import Path

from tests.integration import replays
from tests.integration.replays import MOOD, digest, replay
from tests.integration.test_digest import stored
from tests.support import EQKER, RECORDING

REPORT = Path(__file__).parent / "REPORT.md"
KILLS = 20
SEED = 20240808


def interrupted(store, *inputs, profile, kills, total, seed):
    """Replay into `store`, ending the process at seeded counts of signals; return the ends."""
    generator = random.Random(seed)
    moments = sorted(generator.sample(range(1, total * 9 // 10), kills))
    ends = []
    for moment in moments:
        order = generator.choice((signal.SIGKILL, signal.SIGTERM))
        line, options = replays.command(
            "replay", *inputs, "--profile", profile, "--store", store, "--quiet"
        )
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
        )
        begin = time.monotonic()
        while stored(store) < moment and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(order)
        _, errors = process.communicate()
        assert process.returncode in {0, -order}, errors
        ends.append((moment, order.name, stored(store), time.monotonic() - begin))
    replay(store, *inputs, profile=profile)
    return ends


def test_full_replays_survive_twenty_interruptions(tmp_path):
    lines = [
        "# Interruptions\n",
        f"`make acceptance` on {platform.machine()}, Python {platform.python_version()}, "
        f"seed {SEED}. Each line is one process: it was sent the signal once the store held so "
        "many signals, and the next one resumed.\n",
    ]
    for name, profile, inputs in (
        ("Binance, ten minutes", "demo", (RECORDING, MOOD)),
        ("24 US symbols, five sessions", "equities", (EQKER,)),
    ):
        whole, broken = tmp_path / f"{profile}.sqlite", tmp_path / f"{profile}-broken.sqlite"
        replay(whole, *inputs, profile=profile)
        expected, total = digest(whole), stored(whole)
        ends = interrupted(broken, *inputs, profile=profile, kills=KILLS, total=total, seed=SEED)
        assert digest(broken) == expected
        lines.append(f"## {name}\n\n{total:,} signals, digest `{expected[:16]}…` both ways.\n")
        lines.append("| sent at | signal | stored | seconds |\n|---|---|---|---|")
        lines.extend(f"| {at} | {order} | {held} | {s:.1f} |" for at, order, held, s in ends)
        lines.append("")
    REPORT.write_text("\n".join(lines))
