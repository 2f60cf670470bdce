"""Batches taken apart, brought to the network's device, and their ID part found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from energy_plugin.batches import codes, device_of, id_mask, parts, run
from energy_plugin.detector import EnergyDetector
from energy_plugin.margins import suggest
from energy_plugin.metrics import split
from energy_plugin.streaming import StreamingMetrics

X, Y = torch.randn(4, 3), torch.arange(4)


class TestParts:
    @pytest.mark.parametrize("batch", [X, (X,), [X], (X, None), {"data": X}, {"pixel_values": X}])
    def test_without_targets(self, batch):
        inputs, targets = parts(batch)
        assert inputs is X
        assert targets is None

    @pytest.mark.parametrize(
        "batch",
        [
            (X, Y),
            [X, Y],
            (X, Y, "path"),
            {"data": X, "label": Y},
            {"image": X, "mask": Y},
            {"x": X, "y": Y.tolist()},
        ],
    )
    def test_with_targets(self, batch):
        inputs, targets = parts(batch)
        assert inputs is X
        assert torch.equal(targets, Y)

    def test_other_mappings_become_keyword_arguments(self):
        batch = {"input_ids": X, "attention_mask": Y, "labels": Y}
        inputs, targets = parts(batch)
        assert inputs == {"input_ids": X, "attention_mask": Y}
        assert targets is Y
        assert "labels" in batch

    @pytest.mark.parametrize(
        ("batch", "said"), [("text", "a str"), (None, "a NoneType"), ((), "empty"), (3.0, "a float")]
    )
    def test_other_kinds_are_refused(self, batch, said):
        with pytest.raises(TypeError, match=f"a batch of the loader is {said}; expected"):
            parts(batch)


class TestRun:
    def test_inputs_go_where_the_network_is(self):
        network = nn.Linear(3, 2, device="meta")
        seen = []
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].device.type))
        run(network, X)
        assert seen == ["meta"]
        assert device_of(network) == torch.device("meta")

    def test_mappings_become_keyword_arguments(self):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(3, 2, device="meta")

            def forward(self, *, ids, scale):
                return ids.device.type, scale

        assert run(Network(), {"ids": X, "scale": 2}) == ("meta", 2)

    def test_a_network_over_several_devices_places_its_inputs_itself(self):
        spread = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"))
        assert device_of(spread) is None
        assert run(lambda inputs: inputs, X) is X

    def test_other_inputs_are_handed_on(self):
        assert run(lambda inputs: inputs, ["text"]) == ["text"]


class TestIdMask:
    def test_only_targets_from_zero_on_count(self):
        targets = torch.tensor([0, 5, -1, -100])
        assert id_mask(targets, torch.randn(4)).tolist() == [True, True, False, False]

    def test_void_codes_are_left_out(self):
        targets = torch.tensor([0, 255, 254, -1, 3])
        assert id_mask(targets, torch.randn(5), (255, 254)).tolist() == [True, False, False, False, True]

    @pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3, 4)])
    def test_masks(self, shape):
        targets = torch.randint(-1, 2, shape)
        assert torch.equal(id_mask(targets, torch.randn(2, 3, 4)), targets.reshape(2, 3, 4) >= 0)

    def test_a_target_of_an_image_is_that_of_its_pixels(self):
        mask = id_mask(torch.tensor([1, -1]), torch.randn(2, 3, 4))
        assert mask.shape == (2, 3, 4)
        assert mask[0].all()
        assert not mask[1].any()

    def test_column_vectors(self):
        assert id_mask(torch.tensor([[1], [-1]]), torch.randn(2)).tolist() == [True, False]

    def test_float_masks(self):
        assert id_mask(torch.tensor([0.0, -1.0]), torch.randn(2)).tolist() == [True, False]

    @pytest.mark.parametrize("shape", [(3,), (2, 6, 8), (2, 2, 3, 4), (1, 3, 4)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"do not fit scores of shape \(2, 3, 4\); .*size='targets'"):
            id_mask(torch.zeros(shape), torch.randn(2, 3, 4))

    def test_bool_targets_are_refused(self):
        with pytest.raises(TypeError, match="bool"):
            id_mask(torch.ones(2, dtype=torch.bool), torch.randn(2))

    def test_minus_one_in_uint8_is_not_taken_for_a_class(self):
        targets = torch.tensor([0, -1, -1]).to(torch.uint8)
        with pytest.raises(ValueError, match="2 targets are 255 in uint8, which cannot hold -1"):
            id_mask(targets, torch.randn(3))
        assert id_mask(targets, torch.randn(3), void=(255,)).tolist() == [True, False, False]
        assert id_mask(torch.tensor([0, 254], dtype=torch.uint8), torch.randn(2)).all()


class Stream(IterableDataset):
    """A data set that gives batches itself."""

    def __iter__(self):
        yield from ((X, Y), (X + 1, Y))


LOADERS = [Stream(), DataLoader(TensorDataset(X, Y)), [X], {"a": X}.values()]


class TestLoaders:
    @pytest.mark.parametrize("loader", [X, TensorDataset(X, Y)], ids=["tensor", "data set"])
    def test_a_data_set_is_told_from_batches(self, loader):
        with pytest.raises(TypeError, match=r"looks like a data set; .*DataLoader\(id_loader, batch_size"):
            EnergyDetector().fit(loader)
        with pytest.raises(TypeError, match=r"DataLoader\(id_loader, batch_size"):
            suggest(nn.Identity(), loader, [X])
        with pytest.raises(TypeError, match=r"DataLoader\(ood_loader, batch_size"):
            suggest(nn.Identity(), [X], loader)

    def test_nothing_to_go_through(self):
        with pytest.raises(TypeError, match=r"id_loader must give batches .* got NoneType"):
            EnergyDetector().fit(None)

    @pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: type(loader).__name__)
    def test_whatever_gives_batches_is_taken(self, loader):
        assert EnergyDetector().fit(loader).threshold is not None


class TestCodes:
    @pytest.mark.parametrize("void", [255, (255,), [255.0], {255}, np.int64(255), torch.tensor([255])])
    def test_one_code_may_stand_alone(self, void):
        assert codes(void) == (255,)
        targets, scores = torch.tensor([0, 255, -1]), torch.tensor([0.1, 0.2, 0.3])
        assert id_mask(targets, scores, void).tolist() == [True, False, False]
        inside, outside = split(scores, targets, void=void)
        assert (inside.tolist(), outside.tolist()) == (scores[:1].tolist(), scores[2:].tolist())
        assert StreamingMetrics(void=void).void == {255}
        logits = torch.tensor([[1.0], [2.0], [3.0]])
        assert EnergyDetector().fit([(logits, targets)], void=void).fitted.count == 1

    @pytest.mark.parametrize("void", ["255", ("255",), 255.5, True, None, [None]])
    def test_codes_of_another_kind_are_refused(self, void):
        with pytest.raises(TypeError, match=r"void must be a code or codes such as \(255,\)"):
            codes(void)
