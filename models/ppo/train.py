"""Train the policy of one interval, from stored bars to a verified artefact.

    python -m models.ppo.train --interval 1m --data DIR --cache DIR

Reads top to bottom: markets by time, PPO with costs that rise from nothing to the whole,
choice on validation, export, manifest.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

from models import statistics
from models.exporting import write_entry
from models.features import Floats, Singles
from models.lstm_transformer.samples import HORIZONS, INTERVALS, SOURCES
from models.ppo.actor import INPUT, OUTPUT, Actor
from models.ppo.evaluation import measure, paired
from models.ppo.export import OPSET, TOLERANCE, export
from models.ppo.lanes import Lanes
from models.ppo.market import RISK_AVERSION, Market, joined, mirrored
from models.ppo.network import (
    LAYERS,
    PolicyGraph,
    graph_of,
    policy_arguments,
    standardisation,
    torch_probabilities,
)
from models.ppo.replay import replay
from models.ppo.rules import POSITIONS, Flags, Integers, PositionRules, observe, rules_for
from models.ppo.splits import Splits, assemble
from models.runtime import Artefact
from models.schema import FEATURES, SCHEMA_HASH, WINDOW


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; chosen on the validation split."""

    steps: int = 8_000_000
    episode: int = 1_800  # bars at most; a session of minutes is shorter
    lanes: int = 256
    rollout: int = 128  # steps of each lane between two updates
    batch: int = 2_048
    epochs: int = 4
    rate: float = 5e-4
    gamma: float = 0.95  # looks about 20 bars ahead
    gae_lambda: float = 0.9
    entropy: float = 0.01
    clip: float = 0.2
    # With full costs from the start the policy learns to sit flat before it has learned any
    # direction: they are nothing until `free` of the steps, whole from `full` on.
    free: float = 0.15
    full: float = 0.3
    checks: int = 8  # looks at the validation split once costs are whole


# A second is short against the forecast's minute: look about 50 bars ahead there. Short
# episodes, each of which begins flat, show more often what entering costs.
RECIPES = {
    "1m": Recipe(),
    "1s": Recipe(steps=5_000_000, episode=120, gamma=0.98, gae_lambda=0.95),
}


def learn(
    market: Market, choosing: Market, rules: PositionRules, recipe: Recipe, seed: int
) -> tuple[PolicyGraph, list[dict[str, float]]]:
    """Train by PPO; return the graph that earned most on validation, and the history."""
    lanes = Lanes(market, rules, recipe.lanes, seed)
    mean, scale = standardisation(market.features[market.ready])
    model = PPO(
        "MlpPolicy",
        lanes,
        n_steps=recipe.rollout,
        batch_size=recipe.batch,
        n_epochs=recipe.epochs,
        learning_rate=recipe.rate,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
        ent_coef=recipe.entropy,
        clip_range=recipe.clip,
        policy_kwargs=policy_arguments(mean, scale),
        seed=seed,
        device="cpu",
    )
    ahead = int(recipe.steps * recipe.full)
    checks = np.linspace(ahead, recipe.steps, recipe.checks + 1).astype(int)
    best, chosen, history = -np.inf, graph_of(model), []
    for stop in (*np.linspace(0, ahead, 17).astype(int)[1:], *checks[1:]):
        share = (model.num_timesteps / recipe.steps - recipe.free) / (recipe.full - recipe.free)
        lanes.cost_share = float(np.clip(share, 0.0, 1.0))
        model.learn(max(1, stop - model.num_timesteps), reset_num_timesteps=False)
        if stop <= ahead:
            continue
        graph = graph_of(model)
        history.append({"steps": model.num_timesteps, **score(graph, choosing, rules)})
        print("  " + json.dumps(history[-1]), flush=True)
        if history[-1]["reward"] > best:
            best, chosen = history[-1]["reward"], graph
    return chosen, history


def score(graph: PolicyGraph, market: Market, rules: PositionRules) -> dict[str, float]:
    """Return the mean reward of a bar after costs, and what a traded unit earned before."""
    track = replay(market, _act(graph), rules)
    traded, bars = float(track.traded.sum()), int(track.ready.sum())
    return {
        "reward": float(track.reward.sum()) / bars,
        "edge_bps": float(track.earned.sum()) / max(traded, 1.0) * 1e4,
        "turnover": traded / bars,
        "in_market": float(np.abs(track.position)[track.ready].mean()),
    }


def _act(graph: PolicyGraph) -> Any:
    def act(features: Singles, position: Integers, held: Integers, ready: Flags) -> Floats:  # noqa: ARG001
        return torch_probabilities(graph, observe(features[:, -1], position, held)).astype(float)

    return act


