"""Fine-tune the encoder of a language on its labelled texts, choose, export.

    python -m models.finbert.train --lang en --data DIR --out onnx

Every choice (epoch, weights or their running mean, calibration) is made on the validation rows; no
choice is made on the test rows, which the export measures.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.finbert.data import LABELS, Row
from models.finbert.evaluation import accuracy, macro_f1
from models.finbert.export import export_checkpoint
from models.finbert.network import PAD, Pretrained, SentimentNetwork, to_save
from models.finbert.recipes import RECIPES, Corpus, Recipe, corpus, pretrained
from models.finbert.scorer import token_ids

CHECKPOINTS = Path("build")
MEAN_KEEPS = 0.998  # of the running mean of the weights, a step

Encoded = list[tuple[list[int], int]]
Weights = dict[str, Tensor]


def encode(tokenizer: Tokenizer, rows: list[Row]) -> Encoded:
    """Turn rows into token ids and labels, as the scorer reads them."""
    return [(token_ids(tokenizer, row.text, row.about), row.label) for row in rows]


def collate(batch: Encoded) -> tuple[Tensor, Tensor, Tensor]:
    """Pad a batch: ids and mask (batch, tokens), labels (batch,)."""
    lengths = torch.tensor([len(ids) for ids, _ in batch])
    width = int(lengths.max())
    input_ids = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in batch])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return input_ids, mask, torch.tensor([label for _, label in batch])


def buckets(rows: Encoded, size: int, rng: random.Random) -> Iterator[Encoded]:
    """Yield shuffled batches whose rows are of like length, so that little is padding."""
    order = list(rows)
    rng.shuffle(order)
    pools = [
        sorted(order[i : i + 40 * size], key=lambda row: len(row[0]))
        for i in range(0, len(order), 40 * size)
    ]
    batches = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
    rng.shuffle(batches)
    yield from batches


@torch.inference_mode()
def logits_of(network: SentimentNetwork, rows: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (rows, 3) and labels (rows,)."""
    network.eval()
    ordered = sorted(rows, key=lambda row: len(row[0]))
    logits = []
    for i in range(0, len(ordered), 64):
        input_ids, mask, _ = collate(ordered[i : i + 64])
        with torch.autocast("cpu", torch.bfloat16):
            logits.append(network(input_ids, mask).float().numpy())
    return np.concatenate(logits), np.array([label for _, label in ordered])


def validate(network: SentimentNetwork, sets: dict[str, Encoded]) -> tuple[float, str]:
    """Return the score that choices are made by (the mean of accuracy and macro-F1 over sets)."""
    scores, words = [], []
    for name, rows in sets.items():
        logits, labels = logits_of(network, rows)
        predicted = logits.argmax(1)
        share, f1 = accuracy(labels, predicted), macro_f1(labels, predicted)
        scores += [share, f1]
        words.append(f"{name} accuracy {share:.4f} macro-F1 {f1:.4f}")
    return float(np.mean(scores)), "; ".join(words)


def groups(network: SentimentNetwork, recipe: Recipe) -> list[dict[str, Any]]:
    """Return a group for each weight: lower layers learn slower, biases and norms do not decay."""
    depth = network.encoder.config.num_hidden_layers
    found = []
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        layer = name.partition(".layer.")[2].partition(".")[0]
        below = depth - int(layer) if layer else 0 if name.startswith("head.") else depth + 1
        found.append(
            {
                "params": [weight],
                "lr": recipe.rate * recipe.layer_decay**below,
                "weight_decay": recipe.weight_decay if weight.ndim > 1 else 0.0,
            }
        )
    return found


def fit(made: Pretrained, sets: Corpus, recipe: Recipe) -> tuple[float, Weights]:
    """Train; return the best validation score and the weights that gave it."""
    network, tokenizer = made
    validation = {each.name: encode(tokenizer, each.validation) for each in sets.measured}
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)  # noqa: S311 - the order of rows, no secret
    train = encode(tokenizer, sets.rows(rng, 0))

    counts = torch.bincount(torch.tensor([label for _, label in train]), minlength=len(LABELS))
    class_weights = (len(train) / (len(LABELS) * counts)) ** recipe.class_weight_power
    loss_of = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=recipe.smoothing)
    optimiser = torch.optim.AdamW(groups(network, recipe), fused=True)
    steps = recipe.epochs * -(-len(train) // recipe.batch)
    warm = max(1, int(recipe.warm_up * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda done: min((done + 1) / warm, max(0.0, (steps - done) / (steps - warm)))
    )
    # The mean of the last weights is often steadier than each of them (Izmailov et al., 2018).
    running = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(MEAN_KEEPS)
    )

    best: tuple[float, Weights] = (-1.0, {})
    for epoch in range(recipe.epochs):
        rows = encode(tokenizer, sets.rows(rng, epoch)) if epoch else train
        network.train()
        began, total, seen = time.monotonic(), 0.0, 0
        for batch in buckets(rows, recipe.batch, rng):
            input_ids, mask, labels = collate(batch)
            # bfloat16 halves the time on CPUs that have it; weights and optimiser stay fp32.
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(input_ids, mask)
            loss = loss_of(logits.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            running.update_parameters(network)
            total, seen = total + loss.item() * len(batch), seen + len(batch)
        seconds = time.monotonic() - began
        print(f"epoch {epoch + 1} loss {total / seen:.4f} {seconds:.0f} s", flush=True)
        for name, one in (("weights", network), ("their mean", running.module)):
            score, words = validate(one, validation)
            print(f"  {name}: score {score:.4f} ({words})", flush=True)
            if score > best[0]:
                best = score, {key: value.clone() for key, value in one.state_dict().items()}
    return best


def main() -> None:
    """Train, choose, save the checkpoint and export it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lang", choices=sorted(RECIPES), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds sentiment/")
    parser.add_argument("--out", type=Path, default=Path("onnx"), help="where the artefact goes")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="torch, not shipped")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    recipe = RECIPES[arguments.lang]
    sets = corpus(arguments.lang, arguments.data)
    torch.manual_seed(recipe.seed)
    made = pretrained(recipe, sets)
    made.tokenizer.no_padding()
    made.tokenizer.enable_truncation(recipe.max_length)
    score, weights = fit(made, sets, recipe)

    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.checkpoints / f"sentiment_{recipe.lang}.pt"
    chosen = {**asdict(recipe), "validation_score": round(score, 4)}
    torch.save({**to_save(made, weights), "recipe": chosen}, checkpoint)
    entry = export_checkpoint(checkpoint, arguments.data, arguments.out)
    print(json.dumps(entry["metrics"], indent=2))


if __name__ == "__main__":
    main()
