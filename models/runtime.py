"""Trained artefacts as serving sees them: checked against their manifest, run by ONNX Runtime.

Imports neither torch nor transformers. Every refusal says what was expected, what was found
and what to do.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort

from models.features import Floats
from models.inference import Device, Session, open_session
from models.schema import SCHEMA_HASH

# What serving reads of an entry, by kind.
_NEEDED = {
    "forecast": {
        "horizon_bars",
        "skill",
        "ranks",
        "centre",
        "distribution",
        "doubt",
        "hidden",
        "widths",
        "seen",
    },
    "policy": {"skill", "ranks"},
    "sentiment": {"lang", "skill", "labels", "temperature", "offsets", "max_length", "extra_files"},
}

ONNX = Path(__file__).resolve().parent.parent / "onnx"
MANIFEST = "manifest.json"


class ModelError(Exception):
    """An artefact that cannot be trusted or used."""


class ModelMissing(ModelError):
    """An artefact or its manifest entry is not there."""


class ModelHashMismatch(ModelError):
    """A file differs from the one its manifest describes."""


class ModelSchemaMismatch(ModelError):
    """An artefact was trained under another feature contract, interval or kind."""


@dataclass(frozen=True)
class Artefact:
    """A verified model: its manifest entry and where its files are."""

    name: str
    entry: dict[str, Any]
    folder: Path

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / str(self.entry["file"])

    @property
    def identity(self) -> str:
        """Name and content hash, as signals carry it."""
        return f"{self.name}@{str(self.entry['sha256'])[:12]}"

    def session(self, threads: int = 1, device: Device = "cpu") -> Session:
        """Open an inference session, as `models.inference.open_session` does.

        Raises:
            ModelError: ONNX Runtime cannot run the file, or the device is not there.
        """
        try:
            return open_session(self.path, threads=threads, device=device)
        except LookupError as error:
            raise ModelError(str(error)) from error
        except Exception as error:
            raise ModelError(
                f"{self.path.name} is no model that ONNX Runtime {ort.__version__} can run "
                f"({error}); run 'make train' or restore the file"
            ) from error


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path = ONNX) -> dict[str, dict[str, Any]]:
    """Return every model's manifest entry by name.

    Raises:
        ModelMissing: there is no manifest.
        ModelError: it is not readable JSON.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelMissing(f"expected the models' manifest at {path}, found none; run 'make train'")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as error:
        raise ModelError(f"{path} is not a manifest ({error}); restore it") from error
    return manifest


def load(name: str, *, kind: str, interval: int | None = None, folder: Path = ONNX) -> Artefact:
    """Verify the artefact `name` and return it.

    `interval` in ns; pass it for models that read features, whose schema is then checked too.

    Raises:
        ModelMissing, ModelHashMismatch, ModelSchemaMismatch: as their names say.
    """
    manifest = read_manifest(folder)
    entry = manifest.get(name)
    if entry is None:
        known = ", ".join(sorted(manifest)) or "none"
        raise ModelMissing(f"model '{name}' is not in {folder / MANIFEST} (it lists {known})")
    if entry.get("kind") != kind:
        raise ModelSchemaMismatch(
            f"model '{name}': expected a {kind} model, manifest lists {entry.get('kind')}"
        )
    lacking = sorted(({"file", "sha256"} | _NEEDED[kind]) - entry.keys())
    if lacking:
        raise ModelSchemaMismatch(
            f"model '{name}': its manifest entry lacks {', '.join(lacking)}; run 'make train' or "
            "restore the manifest"
        )
    for file, expected in {entry["file"]: entry["sha256"], **entry.get("extra_files", {})}.items():
        path = folder / file
        if not path.is_file():
            raise ModelMissing(f"model '{name}': {path} is absent; run 'make train' or restore it")
        found = sha256_of(path)
        if found != expected:
            raise ModelHashMismatch(
                f"model '{name}': {path.name} should have SHA-256 {expected[:12]}…, found "
                f"{found[:12]}…; restore the file or run 'make train'"
            )
    if interval is not None:
        _check_contract(name, entry, interval)
    return Artefact(name, entry, folder)


def _check_contract(name: str, entry: dict[str, Any], interval: int) -> None:
    if entry.get("schema_hash") != SCHEMA_HASH:
        raise ModelSchemaMismatch(
            f"model '{name}': expected feature schema {SCHEMA_HASH}, manifest lists "
            f"{entry.get('schema_hash')}; run 'make train'"
        )
    if entry.get("interval_ns") != interval:
        raise ModelSchemaMismatch(
            f"model '{name}': expected bars of {interval} ns, manifest lists "
            f"{entry.get('interval_ns')}; choose the model for this interval in the profile"
        )


def rank(magnitudes: Floats, quantiles: list[float]) -> Floats:
    """Return where each magnitude stands among the model's validation outputs, in [0, 1].

    `quantiles` are those outputs' magnitudes at evenly spaced probabilities, ascending.

    >>> rank(np.array([0.0, 1.5, 9.0]), [0.0, 1.0, 2.0]).tolist()
    [0.0, 0.75, 1.0]
    """
    return np.interp(magnitudes, quantiles, np.linspace(0.0, 1.0, len(quantiles)))
