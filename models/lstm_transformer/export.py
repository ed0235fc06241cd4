"""A trained network becomes an ONNX artefact, and proves that it is the same function."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from models.lstm_transformer.forecaster import OUTPUTS
from models.lstm_transformer.network import Network

OPSET = 18
# Float32 sums in another order differ in the last bits; more would be another function.
ALLOWED = 1e-4


class ParityError(RuntimeError):
    """The exported graph is not the network that was trained."""


def export(network: Network, path: Path) -> None:
    """Write `network` as one fp32 graph with a free batch dimension."""
    network.eval()
    shape = network.shape
    example = torch.zeros(2, shape.window, shape.features)
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated but keeps an LSTM as one ONNX LSTM node,
        # which ONNX Runtime runs several times faster than the unrolled loop of dynamo's.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["features"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in ("features", *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )


def parity(network: Network, path: Path, windows: NDArray[np.float32]) -> float:
    """Return the largest difference between the graph and the network on real `windows`.

    Raises:
        ParityError: it is above `ALLOWED`.
    """
    network.eval()
    with torch.no_grad():
        expected = [output.numpy() for output in network(torch.from_numpy(windows))]
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(OUTPUTS, {"features": windows})
    worst = max(
        float(np.abs(one - other).max()) for one, other in zip(expected, found, strict=True)
    )
    if not worst <= ALLOWED:
        raise ParityError(
            f"{path.name}: expected torch and ONNX within {ALLOWED:g}, found {worst:g}"
        )
    return worst
