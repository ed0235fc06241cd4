"""Train the forecast of one interval, from stored bars to a verified artefact.

    python -m models.lstm_transformer.train --interval 1m --data DIR --cache DIR

Reads top to bottom: samples by time, fit of each seed, calibration, export, manifest.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models import runtime
from models.exporting import write_entry
from models.lstm_transformer import baselines
from models.lstm_transformer.calibration import calibrate, shrink, straight
from models.lstm_transformer.export import OPSET, export, parity
from models.lstm_transformer.fitting import RECIPES, Feeder, fit_member, start_linear
from models.lstm_transformer.forecaster import OUTPUTS
from models.lstm_transformer.network import LEVELS, Network, Shape
from models.lstm_transformer.samples import (
    HORIZONS,
    INTERVALS,
    RELATIVE,
    SOURCES,
    assemble,
    join,
)
from models.lstm_transformer.validation import (
    SPACE_ROWS,
    distribution,
    feature_moments,
    learn_space,
    raw_outputs,
    validation_of,
)
from models.schema import SCHEMA_HASH

TOLERANCE = 1e-5  # between torch and ONNX, absolute, on all outputs


def train(
    interval: str,
    data: Path,
    out: Path,
    cache: Path | None = None,
    *,
    seed: int = 7,
    device: str = "cpu",
    threads: int = 1,
    weights: Path | None = None,
) -> None:
    """Train the forecast of `interval` and put it into the folder `out`.

    `weights` is a folder with an artefact of the same fit: then only what follows the fit is done,
    and gives what the whole training gives.

    One thread by default: sums then have one order, so that the same data and seed give the
    same weights, and the two intervals can train side by side.
    """
    begun = perf_counter()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    on = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    recipe, shape, name, gain = RECIPES[interval], Shape(), f"forecast_{interval}", 1.0
    stack = assemble(interval, data, cache)
    fit, tune = stack.splits["fit"], stack.splits["tune"]
    print({use: len(part) for use, part in stack.splits.items()}, flush=True)

    network = Network(shape)
    mask, mean, scale = feature_moments(stack.inputs[fit.rows])
    for buffer, values in ((network.mask, mask), (network.mean, mean), (network.scale, scale)):
        buffer.copy_(torch.from_numpy(values))
    network.to(on)
    rows, moved = stack.inputs[fit.rows], fit.returns != 0.0
    plain = stack.features[fit.rows]
    logistic = baselines.fit(plain[moved], fit.returns[moved] > 0.0, feature_moments(plain)[0])
    if recipe.linear_start:
        apart = np.abs(fit.neutral) > 1e-9  # a lone symbol is its own market
        start_linear(
            network, baselines.fit(rows[apart], fit.neutral[apart] > 0.0, mask, ridge=recipe.ridge)
        )
    fitted: dict[str, Any] = {"files": stack.files, "seed": seed, "recipe": asdict(recipe)}
    if weights is None:
        feeders = Feeder(stack, fit, on), Feeder(stack, tune, on)
        looks = [
            fit_member(member, network, *feeders, recipe, seed + number)  # type: ignore[arg-type]
            for number, member in enumerate(network.members)
        ]
        fitted["history"] = [of_member[-1] for of_member in looks]
        fitted["best_tuning_loss"] = [min(look["loss"] for look in each) for each in looks]
    else:
        fitted, gain = take_fit(network, weights, name, fitted)
    network.to("cpu").eval()
    # The tuning days as well: the market's own moves dominate any two days.
    calibrating = join([tune, stack.splits["calibrate"]])
    raw = raw_outputs(network, stack, calibrating)
    if weights is None and recipe.linear_start:
        gain = shrink(network, raw, straight(network, stack, calibrating), calibrating)
    calibration = calibrate(network, raw, calibrating) | {"gain": gain}
    learn_space(network, stack, fit.take(np.arange(0, len(fit), max(1, len(fit) // SPACE_ROWS))))

    logistic.write(out / f"{name}.logistic.json")
    save_file(network.state_dict(), out / f"{name}.safetensors")
    export(network, out / f"{name}.onnx")
    some = [part.take(np.arange(min(300, len(part)))) for part in stack.splits.values()]
    real = stack.windows(join(some))
    difference = parity(network, out / f"{name}.onnx", real)

    entry: dict[str, Any] = {
        "kind": "forecast",
        "file": f"{name}.onnx",
        "extra_files": [f"{name}.logistic.json", f"{name}.safetensors"],
        "logistic": f"{name}.logistic.json",
        "state": f"{name}.safetensors",
        "shape": asdict(shape),
        "opset": OPSET,
        "inputs": {"features": ["n", shape.window, shape.features]},
        "outputs": {name: ["n"] for name in OUTPUTS}
        | {"quantiles": ["n", len(LEVELS)], "strangeness": ["n", 2]},
        "levels": list(LEVELS),
        "schema_hash": SCHEMA_HASH,
        "relative": RELATIVE[interval],
        "interval_ns": INTERVALS[interval],
        "horizon_bars": HORIZONS[interval],
        "calendar": SOURCES[interval][0].calendar,
        "tolerance": TOLERANCE,
        "parity": difference,
        "distribution": distribution(rows, mask, mean, scale),
        "widths": calibration.pop("widths"),
        "calibration": calibration,
        "seen": [_seen(span) for span in stack.spans if span["use"] != "test"],
        "licence": "MIT; trained on data named in the model card",
    }
    test = stack.splits["test"]
    others = {
        "logistic": logistic.probability(stack.features[test.rows]),
        "momentum": baselines.momentum(stack.features[test.rows], HORIZONS[interval]),
    }
    if RELATIVE[interval]:
        same = baselines.fit(rows[moved], fit.returns[moved] > 0.0, mask)
        others["logistic, relative features"] = same.probability(stack.inputs[test.rows])
    entry |= validation_of(out, name, entry, stack, others)
    entry["trained_on"] = fitted | {"splits": stack.spans}
    write_entry(out, name, entry)
    print(f"{name}: {perf_counter() - begun:.0f} s", json.dumps(entry["metrics"]), flush=True)


def take_fit(
    network: Network, folder: Path, name: str, expected: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """Give `network` the members of the artefact `name` in `folder`; say how they were fitted.

    The second is the share that their branches' logit was brought down to.

    Raises:
        ValueError: they were fitted on other data, or by another seed or recipe.
    """
    entry = runtime.read_manifest(folder)[name]
    fitted = {part: entry["trained_on"][part] for part in expected}
    if fitted | {"recipe": expected["recipe"] | fitted["recipe"]} != expected:
        raise ValueError(f"{folder / name}: expected a fit of {expected}, found {fitted}")
    state = load_file(folder / entry["state"])
    prefix = "members."
    network.members.load_state_dict(
        {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    )
    looks = {part: entry["trained_on"][part] for part in ("history", "best_tuning_loss")}
    return expected | looks, float(entry["calibration"].get("gain", 1.0))


def _seen(span: dict[str, Any]) -> dict[str, Any]:
    return {name: span[name] for name in ("dataset", "symbols", "from_ns", "to_ns", "use")}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", choices=sorted(SOURCES), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--out", type=Path, default=runtime.ONNX)
    parser.add_argument("--cache", type=Path, help="where computed features are kept")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="a folder with an artefact of the same fit")
    args = parser.parse_args()
    train(
        args.interval,
        args.data,
        args.out,
        args.cache,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        weights=args.weights,
    )


if __name__ == "__main__":
    main()
