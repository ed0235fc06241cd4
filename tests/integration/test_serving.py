"""What serving needs, and what it must not: torch and transformers belong to training."""

import subprocess
import sys

from tests.integration.replays import MOOD, ROOT

SERVE = """
import sys
from pathlib import Path
from flows.engine import run_replay
from flows.explain import explain
from flows.settings import load_profile
from connectors.sinks.store import open_store
recording, mood, store = map(Path, sys.argv[1:])
run_replay(load_profile("demo"), [recording, mood], store)
opened = open_store(store, readonly=True)
(signal_id,) = opened.execute("SELECT signal_id FROM signals LIMIT 1").fetchone()
assert explain(opened, signal_id).difference is None
heavy = {"torch", "transformers", "sklearn", "stable_baselines3", "onnx"} & set(sys.modules)
print("imported:", sorted(heavy))
"""


def test_serving_imports_neither_torch_nor_transformers(short, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(short), str(MOOD), str(tmp_path / "s.sqlite")],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "imported: []"


def test_core_dependencies_hold_no_torch():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if "torch" in name]
    assert [name for name in project["optional-dependencies"]["train"] if "torch" in name]
