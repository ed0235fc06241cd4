"""Turn a torch classifier into ONNX, fp32 and int8, and prove that both say what torch says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from models.exporting import strip_traces

OPSET = 18
FP32_TOLERANCE = 1e-3  # Largest difference of a logit; fp32 sums in another order give about 1e-5.

Floats = NDArray[np.float32]


class ParityError(ValueError):
    """An exported model does not say what the torch model says."""


class OneText(nn.Module):  # type: ignore[misc]
    """Classify one text without padding, its logits in the order negative, positive, neutral."""

    def __init__(self, network: nn.Module, order: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        self.network = network
        self.order = list(order)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return logits (1, 3) of `input_ids` (1, tokens)."""
        logits = self.network(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        logits = getattr(logits, "logits", logits)
        return cast("Tensor", logits[:, self.order])


def to_onnx(network: nn.Module, path: Path, max_length: int) -> None:
    """Write `network` as an fp32 ONNX model of one text of 1 to `max_length` tokens."""
    network.eval()
    tokens = torch.export.Dim("tokens", min=1, max=max_length)
    example = torch.full((1, min(7, max_length)), 5, dtype=torch.int64)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["input_ids"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": {1: tokens}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    strip_traces(path)


def to_int8(fp32: Path, int8: Path) -> None:
    """Write an int8 copy: embeddings and weights as int8, activations scaled at run time.

    Weights and activations have a scale for each block of 32 numbers: one scale for a whole
    tensor, as `quantize_dynamic` gives MatMul, moved logits by up to 1.3 instead of 0.3, for the
    few large activations of the feed-forward layers.
    """
    # Imported late, as its import turns on the log of every library at level INFO.
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415
        MatMulNBitsQuantizer,
    )

    quantize_dynamic(fp32, int8, op_types_to_quantize=["Gather"], weight_type=QuantType.QInt8)
    quantizer = MatMulNBitsQuantizer(
        onnx.load(int8), bits=8, block_size=32, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(int8), use_external_data_format=False)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def torch_logits(network: nn.Module, inputs: Sequence[Sequence[int]]) -> Floats:
    """Return torch's logits (texts, 3), text by text."""
    network.eval()
    return np.concatenate([network(torch.tensor([list(ids)])).float().numpy() for ids in inputs])


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_logits(path: Path, inputs: Sequence[Sequence[int]]) -> Floats:
    """Return ONNX Runtime's logits (texts, 3), text by text."""
    session = open_session(path)
    answers = [
        session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0] for ids in inputs
    ]
    return cast("Floats", np.concatenate(answers))


def parity(expected: Floats, found: Floats, tolerance: float | None, what: str) -> dict[str, Any]:
    """Return how far `found` logits are from `expected`; raise ParityError beyond `tolerance`."""
    gap = np.abs(expected - found)
    report = {
        "texts": len(expected),
        "max_abs": float(f"{gap.max():.3g}"),
        "mean_abs": float(f"{gap.mean():.3g}"),
        "same_label": round(float((expected.argmax(1) == found.argmax(1)).mean()), 4),
    }
    if tolerance is not None and not gap.max() <= tolerance:
        raise ParityError(
            f"{what}: expected logits within {tolerance} of torch, "
            f"found {report['max_abs']} away; not exported"
        )
    return report