def train(
    interval: str, data: Path, out: Path, cache: Path | None, seed: int, recipe: Recipe
) -> None:
    """Train the policy of `interval` and put it into the folder `out`."""
    begun = perf_counter()
    torch.set_num_threads(1)  # the network is so small that threads would wait for one another
    rules, name = rules_for(INTERVALS[interval]), f"policy_{interval}"
    splits = assemble(interval, data, cache, recipe.episode)
    print(json.dumps([{**span, "symbols": len(span["symbols"])} for span in splits.spans]))
    once = joined(list(splits.markets["train"].values()))
    validation = list(splits.markets["validation"].values())
    choosing = joined([*validation, *(mirrored(market) for market in validation)])
    graph, history = learn(joined([once, mirrored(once)]), choosing, rules, recipe, seed)

    real = _observations(validation)
    difference = export(graph, out, name, real)
    entry: dict[str, Any] = {
        "kind": "policy",
        "file": f"{name}.onnx",
        "extra_files": [f"{name}.pt"],
        "state": f"{name}.pt",
        "opset": OPSET,
        "inputs": {INPUT: ["symbols", len(FEATURES) + 2]},
        "outputs": {OUTPUT: ["symbols", len(POSITIONS)]},
        "layers": list(LAYERS),
        "schema_hash": SCHEMA_HASH,
        "interval_ns": INTERVALS[interval],
        "horizon_bars": HORIZONS[interval],
        "calendar": SOURCES[interval][0].calendar,
        "rules": _plain(rules),
        "tolerance": TOLERANCE,
        "parity": difference,
        "seen": splits.seen,
        "trained_on": {
            "risk_aversion": RISK_AVERSION,
            "files": splits.files,
            "splits": splits.spans,
            "seed": seed,
            "recipe": asdict(recipe),
            "history": history,
            "seconds": round(perf_counter() - begun),
        },
        "licence": "Apache-2.0; trained on data named in the model card",
    }
    entry |= validation_of(out, name, entry, splits, choosing, rules)
    write_entry(out, name, entry)
    print(f"{name}: {perf_counter() - begun:.0f} s", json.dumps(entry["metrics"], indent=1))


def validation_of(
    out: Path,
    name: str,
    entry: dict[str, Any],
    splits: Splits,
    choosing: Market,
    rules: PositionRules,
) -> dict[str, Any]:
    """Return ranks, skill and metrics, from the exported graph itself.

    Ranks come from the validation split both ways up, skill and metrics from the test split,
    which nothing else has touched.
    """
    given = entry | {"ranks": [0.0, 1.0], "sha256": "unset"}
    both = replay(choosing, Actor(Artefact(name, given, out)).act, rules)
    magnitudes = np.abs(both.preference[both.ready])
    given["ranks"] = np.quantile(magnitudes, np.linspace(0.0, 1.0, 101)).tolist()

    actor = Actor(Artefact(name, given, out))
    tracks = {
        use: {
            source: replay(market, actor.act, rules)
            for source, market in splits.markets[use].items()
        }
        for use in ("validation", "test")
    }
    horizon = int(entry["horizon_bars"])
    pairs, later = (
        {
            use: [
                paired(splits.bars[source], track, actor, horizon, delay=delay)
                for source, track in tracks[use].items()
            ]
            for use in tracks
        }
        for delay in (0, rules.min_holding_bars)
    )
    found = {use: _information(parts) for use, parts in pairs.items()}
    return {
        "centre": 0.0,  # as every leg's entry has; mirrored markets leave no habit to take off
        "ranks": given["ranks"],
        "skill": statistics.skill_of(found["test"], sum(len(part[0]) for part in pairs["test"])),
        "metrics": {
            use: {
                "ic": found[use],
                # What is left once the bounce of the last trade between bid and ask is over.
                "ic_delayed": _information(later[use]),
                **{
                    source: measure(splits.markets[use][source], track, rules)
                    for source, track in tracks[use].items()
                },
            }
            for use in tracks
        },
    }


def _information(parts: list[tuple[Floats, Floats, Integers]]) -> list[float]:
    """Return the IC over all sources, with its interval."""
    values, returns, stamps = (np.concatenate(column) for column in zip(*parts, strict=True))
    blocks, _ = statistics.blocks_of(stamps)
    return statistics.block_bootstrap(statistics.weighted_ic(values, returns), blocks, draws=200)


def _observations(markets: list[Market], count: int = 2_000) -> Singles:
    """Return real observations for the parity check, every position and holding time among them."""
    market = joined(markets)
    rows = np.flatnonzero(market.ready)
    rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    number = np.arange(len(rows))
    return observe(market.features[rows], number % 3 - 1, number % (2 * WINDOW))


def _plain(rules: PositionRules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in rules.__struct_fields__}


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", choices=tuple(INTERVALS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with the bars")
    parser.add_argument("--out", type=Path, default=Path("onnx"))
    parser.add_argument("--cache", type=Path, help="folder where features are kept")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, help="instead of the recipe's, to try it out")
    args = parser.parse_args()
    recipe = RECIPES[args.interval]
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    train(args.interval, args.data, args.out, args.cache, args.seed, recipe)


if __name__ == "__main__":
    main()
