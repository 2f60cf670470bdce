"""Detector and network as one graph: compiled, exported, as ONNX under onnxruntime, and without values."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export

from energy_plugin.detector import EnergyDetector


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


class Segmenter(nn.Module):
    """Returns what torchvision's segmentation networks return."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 5, 3, padding=1, stride=4)

    def forward(self, images):
        return OrderedDict(out=self.body(images), aux=images)


class AtImageSize(nn.Module):
    """How a map at the resolution of the image becomes part of a graph."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector
        self.eval()

    def forward(self, images):
        return self.detector.score(self.detector.model(images), size=images.shape[2:])


def detector(network, temperature):
    return EnergyDetector(network().eval(), temperature).eval()


def images(batch=4, size=16):
    return torch.randn(batch, 3, size, size)


cases = pytest.mark.parametrize(
    ("network", "temperature"),
    [(Classifier, 2.5), (Classifier, 1000.0), (Segmenter, 1.0)],
)


class TestCompile:
    @cases
    def test_one_graph_without_breaks(self, network, temperature):
        whole = detector(network, temperature)
        compiled = torch.compile(whole, fullgraph=True, backend="eager", dynamic=True)
        for batch in (4, 2, 7):
            inputs = images(batch)
            assert torch.equal(compiled(inputs), whole(inputs))

    def test_maps_at_image_resolution(self):
        whole = AtImageSize(detector(Segmenter, 1.0))
        compiled = torch.compile(whole, fullgraph=True, backend="eager")
        inputs = images(2, 64)
        assert torch.equal(compiled(inputs), whole(inputs))

    def test_a_large_map_is_compiled_as_a_whole(self, monkeypatch):
        monkeypatch.setattr("energy_plugin.maps._bands", lambda *_: pytest.fail("cut into bands"))
        scorer = EnergyDetector()
        compiled = torch.compile(
            lambda logits: scorer.score(logits, size=(512, 1024)), fullgraph=True, backend="eager"
        )
        assert compiled(torch.randn(1, 19, 16, 32)).shape == (1, 512, 1024)

    def test_ambiguous_ranks_are_refused_while_tracing(self):
        compiled = torch.compile(EnergyDetector(), fullgraph=True, backend="eager")
        with pytest.raises(Exception, match="B x N x C or B x C x L"):
            compiled(torch.randn(2, 3, 4))

    @pytest.mark.long
    @cases
    def test_inductor_gives_the_same_scores(self, network, temperature):
        whole = detector(network, temperature)
        compiled = torch.compile(whole, fullgraph=True)
        inputs = images()
        assert torch.allclose(compiled(inputs), whole(inputs), rtol=1e-5, atol=1e-5)


class TestExport:
    @cases
    def test_one_program_for_every_batch_size(self, network, temperature):
        whole = detector(network, temperature)
        program = export(whole, (images(),), dynamic_shapes=({0: Dim("batch")},)).module()
        for batch in (4, 2, 7):
            inputs = images(batch)
            assert torch.equal(program(inputs), whole(inputs))

    def test_maps_at_image_resolution(self):
        whole = AtImageSize(detector(Segmenter, 1.0))
        program = export(whole, (images(2, 64),)).module()
        inputs = images(2, 64)
        assert torch.equal(program(inputs), whole(inputs))


class TestOnnx:
    @pytest.mark.parametrize(("network", "temperature"), [(Classifier, 1000.0), (Segmenter, 1.0)])
    def test_network_and_detector_under_onnxruntime(self, network, temperature, tmp_path):
        whole = detector(network, temperature)
        run = _under_onnxruntime(whole, images(), tmp_path, dynamic_shapes=({0: Dim("batch")},))
        for batch in (4, 2, 7):
            inputs = images(batch)
            scores, expected = run(inputs), whole(inputs).detach().numpy()
            assert scores.dtype == expected.dtype
            assert np.allclose(scores, expected, rtol=1e-5, atol=1e-5)

    def test_maps_at_image_resolution(self, tmp_path):
        whole = AtImageSize(detector(Segmenter, 1.0))
        inputs = images(2, 32)
        run = _under_onnxruntime(whole, inputs, tmp_path)
        assert np.allclose(run(inputs), whole(inputs).detach().numpy(), rtol=1e-5, atol=1e-5)

    def test_masked_classes_survive(self, tmp_path):
        logits = torch.randn(4, 5)
        logits[0, 1] = -torch.inf
        logits[1] = -torch.inf
        run = _under_onnxruntime(EnergyDetector().eval(), torch.randn(4, 5), tmp_path)
        scores = run(logits)
        assert np.allclose(scores, EnergyDetector().score(logits).numpy(), rtol=1e-5)
        assert scores[1] == np.inf


class TestNoValueIsRead:
    @pytest.mark.parametrize("shape", [(4, 5), (2, 5, 6, 7)])
    def test_scores_of_tensors_without_values(self, shape):
        with FakeTensorMode():
            scores = EnergyDetector().score(torch.empty(shape, device="cuda"))
        assert scores.shape == shape[:1] + shape[2:]
        assert scores.device.type == "cuda"

    def test_maps_of_tensors_without_values(self):
        with FakeTensorMode():
            logits = torch.empty(1, 19, 128, 256, device="cuda")
            assert EnergyDetector().score(logits, size=(1024, 2048)).shape == (1, 1024, 2048)

    def test_vmap_and_grad(self):
        logits = torch.randn(3, 4, 5)
        scorer = EnergyDetector()
        mapped = torch.vmap(scorer.score)(logits)
        assert torch.allclose(mapped, torch.stack([scorer.score(row) for row in logits]))
        gradient = torch.func.grad(lambda row: scorer.score(row).sum())(logits[0])
        assert torch.allclose(gradient, -logits[0].softmax(1), atol=1e-6)


def _under_onnxruntime(module, inputs, folder, **options):
    """The module as a function of onnxruntime, from tensor to array."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = folder / "detector.onnx"
    torch.onnx.export(module, (inputs,), dynamo=True, verbose=False, **options).save(path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor.numpy()})[0]
