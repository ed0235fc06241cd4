"""Turn a trained policy into ONNX, and prove that it says what torch says."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from models.exporting import strip_traces
from models.features import Singles
from models.ppo.actor import INPUT, OUTPUT
from models.ppo.network import PolicyGraph, torch_probabilities

OPSET = 18
TOLERANCE = 1e-5  # of a probability; fp32 sums in another order give about 1e-7


class ParityError(ValueError):
    """The exported policy does not say what the torch policy says."""


def export(graph: PolicyGraph, out: Path, name: str, observations: Singles) -> float:
    """Write `name`.onnx and its torch state `name`.pt under `out`.

    Returns the largest difference of a probability between ONNX Runtime and torch over
    `observations`; single rows and the whole batch are both compared.

    Raises:
        ParityError: the difference is above `TOLERANCE`; nothing is left behind.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, state = out / f"{name}.onnx", out / f"{name}.pt"
    fresh = out / f".{name}.fresh.onnx"
    program = torch.onnx.export(
        graph.eval(),
        (torch.from_numpy(observations[:2]),),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("symbols")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ParityError(f"torch {torch.__version__} exported nothing for {name}")
    program.save(str(fresh), external_data=False)
    strip_traces(fresh)
    difference = parity(fresh, graph, observations)
    if difference > TOLERANCE:
        fresh.unlink()
        raise ParityError(
            f"{name}: expected ONNX within {TOLERANCE} of torch, found {difference:.2g}"
        )
    fresh.replace(path)
    torch.save(graph.state_dict(), state)
    return difference


def restored(state: Path) -> PolicyGraph:
    """Return the torch policy whose state `export` wrote."""
    weights = torch.load(state, weights_only=True)
    graph = PolicyGraph(weights["mean"].numpy(), weights["scale"].numpy())
    graph.load_state_dict(weights)
    return graph.eval()


def parity(path: Path, graph: PolicyGraph, observations: Singles) -> float:
    """Return the largest difference of a probability between the ONNX file and torch."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = torch_probabilities(graph, observations)
    (batch,) = session.run([OUTPUT], {INPUT: observations})
    (single,) = session.run([OUTPUT], {INPUT: observations[:1]})
    return float(max(np.abs(batch - expected).max(), np.abs(single - expected[:1]).max()))
