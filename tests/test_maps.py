"""Energy maps in bands: the same bits as the whole, in a bounded share of its memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from energy_plugin import maps
from energy_plugin.energy import energy
from energy_plugin.maps import BAND_BYTES, energy_map


def whole(logits, size, *, temperature=1.0, align_corners=False):
    """The definition: everything enlarged at once, then the energy."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    enlarged = functional.interpolate(
        wide.contiguous(), size=size, mode="bilinear", align_corners=align_corners
    )
    return energy(enlarged, temperature=temperature)


@pytest.fixture
def bands(monkeypatch):
    """The bands that were cut."""
    seen = []
    original = maps._bands

    def spy(width, columns):
        cut = list(original(width, columns))
        seen.append(cut)
        return cut

    monkeypatch.setattr(maps, "_bands", spy)
    return seen


class TestBits:
    @pytest.mark.parametrize(
        ("low", "size"),
        [
            ((16, 32), (128, 256)),  # 8, as DeepLab
            ((32, 64), (128, 256)),  # 4, as SegFormer and HRNet
            ((45, 80), (90, 160)),  # 2
            ((30, 60), (90, 180)),  # 3: no power of two
            ((33, 47), (100, 150)),  # nothing divides
            ((65, 65), (513, 513)),  # 513 crops
            ((97, 130), (70, 131)),  # lower and barely wider
            ((1, 9), (65, 128)),
            ((9, 1), (65, 128)),
            ((70, 129), (70, 300)),  # one axis only
            ((20, 300), (99, 300)),
        ],
    )
    @pytest.mark.parametrize("align_corners", [False, True])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_bands_give_the_bits_of_the_whole(self, low, size, align_corners, threads, bands):
        logits = 5 * torch.randn(2, 7, *low)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            banded = energy_map(logits, size, align_corners=align_corners, band_bytes=1)
            assert torch.equal(banded, whole(logits, size, align_corners=align_corners))
        finally:
            torch.set_num_threads(before)
        assert len(bands) == 2
        assert len(bands[0]) == size[1] // 64

    @settings(max_examples=40)
    @given(
        classes=st.sampled_from([1, 2, 3, 4, 5, 19, 40]),
        low=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        scale=st.tuples(st.floats(0.5, 9), st.floats(0.5, 9)),
        align_corners=st.booleans(),
        temperature=st.sampled_from([1.0, 2.5]),
        dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
        channels_last=st.booleans(),
        band_bytes=st.sampled_from([1, 200_000]),
    )
    def test_any_shape(
        self, classes, low, scale, align_corners, temperature, dtype, channels_last, band_bytes
    ):
        size = tuple(max(1, round(side * factor)) for side, factor in zip(low, scale, strict=True))
        logits = (5 * torch.randn(2, classes, *low)).to(dtype)
        if channels_last:
            logits = logits.contiguous(memory_format=torch.channels_last)
        banded = energy_map(
            logits, size, temperature=temperature, align_corners=align_corners, band_bytes=band_bytes
        )
        assert torch.equal(banded, whole(logits, size, temperature=temperature, align_corners=align_corners))

    @pytest.mark.parametrize(
        ("classes", "low", "size"),
        [
            (3, (16, 32), (128, 256)),
            (5, (1, 1), (70, 256)),
            (5, (16, 32), (64, 256)),
            (5, (16, 32), (256, 127)),
        ],
    )
    def test_what_pytorch_computes_otherwise_is_not_cut(self, classes, low, size, bands):
        logits = 5 * torch.randn(2, classes, *low)
        assert torch.equal(energy_map(logits, size, band_bytes=1), whole(logits, size))
        assert not bands

    @pytest.mark.parametrize("special", [math.inf, -math.inf, math.nan])
    def test_special_values_come_out_as_from_the_whole(self, special):
        logits = torch.randn(1, 5, 16, 32)
        logits[0, 2, 5, 6] = special
        banded = energy_map(logits, (128, 256), band_bytes=1)
        assert torch.equal(banded.nan_to_num(nan=1e9), whole(logits, (128, 256)).nan_to_num(nan=1e9))

    def test_gradients_are_those_of_the_whole(self):
        logits = torch.randn(1, 5, 16, 32, requires_grad=True)
        energy_map(logits, (128, 256), band_bytes=1).square().sum().backward()
        gradient = logits.grad.clone()
        logits.grad = None
        whole(logits, (128, 256)).square().sum().backward()
        assert torch.equal(gradient, logits.grad)

    def test_each_value_is_the_energy_of_interpolated_logits(self):
        logits = 5 * torch.randn(2, 7, 16, 32, dtype=torch.float64)
        enlarged = functional.interpolate(logits, size=(128, 256), mode="bilinear")
        expected = -torch.logsumexp(enlarged, 1)
        assert torch.allclose(
            energy_map(logits.float(), (128, 256), band_bytes=1).double(), expected, atol=1e-5
        )


