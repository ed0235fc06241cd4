"""Which session serves which batch."""

import numpy as np
import onnxruntime as ort
import pytest

from models import inference, runtime
from models.inference import CPU, CUDA, Balanced, open_session
from tests.support import MINUTE

PATH = runtime.load("policy_1m", kind="policy", interval=MINUTE).path


class Fake:
    """A session that takes so long for a run and for each row, on a clock of its own."""

    now = 0.0

    def __init__(self, name, run, row):
        self.name, self.per_run, self.per_row = name, run, row

    def run(self, _, inputs):
        Fake.now += self.per_run + self.per_row * len(inputs["x"])
        return [self.name]


def inputs_of(rows):
    return {"x": np.zeros((rows, 2), np.float32)}


@pytest.mark.parametrize(
    ("gpu", "begin"),
    [((10.0, 0.1), 32), ((0.5, 0.1), 1), ((1e6, 0.0), inference._NEVER)],
)
def test_a_gpu_serves_from_the_batch_on_that_it_answers_sooner(gpu, begin):
    both = Balanced(Fake("cpu", 1.0, 1.0), Fake("gpu", *gpu))
    assert both.run(None, inputs_of(512)) == ["cpu"]  # nothing was settled yet

    assert both.balance(inputs_of, clock=lambda: Fake.now) == begin

    for rows in (1, 31, 32, 512):
        assert both.run(None, inputs_of(rows)) == ["gpu" if rows >= begin else "cpu"]


def test_a_gpu_that_wins_small_batches_alone_serves_none():
    class Odd(Fake):
        def run(self, _, inputs):
            Fake.now += 0.1 if len(inputs["x"]) < 10 else 1e9
            return [self.name]

    both = Balanced(Fake("cpu", 1.0, 1.0), Odd("gpu", 0, 0))
    assert both.balance(inputs_of, clock=lambda: Fake.now) == inference._NEVER


def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    assert open_session(PATH, device="auto").get_providers() == [CPU]
    with pytest.raises(LookupError, match="install the 'gpu' extra"):
        open_session(PATH, device="cuda")


def test_cuda_that_does_not_start_is_done_without(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    opened = ort.InferenceSession

    def without_gpu(path, options, providers):
        return opened(path, options, providers=[CPU])

    monkeypatch.setattr(ort, "InferenceSession", without_gpu)
    assert open_session(PATH, device="auto").get_providers() == [CPU]
    with pytest.raises(LookupError, match="starts none of CUDA"):
        open_session(PATH, device="cuda")


def test_with_cuda_auto_has_both(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])

    class Stand:
        def __init__(self, path, options, providers):
            self.providers = providers

        def get_providers(self):
            return self.providers

    monkeypatch.setattr(ort, "InferenceSession", Stand)
    both = open_session(PATH, device="auto")
    assert both.gpu.providers == [CUDA, CPU]
    assert both.cpu.providers == [CPU]
    assert open_session(PATH, device="cuda").providers == [CUDA, CPU]
