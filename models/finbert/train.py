"""Fine-tune MiniLM-L6 on two sets of financial headlines, choose, export.

    python -m models.finbert.train --data DIR --out onnx

Two passes: one to learn, and a gentler one that weighs the rarer classes more and starts from
what validated best. Every choice (epoch, pass or mean of passes, temperature) is made on the
validation rows; no choice is made on the test rows, which the export measures.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.finbert.data import LABELS, Row, read_sentfin, read_twitter
from models.finbert.evaluation import accuracy, macro_f1
from models.finbert.export import CHECKPOINT, MAX_LENGTH, export_checkpoint
from models.finbert.network import SentimentNetwork, encoder_folder, pretrained
from models.finbert.text import clean

HEAD_SEED = 0
BATCH = 32
WARM_UP = 0.06
WEIGHT_DECAY = 0.01
LABEL_SMOOTHING = 0.05


class Pass(NamedTuple):
    """One training run over the rows."""

    seed: int
    epochs: int
    learning_rate: float
    # Rarer classes weigh (1 / share) to this power: macro-F1 gains where accuracy hardly pays.
    class_weight_power: float


PASSES = (
    Pass(seed=1, epochs=3, learning_rate=1e-4, class_weight_power=0.3),
    Pass(seed=2, epochs=2, learning_rate=4e-5, class_weight_power=0.5),
)

Encoded = list[tuple[list[int], int]]
Weights = dict[str, Tensor]


def encode(rows: list[Row]) -> Encoded:
    """Turn texts into token ids, cut at `MAX_LENGTH`."""
    tokenizer = Tokenizer.from_file(str(encoder_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    encodings = tokenizer.encode_batch([clean(text) for text, _ in rows])
    return [(encoding.ids, label) for encoding, (_, label) in zip(encodings, rows, strict=True)]


def collate(batch: Encoded) -> tuple[Tensor, Tensor, Tensor]:
    """Pad a batch: ids and mask (batch, tokens), labels (batch,)."""
    width = max(len(ids) for ids, _ in batch)
    input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
    return input_ids, (input_ids != 0).long(), torch.tensor([label for _, label in batch])


def buckets(rows: Encoded, rng: random.Random) -> Iterator[Encoded]:
    """Yield shuffled batches whose rows are of like length, so that little is padding."""
    order = list(rows)
    rng.shuffle(order)
    pools = [
        sorted(order[i : i + 40 * BATCH], key=lambda row: len(row[0]))
        for i in range(0, len(order), 40 * BATCH)
    ]
    batches = [pool[i : i + BATCH] for pool in pools for i in range(0, len(pool), BATCH)]
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


def fit(
    step: Pass, start: Weights | None, train: Encoded, sets: dict[str, Encoded]
) -> tuple[float, Weights]:
    """Train one pass; return its best validation score and the weights that gave it."""
    torch.manual_seed(HEAD_SEED)
    network = pretrained()
    if start:
        network.load_state_dict(start)
    torch.manual_seed(step.seed)
    rng = random.Random(step.seed)  # noqa: S311 - the order of rows, no secret

    counts = torch.bincount(torch.tensor([label for _, label in train]), minlength=len(LABELS))
    class_weights = (len(train) / (len(LABELS) * counts)) ** step.class_weight_power
    loss_of = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=LABEL_SMOOTHING)

    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=step.learning_rate, fused=True)
    steps = step.epochs * -(-len(train) // BATCH)
    warm = max(1, int(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda done: min((done + 1) / warm, max(0.0, (steps - done) / (steps - warm)))
    )

    best: tuple[float, Weights] = (-1.0, {})
    for epoch in range(1, step.epochs + 1):
        network.train()
        began, total, seen = time.monotonic(), 0.0, 0
        for batch in buckets(train, rng):
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
            total, seen = total + loss.item() * len(batch), seen + len(batch)
        score, words = validate(network, sets)
        seconds = time.monotonic() - began
        progress = f"seed {step.seed} epoch {epoch} loss {total / seen:.4f} {seconds:.0f} s"
        print(f"{progress}: score {score:.4f} ({words})", flush=True)
        if score > best[0]:
            best = score, {name: weight.clone() for name, weight in network.state_dict().items()}
    return best


def averaged(runs: list[Weights]) -> Weights:
    """Return the mean of the runs' weights."""
    return {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}


def main() -> None:
    """Train, choose, save the checkpoint and export it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds sentiment/")
    parser.add_argument("--out", type=Path, default=Path("onnx"), help="where the artefact goes")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="torch, not shipped")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    sets = [read_sentfin(arguments.data), read_twitter(arguments.data)]
    train = encode([row for each in sets for row in each.train])
    validation = {each.name: encode(each.validation) for each in sets}

    arguments.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    runs: list[tuple[float, Weights]] = []
    start: Weights | None = None
    for step in PASSES:
        runs.append(fit(step, start, train, validation))
        # The mean of passes is often steadier than each (a "model soup", Wortsman et al. 2022).
        ranked = [weights for _, weights in sorted(runs, key=lambda run: -run[0])]
        candidates = []
        for n in range(1, len(ranked) + 1):
            network = pretrained()
            network.load_state_dict(averaged(ranked[:n]))
            score, words = validate(network, validation)
            print(f"mean of best {n}: score {score:.4f} ({words})", flush=True)
            candidates.append((score, -n, averaged(ranked[:n])))
        score, n, start = max(candidates, key=lambda candidate: candidate[:2])
        recipe = {"passes": [each._asdict() for each in PASSES[: len(runs)]], "averaged": -n}
        saved = {"weights": start, "recipe": {**recipe, "validation_score": round(score, 4)}}
        torch.save(saved, arguments.checkpoint)

    entry = export_checkpoint(arguments.checkpoint, arguments.data, arguments.out)
    print(json.dumps(entry["metrics"], indent=2))


if __name__ == "__main__":
    main()
