"""The classifier: a pretrained encoder, the mean over its tokens, one linear layer."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, PreTrainedModel

from models.finbert.data import LABELS
from models.finbert.e5 import Packed
from models.finbert.weights import e5_file, mpnet_folder

PAD = 1  # the id of padding in both vocabularies
_SPECIAL = 4
# What Japanese is written with, Latin words and signs included.
_WRITTEN = re.compile(
    r"[▁\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef!-~\u2010-\u2026"
    r"\u2190-\u21ff\u25a0-\u25ff\u2103\uffe5\u20ac\u00a3]+"
)
_JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


class SentimentNetwork(nn.Module):
    """Map token ids to three logits, in the order of `LABELS`."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.config.hidden_size, len(LABELS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (batch, 3) of `input_ids` (batch, tokens), padding masked by zeros."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (batch, tokens, 1)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)  # (batch, hidden)
        return cast("Tensor", self.head(self.dropout(mean)))


class Pretrained(NamedTuple):
    """An encoder with what reads text for it."""

    network: SentimentNetwork
    tokenizer: Tokenizer


def english(layers: int) -> Pretrained:
    """Return MPNet-base (Song et al., 2020), the lowest `layers` of its twelve, with a fresh head.

    The top layers serve the pretraining's own task most: without them an encoder fine-tunes
    nearly as well (Sajjad et al., "On the effect of dropping layers", 2023), in half the time.
    """
    folder = mpnet_folder()
    encoder = MPNetModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager"
    )
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
    encoder.embeddings.word_embeddings.weight.requires_grad_(requires_grad=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Pretrained(SentimentNetwork(encoder), tokenizer)


def japanese(texts: Iterable[str]) -> Pretrained:
    """Return multilingual-e5-small with the pieces that Japanese and `texts` need, and a head."""
    packed = Packed(e5_file())
    every = packed.tokenizer(range(len(packed.pieces)))
    used = Counter(piece for text in texts for piece in every.encode(text).ids)
    kept = [
        number
        for number, (piece, _) in enumerate(packed.pieces)
        if number < _SPECIAL or (_WRITTEN.fullmatch(piece) and _needed(piece, used[number]))
    ]
    return Pretrained(SentimentNetwork(packed.encoder(kept)), packed.tokenizer(kept))


def _needed(piece: str, count: int) -> bool:
    """Say whether a piece is Japanese, is used, or is a single character."""
    return bool(_JAPANESE.search(piece) or count or len(piece.strip("▁")) <= 1)


def restored(saved: dict[str, Any]) -> Pretrained:
    """Return the network that `train.py` saved, ready to infer, and its tokenizer."""
    kinds = {"mpnet": (MPNetConfig, MPNetModel), "bert": (BertConfig, BertModel)}
    config_of, model_of = kinds[saved["config"]["model_type"]]
    config = config_of.from_dict({**saved["config"], "attn_implementation": "eager"})
    network = SentimentNetwork(model_of(config, add_pooling_layer=False))
    network.load_state_dict(saved["weights"])
    return Pretrained(network.eval(), Tokenizer.from_str(saved["tokenizer"]))


def to_save(made: Pretrained, weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return what `restored` needs."""
    return {
        "config": made.network.encoder.config.to_dict(),
        "tokenizer": made.tokenizer.to_str(),
        "weights": {name: weight.to(torch.float32) for name, weight in weights.items()},
    }
