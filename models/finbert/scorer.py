"""Score one headline with the exported model: ONNX Runtime and tokenizers, no torch."""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self, cast

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.finbert.text import clean

REMEMBERED_TEXTS = 4_096  # Syndicated headlines come again within minutes; about 1 MB.


class ArtefactMismatch(ValueError):
    """A file of the model is not the one its manifest entry names."""


class Sentiment(msgspec.Struct, frozen=True, gc=False):
    """The calibrated probabilities that a headline is bad, good or neither for whom it is about."""

    negative: float
    positive: float
    neutral: float

    @property
    def value(self) -> float:
        """Return positive minus negative, in [-1, 1]."""
        return self.positive - self.negative


# What a text without a single word says: nothing.
SILENT = Sentiment(negative=0.0, positive=0.0, neutral=1.0)


class Scorer:
    """Score texts one by one; the same text always gets the same answer.

    One text a call: dynamic int8 scales activations by the whole batch, so a text's score would
    depend on its neighbours. Any `str` gets an answer; a text without any word gets `SILENT`. The
    answer to a text in another language than `lang` means nothing: `models.finbert.readers` asks
    the right model.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tokenizer: Tokenizer,
        entry: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.entry = entry
        self.lang = str(entry["lang"])
        self.identity = f"{entry['name']}@{entry['sha256'][:12]}"
        self._folder = folder
        self._session = session
        self._tokenizer = tokenizer
        self._temperature = float(entry["temperature"])
        self._offsets = np.array(entry["offsets"], dtype=np.float64)  # (3,)
        self._remembered = lru_cache(maxsize=REMEMBERED_TEXTS)(self._score)

    @classmethod
    def load(cls, entry: Mapping[str, Any], folder: Path) -> Self:
        """Load the model of a manifest `entry` from `folder`, refusing files with another hash."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = _checked(folder, entry["file"], entry["sha256"])
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = _only(entry, ".tokenizer.json")
        tokenizer = Tokenizer.from_str(_checked(folder, name, entry["extra_files"][name]).decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(int(entry["max_length"]))
        return cls(session, tokenizer, entry, folder)

    def score(self, text: str, about: str = "") -> Sentiment:
        """Return the sentiment of one text: as a whole, or for the one it is asked `about`."""
        return self._remembered(clean(text), clean(about))

    def logits(self, text: str, about: str = "") -> NDArray[np.float32]:
        """Return the three logits of one text before calibration, in the label order."""
        ids = np.array([token_ids(self._tokenizer, text, about)], dtype=np.int64)  # (1, tokens)
        (logits,) = self._session.run(None, {"input_ids": ids})
        return cast("NDArray[np.float32]", logits[0])

    @cached_property
    def seen(self) -> frozenset[str]:
        """Return the digests of the texts that the model was fitted or tuned on."""
        name = _only(self.entry, ".seen.txt.gz")
        packed = _checked(self._folder, name, self.entry["extra_files"][name])
        return frozenset(gzip.decompress(packed).decode().split())

    def _score(self, cleaned: str, about: str) -> Sentiment:
        if not any(character.isalnum() for character in cleaned):
            return SILENT
        logits = self.logits(cleaned, about).astype(np.float64)
        probabilities = softmax(logits / self._temperature + self._offsets)
        return Sentiment(**dict(zip(self.entry["labels"], probabilities.tolist(), strict=True)))


def token_ids(tokenizer: Tokenizer, text: str, about: str = "") -> list[int]:
    """Return the tokens of a text, and behind them those of whom it is asked about."""
    asked = clean(about)
    ids: list[int] = (
        tokenizer.encode(clean(text), asked) if asked else tokenizer.encode(clean(text))
    ).ids
    return ids


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _only(entry: Mapping[str, Any], ending: str) -> str:
    names: list[str] = [name for name in entry["extra_files"] if name.endswith(ending)]
    if len(names) != 1:
        raise ArtefactMismatch(
            f"expected one *{ending} in extra_files of {entry['name']}, found {names}; "
            "export the model again"
        )
    return names[0]


def _checked(folder: Path, name: str, sha256: str) -> bytes:
    content = (folder / name).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ArtefactMismatch(
            f"expected {name} with sha256 {sha256[:12]}..., found {found[:12]}...; "
            "export the model again"
        )
    return content
