"""Predicting with the detector, its threshold, its state, and what it says of itself."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin import detector as module
from energy_plugin.detector import EnergyDetector
from energy_plugin.errors import NotFittedError
from energy_plugin.thresholds import ShareThreshold, Threshold


class Network(nn.Module):
    """Small, and different in training: dropout draws, batch norm moves its statistics."""

    def __init__(self, classes=4):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout()
        self.head = nn.Linear(3, classes)

    def forward(self, inputs):
        return self.head(self.drop(self.norm(inputs)))


def modes(network):
    return [part.training for part in network.modules()]


def images(count=100, seed=1):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def id_loader(logits, batch=32):
    return DataLoader(TensorDataset(logits, torch.zeros(len(logits), dtype=torch.long)), batch_size=batch)


class TestPredict:
    def test_a_network_in_training_is_evaluated_and_stays_in_training(self):
        network = Network().train()
        network.norm.eval()
        before, statistics = modes(network), copy.deepcopy(network.norm.state_dict())
        network.norm.train()
        network.norm.eval()
        detector = EnergyDetector(network)
        first, second = detector.predict(images()), detector.predict(images())
        assert torch.equal(first, second)
        assert torch.equal(first, EnergyDetector(copy.deepcopy(network).eval()).forward(images()).detach())
        assert modes(network) == before
        assert all(torch.equal(value, statistics[name]) for name, value in network.norm.state_dict().items())

    def test_batch_norm_statistics_do_not_move(self):
        network = Network().train()
        statistics = copy.deepcopy(network.norm.state_dict())
        detector = EnergyDetector(network)
        detector.predict(images())
        detector.fit([images()])
        detector.is_ood(images())
        assert all(torch.equal(value, statistics[name]) for name, value in network.norm.state_dict().items())
        assert network.norm.training

    def test_modes_come_back_after_an_error(self):
        network = Network().train()
        with pytest.raises(RuntimeError):
            EnergyDetector(network).predict(torch.randn(4, 99))
        assert all(modes(network))

    def test_no_graph_is_kept_and_the_scores_are_ordinary_tensors(self):
        scores = EnergyDetector(Network()).predict(images())
        assert not scores.requires_grad
        assert not scores.is_inference()
        scores[0] = 1.0  # refused for an inference tensor
        weight = torch.ones(1, requires_grad=True)
        (weight * scores).sum().backward()

    def test_forward_keeps_gradient_and_mode(self):
        network = Network().train()
        scores = EnergyDetector(network)(images())
        assert scores.requires_grad
        assert not torch.equal(scores, EnergyDetector(network)(images()))  # dropout

    def test_inputs_are_brought_to_the_network_which_stays_where_it_is(self):
        network, seen = nn.Linear(3, 2, device="meta"), []
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].device.type))
        assert EnergyDetector(network).predict(images()).device.type == "meta"
        assert seen == ["meta"]
        assert network.weight.device.type == "meta"

    def test_a_plain_callable_is_a_network(self):
        weight = torch.randn(3, 4)
        detector = EnergyDetector(lambda inputs: inputs @ weight)
        assert torch.equal(detector.predict(images()), detector.score(images() @ weight))

    def test_without_a_network_logits_are_the_input(self):
        logits = torch.randn(5, 4)
        detector = EnergyDetector()
        assert torch.equal(detector(logits), detector.score(logits))
        assert torch.equal(detector.predict(logits), detector.score(logits))
        last = nn.Sequential(nn.Linear(3, 4), detector)
        assert last(images()).shape == (100,)

    def test_keyword_networks_get_mappings(self):
        class Keyworded(nn.Module):
            def forward(self, *, input_ids, attention_mask):
                return {"loss": torch.tensor(0.0), "logits": input_ids * attention_mask}

        ids = torch.randn(5, 4)
        scores = EnergyDetector(Keyworded()).predict({"input_ids": ids, "attention_mask": 1})
        assert torch.equal(scores, EnergyDetector().score(ids))

    def test_maps_at_the_resolution_of_the_image(self):
        network = nn.Conv2d(3, 5, 3, stride=4)
        scores = EnergyDetector(network).predict(torch.randn(2, 3, 32, 40), size=(32, 40))
        assert scores.shape == (2, 32, 40)

    @pytest.mark.parametrize("model", ["resnet18", 3, {}])
    def test_what_is_no_network_is_refused(self, model):
        with pytest.raises(TypeError, match="model must be a network"):
            EnergyDetector(model)


class TestFit:
    @pytest.mark.parametrize("tpr", [0.5, 0.9, 0.95, 1.0])
    def test_the_share_of_id_is_accepted(self, tpr):
        detector = EnergyDetector(Network())
        assert detector.fit(id_loader(images(1000)), tpr) is detector
        accepted = (~detector.is_ood(images(1000))).double().mean()
        assert accepted == tpr
        scores = detector.predict(images(1000))
        assert detector.threshold in scores.tolist()
        assert detector.fitted == Threshold(value=detector.threshold, share=tpr, count=1000)

    def test_default_is_95_percent(self):
        detector = EnergyDetector().fit([torch.randn(200, 4)])
        assert detector.fitted.share == 0.95

    def test_new_data_are_decided_by_it(self):
        detector = EnergyDetector().fit([torch.tensor([[9.0, 0], [8, 0], [7, 0], [6, 0]])], tpr=0.75)
        found = detector.is_ood(torch.tensor([[7.0, 0], [6.9, 0], [20, 0], [0, 0]]))
        assert found.tolist() == [False, True, False, True]

    def test_only_targets_that_say_id_count(self):
        logits = torch.arange(10.0)[:, None] * torch.tensor([1.0, 0])
        targets = torch.tensor([0, -1, 255, 3, -100, 1, 1, -2, 254, 0])
        detector = EnergyDetector().fit([(logits, targets)], tpr=1.0, void=(255, 254))
        assert detector.fitted.count == 5
        assert detector.threshold == pytest.approx(detector.score(logits)[[0, 3, 5, 6, 9]].max().item())

    def test_void_pixels_do_not_count(self):
        logits = torch.randn(2, 5, 6, 7)
        mask = torch.zeros(2, 6, 7, dtype=torch.long)
        mask[0] = -1
        mask[1, :3] = 255
        detector = EnergyDetector().fit([(logits, mask)], tpr=1.0, void=[255])
        assert detector.fitted.count == 3 * 7
        assert detector.threshold == detector.score(logits)[1, 3:].max()

    def test_minus_one_in_uint8_is_noticed(self):
        mask = torch.tensor([0, 1, -1]).to(torch.uint8)
        with pytest.raises(ValueError, match="which cannot hold -1"):
            EnergyDetector().fit([(torch.randn(3, 4), mask)])

    def test_maps_take_the_size_of_their_masks(self):
        batches = [(torch.randn(1, 5, 4, 4), torch.zeros(1, height, 9)) for height in (8, 12)]
        detector = EnergyDetector().fit(batches, tpr=1.0, size="targets")
        assert detector.fitted.count == (8 + 12) * 9
        expected = max(float(detector.score(x, size=y.shape[1:]).max()) for x, y in batches)
        assert detector.threshold == expected

    def test_maps_of_another_size_than_their_masks_are_refused_with_the_way_out(self):
        with pytest.raises(ValueError, match="size='targets'"):
            EnergyDetector().fit([(torch.randn(1, 5, 4, 4), torch.zeros(1, 8, 8))])

    @pytest.mark.parametrize("batch", [torch.randn(2, 5, 4, 4), (torch.randn(2, 5, 4, 4), torch.zeros(2))])
    def test_size_of_masks_that_are_not_there(self, batch):
        with pytest.raises(ValueError, match="masks B x H x W"):
            EnergyDetector().fit([batch], size="targets")

    @pytest.mark.parametrize("size", ["target", (8, 8)])
    def test_other_sizes(self, size):
        batch = (torch.randn(2, 5, 4, 4), torch.zeros(2, 8, 8))
        if size == "target":
            with pytest.raises(ValueError, match="'target' with targets"):
                EnergyDetector().fit([batch], size=size)
        else:
            assert EnergyDetector().fit([batch], size=size).fitted.count == 128

    def test_batches_do_not_matter(self):
        logits = torch.randn(300, 4)
        thresholds = {EnergyDetector().fit(id_loader(logits, batch)).threshold for batch in (1, 7, 300)}
        assert len(thresholds) == 1

    def test_more_scores_than_are_kept(self, monkeypatch):
        monkeypatch.setattr(module, "ShareThreshold", lambda: ShareThreshold(exact=1000))
        logits = 5 * torch.randn(5000, 4)
        detector = EnergyDetector().fit(id_loader(logits))
        exact = detector.score(logits).sort().values[4749].item()
        assert exact <= detector.threshold <= exact + detector.fitted.bin_width
        assert detector.fitted.bin_width < 1e-2
        assert 0.95 <= (~detector.is_ood(logits)).double().mean() < 0.952

    @pytest.mark.parametrize("tpr", [0, -0.1, 1.01, 95, math.nan])
    def test_shares_that_make_no_sense_are_refused(self, tpr):
        with pytest.raises(ValueError, match=r"in \(0, 1\]"):
            EnergyDetector().fit([torch.randn(5, 4)], tpr)

    def test_no_id_sample_at_all(self):
        for loader in ([], [torch.randn(0, 4)], [(torch.randn(3, 4), torch.tensor([-1, -1, -1]))]):
            with pytest.raises(ValueError, match="leave no sample over"):
                EnergyDetector().fit(loader)

    def test_nan_scores_are_refused_with_their_number(self):
        logits = torch.randn(5, 4)
        logits[3, 1] = math.nan
        detector = EnergyDetector()
        with pytest.raises(ValueError, match="1 of 5 scores of a batch are NaN"):
            detector.fit([logits])
        assert detector.threshold is None

    def test_modes_come_back_after_an_error(self):
        network = Network().train()
        with pytest.raises(ValueError):
            EnergyDetector(network).fit([images() * math.nan])
        assert all(modes(network))

    def test_a_failed_fit_leaves_the_old_threshold(self):
        detector = EnergyDetector().fit([torch.randn(5, 4)])
        before = detector.threshold
        with pytest.raises(ValueError):
            detector.fit([])
        assert detector.threshold == before

    @pytest.mark.parametrize("normalise", [torch.softmax, torch.log_softmax])
    def test_probabilities_are_noticed_once(self, normalise):
        loader = [normalise(torch.randn(64, 10), 1) for _ in range(3)]
        with pytest.warns(UserWarning, match="probabilities: all 640 values") as caught:
            EnergyDetector().fit(loader)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert "before the softmax" in str(caught[0].message)

    def test_logits_are_not_warned_about(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            EnergyDetector().fit([torch.randn(64, 10)])
            EnergyDetector(class_dim=-1).fit([torch.randn(4, 6, 10)])


class TestIsOod:
    def test_before_fitting(self):
        detector = EnergyDetector(Network())
        for call in (lambda: detector.is_ood(images()), lambda: detector.is_ood(scores=torch.randn(3))):
            with pytest.raises(NotFittedError, match="call `fit"):
                call()
        assert detector.threshold is None
        assert issubclass(NotFittedError, ValueError | AttributeError)

    def test_scores_instead_of_inputs(self):
        detector = EnergyDetector(Network()).fit([images()])
        scores = detector.predict(images(50, seed=2))
        assert torch.equal(detector.is_ood(scores=scores), detector.is_ood(images(50, seed=2)))

    def test_neither_or_both(self):
        detector = EnergyDetector().fit([torch.randn(5, 4)])
        with pytest.raises(TypeError, match="either inputs or scores"):
            detector.is_ood()
        with pytest.raises(TypeError, match="either inputs or scores"):
            detector.is_ood(torch.randn(5, 4), scores=torch.randn(5))

    def test_nan_is_not_vouched_for(self):
        detector = EnergyDetector()
        detector.threshold = 0.0
        found = detector.is_ood(scores=torch.tensor([-1.0, 0.0, 1.0, math.nan, math.inf, -math.inf]))
        assert found.tolist() == [False, False, True, True, True, False]

    def test_maps(self):
        detector = EnergyDetector().fit([torch.randn(2, 5, 4, 4)])
        assert detector.is_ood(torch.randn(2, 5, 4, 4), size=(8, 8)).shape == (2, 8, 8)


class TestState:
    def test_threshold_and_temperature_travel(self):
        detector = EnergyDetector(Network(), temperature=0.1).fit([images()])
        state = detector.state_dict()
        fresh = EnergyDetector(Network())
        assert str(fresh.load_state_dict(state)) == "<All keys matched successfully>"
        assert (fresh.temperature, fresh.threshold) == (0.1, detector.threshold)
        assert torch.equal(fresh.is_ood(images()), detector.is_ood(images()))
        assert {"temperature", "threshold"} < set(state)

    def test_half_precision_does_not_round_them(self):
        detector = EnergyDetector(Network(), temperature=0.1).fit([images()])
        threshold = detector.threshold
        for narrow in (detector.half, detector.bfloat16):
            narrow()
            assert (detector.temperature, detector.threshold) == (0.1, threshold)
            assert detector.state_dict()["threshold"].item() == threshold
            assert detector.state_dict()["threshold"].dtype == torch.float64

    def test_an_unfitted_state_unfits(self):
        fitted = EnergyDetector().fit([torch.randn(9, 4)])
        fitted.load_state_dict(EnergyDetector(temperature=3.0).state_dict())
        assert fitted.threshold is None
        assert fitted.fitted is None
        assert fitted.temperature == 3.0

    def test_a_detector_inside_another_module(self):
        class Outer(nn.Module):
            def __init__(self):
                super().__init__()
                self.detector = EnergyDetector(Network())

        outer, fresh = Outer(), Outer()
        outer.detector.threshold = -3.25
        state = outer.state_dict()
        keys = set(state)
        fresh.load_state_dict(state)
        assert fresh.detector.threshold == -3.25
        assert set(state) == keys
        assert "detector.threshold" in keys

    def test_states_without_them(self):
        network = Network()
        detector = EnergyDetector(network)
        state = {f"model.{name}": value for name, value in network.state_dict().items()}
        with pytest.raises(RuntimeError, match="temperature"):
            detector.load_state_dict(state)
        detector.threshold = 1.0
        missing = detector.load_state_dict(state, strict=False)
        assert missing.missing_keys == ["temperature", "threshold"]
        assert detector.threshold == 1.0

    def test_states_that_make_no_sense(self):
        state = EnergyDetector().state_dict()
        state["temperature"] = torch.tensor(-1.0)
        detector = EnergyDetector()
        with pytest.raises(RuntimeError, match="temperature must be positive"):
            detector.load_state_dict(state)
        assert detector.temperature == 1.0

    def test_saved_without_pickle(self, tmp_path):
        path = tmp_path / "detector.pt"
        detector = EnergyDetector(Network()).fit([images()])
        torch.save(detector.state_dict(), path)
        fresh = EnergyDetector(Network())
        fresh.load_state_dict(torch.load(path, weights_only=True))
        assert fresh.threshold == detector.threshold

    def test_copies_are_whole(self):
        detector = EnergyDetector(Network(), temperature=2.0, class_dim=1, key=0).fit([images()])
        for twin in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
            assert torch.equal(twin.is_ood(images()), detector.is_ood(images()))
            assert repr(twin) == repr(detector)

    @pytest.mark.parametrize("value", ["1", True, [1.0]])
    def test_a_threshold_set_by_hand_is_a_number(self, value):
        with pytest.raises(TypeError, match="threshold must be a number"):
            EnergyDetector().threshold = value
        with pytest.raises(ValueError, match="NaN"):
            EnergyDetector().threshold = math.nan

    def test_a_threshold_set_by_hand_is_not_the_fitted_one(self):
        detector = EnergyDetector().fit([torch.randn(5, 4)])
        detector.threshold = torch.tensor(-2.0)
        assert detector.threshold == -2.0
        assert detector.fitted is None


class TestRepr:
    def test_one_line_with_the_figures(self):
        detector = EnergyDetector(Network(), temperature=2)
        assert repr(detector) == "EnergyDetector(model=Network of 22 parameters, temperature=2, not fitted)"
        detector.threshold = -1.5
        assert (
            repr(detector) == "EnergyDetector(model=Network of 22 parameters, temperature=2, threshold=-1.5)"
        )

    def test_what_the_threshold_comes_from(self):
        detector = EnergyDetector(class_dim=1, key="out").fit([torch.zeros(1200, 2)], tpr=0.9)
        assert repr(detector) == (
            "EnergyDetector(model=None, temperature=1, class_dim=1, key='out', threshold=-0.693147, "
            "which accepts 0.9 of 1,200 ID scores)"
        )

    def test_detectors_can_be_told_apart(self):
        assert repr(EnergyDetector(temperature=1)) != repr(EnergyDetector(temperature=2))

    def test_other_callables_have_their_names(self):
        assert "model=relu" in repr(EnergyDetector(torch.relu))
