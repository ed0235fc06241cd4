"""Sessions of one model: on the CPU, and on a GPU where one is there and answers sooner.

The CPU is the default: its sums come in one order, so that digests compare. A GPU rounds otherwise.
Which of the two serves a batch depends on the batch's size alone and is settled once, at the start,
by timing both (`balance`): a small batch costs a GPU more in transfers and launches than it takes
to compute. Inputs come from the CPU and outputs go there, so that binding them to device memory
would save nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, cast

import numpy as np
import onnxruntime as ort
import structlog

Device = Literal["cpu", "cuda", "auto"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
BATCHES = (1, 8, 32, 128, 512)  # that are timed, in rows
_REPEATS = 5
_NEVER = 2**62

Inputs = Mapping[str, np.ndarray]


class Session(Protocol):
    """What serving needs of ONNX Runtime's session."""

    def run(self, outputs: Sequence[str] | None, inputs: Inputs) -> list[Any]:
        """Return the named outputs."""
        ...

    def get_inputs(self) -> list[Any]:
        """Return names and shapes of the inputs."""
        ...

    def get_providers(self) -> list[str]:
        """Return where it runs, the first choice first."""
        ...


class Balanced:
    """Two sessions of one model; batches of `gpu_from` rows and more go to the second."""

    def __init__(self, cpu: Session, gpu: Session) -> None:
        """Serve everything by the CPU until `balance` was called."""
        self.cpu, self.gpu = cpu, gpu
        self.gpu_from = _NEVER

    def run(self, outputs: Sequence[str] | None, inputs: Inputs) -> list[Any]:
        """Return the named outputs, of whichever session serves so many rows."""
        rows = len(next(iter(inputs.values())))
        return (self.gpu if rows >= self.gpu_from else self.cpu).run(outputs, inputs)

    def get_inputs(self) -> list[Any]:
        """Return names and shapes of the inputs."""
        return self.cpu.get_inputs()

    def get_providers(self) -> list[str]:
        """Return where it runs, the first choice first."""
        return self.gpu.get_providers()

    def balance(
        self,
        inputs_of: Callable[[int], Inputs],
        clock: Callable[[], float] = perf_counter,
        batches: Sequence[int] = BATCHES,
    ) -> int:
        """Time both on made-up rows; return from how many rows on the GPU is the faster.

        From there on it must be faster at each larger batch that was timed, too.
        """
        begin = _NEVER
        for rows in reversed(batches):
            inputs = inputs_of(rows)
            cpu, gpu = (_seconds(session, inputs, clock) for session in (self.cpu, self.gpu))
            if gpu >= cpu:
                break
            begin = rows
        self.gpu_from = begin
        return begin


def open_session(path: Path, *, threads: int = 1, device: Device = "cpu") -> Session:
    """Open a model.

    One thread by default: the order of a sum, and so its last bits, must not depend on the
    machine's load. With "auto" a GPU that is not there, or does not start, is done without.

    Raises:
        LookupError: "cuda" was asked for, and ONNX Runtime has no CUDA or finds no GPU.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if device == "cpu":
        return _opened(path, options, CPU)
    gpu = None
    if CUDA in ort.get_available_providers():
        opened = _opened(path, options, CUDA, CPU)
        # ONNX Runtime goes on without CUDA where its libraries or the GPU are missing.
        gpu = opened if CUDA in opened.get_providers() else None
    if gpu is not None and device == "cuda":
        return gpu
    if device == "cuda":
        raise LookupError(
            f"{path.name}: expected a GPU for NEXTGEN_DEVICE=cuda, ONNX Runtime {ort.__version__} "
            f"offers {', '.join(ort.get_available_providers())} and starts none of CUDA; install "
            "the 'gpu' extra beside a CUDA driver, or use NEXTGEN_DEVICE=auto"
        )
    cpu = _opened(path, options, CPU)
    structlog.get_logger(__name__).info(
        "inference_device", model=path.name, device="cpu" if gpu is None else "cpu and cuda"
    )
    return cpu if gpu is None else Balanced(cpu, gpu)


def _opened(path: Path, options: Any, *providers: str) -> Session:
    return cast("Session", ort.InferenceSession(str(path), options, providers=list(providers)))


def _seconds(session: Session, inputs: Inputs, clock: Callable[[], float]) -> float:
    session.run(None, inputs)  # the first run of a shape also prepares
    began = clock()
    for _ in range(_REPEATS):
        session.run(None, inputs)
    return clock() - began
