"""Write a trained artefact's manifest entry; nothing enters `onnx/` by another way."""

import fcntl
import json
from pathlib import Path
from typing import Any

from models.runtime import MANIFEST, sha256_of


def write_entry(folder: Path, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Put `entry` under `name` into the manifest, with the SHA-256 of its files as they are.

    `entry` names `file` and may list `extra_files`, by name; both are hashed here. Keys are
    sorted and floats rounded to nine digits, so that equal results give an equal file. Returns
    the entry as it was written.
    """
    full = dict(entry)
    full["sha256"] = sha256_of(folder / entry["file"])
    full["extra_files"] = {
        file: sha256_of(folder / file) for file in sorted(entry.get("extra_files", ()))
    }
    path = folder / MANIFEST
    with (folder / f".{MANIFEST}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        manifest = json.loads(path.read_text()) if path.is_file() else {}
        manifest[name] = _rounded(full)
        fresh = path.with_suffix(".fresh")
        fresh.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        fresh.replace(path)
    return dict(manifest[name])


def strip_traces(path: Path) -> None:
    """Remove what the exporter notes beside the graph: stack traces with paths of this machine."""
    import onnx  # noqa: PLC0415 - of the train extra

    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
    onnx.save(model, path)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