class TestOtherModes:
    @pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
    @pytest.mark.parametrize("size", [(32, 64), (17, 50), (5, 6)])
    def test_nearest_picks_pixels_so_the_order_is_free(self, mode, size):
        logits = torch.randn(2, 5, 8, 16)
        enlarged = functional.interpolate(logits, size=size, mode=mode)
        assert torch.allclose(energy_map(logits, size, mode=mode), energy(enlarged), atol=1e-6)

    def test_bilinear_is_another_quantity_when_the_energy_comes_first(self):
        logits = 5 * torch.randn(1, 19, 16, 32)
        late = functional.interpolate(energy(logits).unsqueeze(1), size=(128, 256), mode="bilinear")
        assert (late.squeeze(1) - energy_map(logits, (128, 256))).abs().mean() > 1.0

    @pytest.mark.parametrize("mode", ["bicubic", "area", "linear", ""])
    def test_unknown_modes_are_refused(self, mode):
        with pytest.raises(ValueError, match="enlarge the logits yourself"):
            energy_map(torch.randn(1, 5, 8, 8), (16, 16), mode=mode)


class TestBounds:
    def test_memory_stays_within_the_bands(self):
        logits = torch.randn(1, 19, 64, 128)
        size = (512, 1024)
        reference = _peak_bytes(lambda: whole(logits, size))
        assert _peak_bytes(lambda: energy_map(logits, size, band_bytes=1 << 20)) < 0.2 * reference

    def test_memory_does_not_grow_with_the_batch(self):
        logits = torch.randn(4, 19, 32, 64)
        one = _peak_bytes(lambda: energy_map(logits[:1], (256, 512), band_bytes=1 << 20))
        four = _peak_bytes(lambda: energy_map(logits, (256, 512), band_bytes=1 << 20))
        result = 4 * 256 * 512
        assert four - one < 4 * result  # three more results, and nothing else

    @pytest.mark.parametrize("limit", [0, BAND_BYTES])
    def test_bands_are_cut_only_above_the_limit(self, limit, bands):
        energy_map(torch.randn(1, 5, 16, 32), (128, 256), band_bytes=limit)
        assert bool(bands) is (limit == 0)

    def test_a_batch_within_one_image_limit_goes_image_by_image(self, bands):
        logits = torch.randn(3, 5, 16, 32)
        image = 5 * 128 * 256 * 4
        assert torch.equal(energy_map(logits, (128, 256), band_bytes=image), whole(logits, (128, 256)))
        assert not bands

    def test_bands_begin_at_multiples_of_64_and_cover_the_width(self):
        for width in (128, 130, 191, 192, 513, 2048):
            for columns in (64, 128):
                cut = list(maps._bands(width, columns))
                assert [band.start for band in cut] == [index * columns for index in range(len(cut))]
                assert [band.stop for band in cut[:-1]] == [band.start for band in cut[1:]]
                assert cut[-1].stop == width
                assert cut[-1].stop - cut[-1].start >= columns


class TestArguments:
    @pytest.mark.parametrize("shape", [(2, 5), (2, 5, 6), (2, 5, 6, 7, 8)])
    def test_rank(self, shape):
        with pytest.raises(ValueError, match="B x C x h x w"):
            energy_map(torch.randn(shape), (16, 16))

    @pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4)])
    def test_size(self, size):
        with pytest.raises(ValueError, match="both at least 1"):
            energy_map(torch.randn(1, 5, 8, 8), size)

    def test_the_size_of_the_logits_changes_nothing(self):
        logits = torch.randn(1, 5, 90, 200)
        assert torch.equal(energy_map(logits, (90, 200), band_bytes=1), energy(logits))


def _peak_bytes(function):
    """Most bytes that tensors took at once while `function` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    current = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak
