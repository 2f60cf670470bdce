"""`EnergyDetector.score`: values against the definition, shapes, dtypes, temperatures, refusals."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from energy_plugin.detector import FLOAT32_TEMPERATURES, EnergyDetector
from energy_plugin.maps import energy_map
from energy_plugin.testing import check_detector

SHAPES = [(7, 10), (2, 5, 3, 4), (2, 5, 3, 4, 2), (1, 3, 2, 2, 2, 2), (4, 1), (3, 1000)]


def definition(logits, temperature=1.0, dim=1):
    """E = -T log sum exp(x / T) in float64, the largest logit taken out of the sum."""
    wide = logits.double()
    peak = wide.amax(dim, keepdim=True)
    total = ((wide - peak) / temperature).exp().sum(dim)
    return -(peak.squeeze(dim) + temperature * total.log())


def rows():
    values = st.floats(-80, 80, width=32)
    return st.integers(1, 12).flatmap(
        lambda c: st.lists(st.lists(values, min_size=c, max_size=c), min_size=1, max_size=4)
    )


class TestValues:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("temperature", [1, 1.0, 0.01, 0.5, 2.0])
    def test_energy_at_every_rank(self, shape, temperature):
        logits = 10 * torch.randn(shape)
        scores = EnergyDetector(temperature=temperature).score(logits)
        assert scores.shape == shape[:1] + shape[2:]
        assert scores.dtype == torch.float32
        expected = definition(logits, temperature)
        assert torch.allclose(scores.double(), expected, rtol=3e-7, atol=3e-6)

    @pytest.mark.parametrize("shape", [(50, 10), (2, 5, 3, 4), (2, 5, 3, 4, 2)])
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
    def test_pytorch_ood_gives_the_same_scores(self, shape, temperature):
        host = pytest.importorskip("pytorch_ood.detector")
        logits = 5 * torch.randn(shape)
        theirs = host.EnergyBased(None, t=temperature).predict_logits(logits)
        ours = EnergyDetector(temperature=temperature).score(logits)
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)

    @given(rows(), st.floats(-50, 50))
    def test_adding_a_constant_to_the_logits_takes_it_from_the_score(self, values, constant):
        logits = torch.tensor(values, dtype=torch.float64)
        detector = EnergyDetector()
        assert torch.allclose(detector.score(logits + constant), detector.score(logits) - constant, atol=1e-9)

    @given(rows(), st.randoms(use_true_random=False), st.floats(0.1, 20))
    def test_the_order_of_the_classes_does_not_matter(self, values, random, temperature):
        logits = torch.tensor(values, dtype=torch.float64)
        order = list(range(logits.shape[1]))
        random.shuffle(order)
        detector = EnergyDetector(temperature=temperature)
        assert torch.allclose(detector.score(logits[:, order]), detector.score(logits), rtol=1e-12)

    @given(rows())
    def test_a_low_temperature_leaves_the_largest_logit(self, values):
        logits = torch.tensor(values, dtype=torch.float64)
        classes = logits.shape[1]
        for temperature in (1e-2, 1e-5, 1e-30):
            gap = -logits.amax(1) - EnergyDetector(temperature=temperature).score(logits)
            # max <= T log sum exp(x / T) <= max + T log C; the ends within rounding
            assert gap.min() >= -1e-12
            assert gap.max() <= temperature * math.log(classes) + 1e-12

    @given(rows())
    def test_a_high_temperature_leaves_the_mean_logit(self, values):
        logits = torch.tensor(values, dtype=torch.float64)
        temperature = 1e7
        scores = EnergyDetector(temperature=temperature).score(logits)
        offset = temperature * math.log(logits.shape[1])
        assert torch.allclose(scores + offset, -logits.mean(1), atol=1e-3)

    @given(rows(), st.floats(0.01, 100))
    def test_temperature_scales_logits_and_score_alike(self, values, temperature):
        logits = torch.tensor(values, dtype=torch.float64)
        scaled = temperature * EnergyDetector().score(logits / temperature)
        assert torch.allclose(EnergyDetector(temperature=temperature).score(logits), scaled, rtol=1e-12)

    def test_higher_is_ood(self):
        known, unknown = torch.tensor([[9.0, 0, 0]]), torch.tensor([[0.3, 0.2, 0.1]])
        detector = EnergyDetector()
        assert detector.higher_is == "ood"
        assert detector.score(unknown) > detector.score(known)

    def test_gradient_is_minus_the_softmax(self):
        logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
        EnergyDetector(temperature=2.0).score(logits).sum().backward()
        assert torch.allclose(logits.grad, -(logits.detach() / 2).softmax(1))


class TestTemperature:
    @pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2.0]), torch.tensor(2)])
    def test_any_number_is_a_temperature(self, value):
        logits = torch.randn(5, 4)
        detector = EnergyDetector(temperature=value)
        assert detector.temperature == 2.0
        assert torch.equal(detector.score(logits), EnergyDetector(temperature=2.0).score(logits))

    @pytest.mark.parametrize("value", [0, 0.0, -1.0, math.inf, math.nan, 1e-50, 1e50])
    def test_temperatures_that_make_no_sense_are_refused(self, value):
        with pytest.raises(ValueError, match="temperature must be"):
            EnergyDetector(temperature=value)

    @pytest.mark.parametrize("value", [None, "1", True, [1.0], torch.ones(2), 1j])
    def test_temperatures_of_another_kind_are_refused(self, value):
        with pytest.raises(TypeError, match="temperature must be a number"):
            EnergyDetector(temperature=value)

    def test_it_can_be_set_afterwards_and_is_checked_there_too(self):
        detector, logits = EnergyDetector(), torch.randn(5, 4)
        detector.temperature = 3
        assert torch.equal(detector.score(logits), EnergyDetector(temperature=3.0).score(logits))
        with pytest.raises(ValueError, match="temperature must be"):
            detector.temperature = -3

    def test_a_high_temperature_keeps_every_rank(self):
        logits = torch.randn(5000, 10)
        scores = EnergyDetector(temperature=1000.0).score(logits)
        expected = definition(logits, 1000.0)
        assert scores.dtype == torch.float64
        assert scores.unique().numel() == 5000
        assert torch.equal(scores.argsort(), expected.argsort())
        assert (scores - expected).abs().max() < 1e-9
        # what float32 would keep of it
        assert expected.float().unique().numel() < 4000

    def test_scores_are_wide_only_where_it_is_needed(self):
        low, high = FLOAT32_TEMPERATURES
        logits = torch.randn(3, 4)
        for temperature in (low, 1.0, high):
            assert EnergyDetector(temperature=temperature).score(logits).dtype == torch.float32
        for temperature in (low / 2, high * 2):
            assert EnergyDetector(temperature=temperature).score(logits).dtype == torch.float64

    def test_the_largest_float32_temperature_keeps_its_accuracy(self):
        logits = 4 * torch.randn(20_000, 10)
        high = FLOAT32_TEMPERATURES[1]
        scores = EnergyDetector(temperature=high).score(logits)
        assert (scores.double() - definition(logits, high)).abs().max() < 1e-5

    def test_tiny_temperatures_do_not_overflow(self):
        logits = torch.tensor([[3e30, -3e30], [1.0, 2.0]])
        scores = EnergyDetector(temperature=1e-37).score(logits)
        assert torch.allclose(scores, -logits.double().amax(1))


class TestNumbers:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_gives_float32_scores(self, dtype):
        logits = (3 * torch.randn(5000, 10)).to(dtype)
        scores = EnergyDetector().score(logits)
        assert scores.dtype == torch.float32
        assert scores.unique().numel() > 4900  # the host keeps 1725 of them in float16, 335 in bfloat16
        assert torch.allclose(scores.double(), definition(logits), atol=2e-6)

    def test_half_precision_does_not_overflow_at_a_high_temperature(self):
        logits = torch.randn(50, 10).half()
        scores = EnergyDetector(temperature=1e5).score(logits)
        assert scores.isfinite().all()
        assert torch.allclose(scores, definition(logits, 1e5))

    def test_autocast_does_not_narrow_the_scores(self):
        network = nn.Linear(6, 4)
        with torch.autocast("cpu", torch.bfloat16):
            assert EnergyDetector(network).predict(torch.randn(3, 6)).dtype == torch.float32

    def test_float64_stays(self):
        logits = torch.randn(5, 4, dtype=torch.float64)
        scores = EnergyDetector().score(logits)
        assert scores.dtype == torch.float64
        assert torch.allclose(scores, definition(logits), rtol=1e-14)

    def test_large_logits_do_not_overflow(self):
        logits = torch.tensor([[1e30, 0.0], [-1e30, -1e30], [300.0, 300.0]])
        assert torch.allclose(EnergyDetector().score(logits).double(), definition(logits))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_infinite_and_nan_logits(self, dtype):
        inf, nan = math.inf, math.nan
        logits = torch.tensor([[1.0, -inf], [-inf, -inf], [inf, 0.0], [nan, 1.0], [nan, -inf]], dtype=dtype)
        scores = EnergyDetector().score(logits)
        assert scores[:3].tolist() == [-1.0, inf, -inf]
        assert scores[3:].isnan().all()

    @pytest.mark.parametrize("shape", [(0, 5), (0, 5, 3, 3), (2, 5, 0, 3)])
    def test_nothing_in_nothing_out(self, shape):
        assert EnergyDetector().score(torch.randn(shape)).shape == shape[:1] + shape[2:]

    def test_layout_does_not_matter(self):
        logits = torch.randn(2, 5, 6, 8)
        expected = definition(logits)
        strided = torch.randn(2, 5, 6, 16)[..., ::2].copy_(logits)
        for form in (
            logits.contiguous(memory_format=torch.channels_last),
            strided,
            logits.mT.contiguous().mT,
        ):
            assert torch.allclose(EnergyDetector().score(form).double(), expected, atol=1e-6)


class TestClassDimension:
    def test_three_dimensions_are_ambiguous(self):
        with pytest.raises(ValueError, match=r"\(8, 12, 5\) may be B x N x C or B x C x L"):
            EnergyDetector().score(torch.randn(8, 12, 5))

    def test_it_is_said_explicitly(self):
        logits = torch.randn(8, 12, 5)
        last = EnergyDetector(class_dim=-1).score(logits)
        middle = EnergyDetector(class_dim=1).score(logits)
        assert torch.allclose(last.double(), definition(logits, dim=-1), atol=1e-6)
        assert last.shape == (8, 12)
        assert torch.allclose(middle.double(), definition(logits, dim=1), atol=1e-6)
        assert middle.shape == (8, 5)

    def test_negative_dimensions_count_from_the_end(self):
        logits = torch.randn(2, 4, 6, 5)
        channels_last = EnergyDetector(class_dim=-1).score(logits)
        assert torch.equal(channels_last, EnergyDetector(class_dim=3).score(logits))
        assert torch.allclose(channels_last.double(), definition(logits, dim=3), atol=1e-6)

    @pytest.mark.parametrize(
        ("dim", "shape"), [(0, (4, 5)), (-2, (4, 5)), (2, (4, 5)), (-3, (4, 5)), (4, (2, 3, 4, 5))]
    )
    def test_dimensions_that_do_not_fit_are_refused(self, dim, shape):
        with pytest.raises(ValueError, match=f"class_dim={dim} does not fit"):
            EnergyDetector(class_dim=dim).score(torch.randn(shape))

    @pytest.mark.parametrize("dim", [1.0, True, "1", (1,)])
    def test_dimensions_of_another_kind_are_refused(self, dim):
        with pytest.raises(TypeError, match="class_dim must be an integer"):
            EnergyDetector(class_dim=dim)

    def test_one_dimension_lacks_the_batch(self):
        with pytest.raises(ValueError, match=r"got shape \(5,\): add a batch dimension"):
            EnergyDetector().score(torch.randn(5))

    def test_no_class_at_all_is_refused(self):
        with pytest.raises(ValueError, match="no class"):
            EnergyDetector().score(torch.randn(5, 0))


class TestKinds:
    def test_integer_logits_are_refused(self):
        with pytest.raises(TypeError, match=r"floating point, got torch.int64: use `logits.float\(\)`"):
            EnergyDetector().score(torch.ones(3, 4, dtype=torch.int64))
        with pytest.raises(TypeError, match=r"torch.int64"):
            EnergyDetector(temperature=1000.0).score(torch.ones(3, 4, dtype=torch.int64))

    def test_other_kinds_of_logits_are_refused(self):
        for logits in (torch.randn(3, 4).numpy(), [[1.0, 2.0]], 3.0, None):
            with pytest.raises(TypeError, match=r"Expected a torch.Tensor"):
                EnergyDetector().score(logits)

    @pytest.mark.parametrize("wrap", [dict, OrderedDict])
    def test_dict_outputs_are_scored(self, wrap):
        logits = torch.randn(3, 4)
        expected = EnergyDetector().score(logits)
        assert torch.equal(EnergyDetector().score(wrap(out=logits, aux=torch.randn(3, 4))), expected)
        assert torch.equal(EnergyDetector().score(wrap(logits=logits)), expected)

    def test_tuple_outputs_are_scored_where_their_meaning_is_plain(self):
        logits, features = torch.randn(3, 4), torch.randn(3, 9)
        expected = EnergyDetector().score(logits)
        assert torch.equal(EnergyDetector().score((logits,)), expected)
        with pytest.raises(TypeError, match=r"tuple\(Tensor\(3, 4\) float32, Tensor\(3, 9\) float32\)"):
            EnergyDetector().score((logits, features))
        assert torch.equal(EnergyDetector(key=0).score((logits, features)), expected)


class TestMapSize:
    def test_the_logits_are_enlarged_and_not_the_scores(self):
        logits = 5 * torch.randn(1, 6, 8, 10)
        size = (32, 40)
        scores = EnergyDetector().score(logits, size=size)
        enlarged = functional.interpolate(logits, size=size, mode="bilinear")
        assert torch.equal(scores, EnergyDetector().score(enlarged))
        late = functional.interpolate(EnergyDetector().score(logits).unsqueeze(1), size=size, mode="bilinear")
        assert (late.squeeze(1) - scores).abs().max() > 1.0

    @pytest.mark.parametrize("options", [{}, {"align_corners": True}, {"mode": "nearest"}])
    def test_options_and_temperature_arrive(self, options):
        logits = torch.randn(2, 5, 6, 7)
        scores = EnergyDetector(temperature=2.0).score(logits, size=(11, 13), **options)
        assert torch.equal(scores, energy_map(logits, (11, 13), temperature=2.0, **options))
        assert scores.shape == (2, 11, 13)

    def test_no_size_leaves_the_resolution_of_the_logits(self):
        assert EnergyDetector().score(torch.randn(2, 5, 6, 7), size=None).shape == (2, 6, 7)

    def test_the_class_dimension_is_brought_to_its_place(self):
        logits = torch.randn(2, 5, 6, 7)
        scores = EnergyDetector(class_dim=-1).score(logits.movedim(1, -1), size=(12, 14))
        assert torch.equal(scores, EnergyDetector().score(logits, size=(12, 14)))
        assert scores.shape == (2, 12, 14)

    def test_a_high_temperature_keeps_its_width(self):
        scores = EnergyDetector(temperature=1000.0).score(torch.randn(2, 5, 6, 7), size=(12, 14))
        assert scores.dtype == torch.float64

    @pytest.mark.parametrize("option", [{"shape": (8, 8)}, {"temperature": 100.0}, {"align_corner": True}])
    @pytest.mark.parametrize("size", [{}, {"size": (8, 8)}])
    def test_unknown_options_are_refused_by_name(self, option, size):
        (name,) = option
        detector, logits = EnergyDetector(nn.Identity()), torch.randn(2, 3, 4, 4)
        detector.threshold = 0.0
        for call in (detector.score, detector.predict, detector.is_ood):
            with pytest.raises(TypeError, match=f"unknown option '{name}'.*size, align_corners, mode"):
                call(logits, **option, **size)

    def test_an_unknown_option_is_refused_before_the_network_works(self):
        def network(images):
            raise AssertionError

        with pytest.raises(TypeError, match="unknown option"):
            EnergyDetector(network).predict(torch.zeros(1, 3), sizes=(8, 8))

    @pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
    def test_aligned_corners_are_for_bilinear_alone(self, mode):
        logits = torch.randn(2, 3, 4, 4)
        with pytest.raises(ValueError, match=f"mode is '{mode}'"):
            EnergyDetector().score(logits, size=(8, 8), mode=mode, align_corners=True)
        with pytest.raises(ValueError, match="mode='bilinear' only"):
            energy_map(logits, (8, 8), mode=mode, align_corners=True)

    @pytest.mark.parametrize("size", [8, "targets", (8,), (8, 8, 8)])
    def test_sizes_of_another_kind_are_refused(self, size):
        with pytest.raises(ValueError, match=r"size is .*; expected \(H, W\)"):
            EnergyDetector().score(torch.randn(2, 3, 4, 4), size=size)

    def test_scores_to_decide_on_are_a_tensor_and_take_no_options(self):
        detector = EnergyDetector()
        detector.threshold = 0.0
        with pytest.raises(TypeError, match=r"scores must be a tensor, .* got list.*as_tensor"):
            detector.is_ood(scores=[1, 2])
        with pytest.raises(TypeError, match="size: options for inputs"):
            detector.is_ood(scores=torch.ones(2), size=(8, 8))

    def test_vectors_have_no_size(self):
        with pytest.raises(ValueError, match="B x C x h x w"):
            EnergyDetector().score(torch.randn(2, 5), size=(12, 14))


def test_it_passes_the_check_that_is_offered_to_third_parties():
    check_detector(EnergyDetector, higher_is="ood")
