"""Which part of a network's output is the logits, and the modes that come back after an evaluation."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from energy_plugin.outputs import describe, evaluating, logits_of, normalised

LOGITS = torch.randn(4, 5)
MAPS = torch.randn(2, 5, 3, 3)


class ModelOutput(OrderedDict):
    """As in transformers: an ordered dictionary whose keys are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


@dataclass
class Prediction:
    logits: torch.Tensor
    features: torch.Tensor = field(default_factory=lambda: torch.randn(4, 9))


GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        {"logits": LOGITS, "features": torch.randn(4, 9)},
        OrderedDict(out=LOGITS, aux=torch.randn(4, 5)),
        ModelOutput(loss=torch.tensor(0.3), logits=LOGITS, hidden_states=(torch.randn(4, 9),)),
        Prediction(LOGITS),
        GoogLeNetOutputs(LOGITS, torch.randn(4, 5), torch.randn(4, 5)),
        (LOGITS,),
        [LOGITS],
        (torch.tensor(0.3), LOGITS, (torch.randn(4, 9), torch.randn(4, 9))),
        (LOGITS, torch.zeros(4, dtype=torch.long), None),
        {"out": torch.randn(4, 5), "logits": LOGITS},
    ],
    ids=lambda output: type(output).__name__,
)
def test_plain_meanings(output):
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ((LOGITS, torch.randn(4, 9)), "tuple(Tensor(4, 5) float32, Tensor(4, 9) float32)"),
        ({"scores": LOGITS}, "dict('scores': Tensor(4, 5) float32)"),
        ({}, "in dict"),
        ((), "in tuple"),
        ({"logits": None}, "dict('logits': NoneType)"),
        (None, "NoneType"),
        (LOGITS.numpy(), "ndarray"),
        ((torch.tensor(0.3),), "tuple(Tensor() float32)"),
        ((LOGITS.long(),), "tuple(Tensor(4, 5) int64)"),
    ],
)
def test_ambiguous_outputs_are_refused_with_what_came(output, said):
    with pytest.raises(TypeError) as caught:
        logits_of(output)
    assert said in str(caught.value)
    assert "key" in str(caught.value)


def test_key_names_the_part():
    features = torch.randn(4, 9)
    assert logits_of((features, LOGITS), 1) is LOGITS
    assert logits_of({"features": features, "scores": LOGITS}, "scores") is LOGITS
    assert logits_of(Prediction(features, LOGITS), "features") is LOGITS
    assert logits_of({"logits": features, 7: LOGITS}, 7) is LOGITS


def test_a_tensor_needs_no_key():
    # What is a tuple in training may be a tensor in evaluation: a position must not slice that one.
    assert logits_of(LOGITS, 0) is LOGITS
    assert logits_of(LOGITS, "logits") is LOGITS


@pytest.mark.parametrize(
    ("output", "key"),
    [((LOGITS, LOGITS), 2), ({"a": LOGITS}, "b"), ({"a": LOGITS}, 0), (Prediction(LOGITS), "nothing")],
)
def test_key_that_is_not_there(output, key):
    with pytest.raises(LookupError, match="must name a part") as caught:
        logits_of(output, key)
    assert repr(key) in str(caught.value)
    assert "(4, 5)" in str(caught.value)


def test_key_of_something_else_than_a_tensor():
    with pytest.raises(TypeError, match="'loss' in dict"):
        logits_of({"loss": 0.3, "logits": LOGITS}, "loss")


def test_describe_names_shapes_and_types():
    assert describe(MAPS) == "Tensor(2, 5, 3, 3) float32"
    assert describe([MAPS.half(), "text"]) == "list(Tensor(2, 5, 3, 3) float16, str)"
    assert describe(Prediction(LOGITS)).startswith("Prediction(logits: Tensor(4, 5) float32, features:")


class TestNormalised:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("classes", [2, 10, 1000])
    def test_probabilities_and_their_logarithms_are_noticed(self, dtype, classes):
        logits = 3 * torch.randn(64, classes)
        probabilities = normalised(logits.softmax(1).to(dtype))
        assert probabilities is not None
        assert probabilities.startswith("probabilities: all")
        assert f"{64 * classes:,} values" in probabilities
        if dtype in (torch.float64, torch.float32):
            assert normalised(logits.log_softmax(1).to(dtype)).startswith("log-probabilities: all")

    def test_the_class_dimension_counts(self):
        maps = MAPS.softmax(1)
        assert normalised(maps, 1) is not None
        assert normalised(maps, 2) is None
        assert normalised(maps.movedim(1, -1), -1) is not None

    @pytest.mark.parametrize(
        "logits",
        [
            LOGITS,
            LOGITS.sigmoid(),  # in [0, 1], but the sums differ
            -LOGITS.abs() - 1,
            torch.rand(4, 5) / 5,
            torch.ones(4, 1),  # one class: its probability says nothing
            torch.ones(0, 5),
            torch.full((4, 5), torch.nan),
        ],
    )
    def test_logits_are_left_alone(self, logits):
        assert normalised(logits) is None

    def test_one_odd_sample_is_enough_for_logits(self):
        mixed = LOGITS.softmax(1)
        mixed[2] = 0.9
        assert normalised(mixed) is None


class Merging(nn.Module):
    """As low-rank adapters do: `train` and `eval` change more than the flag."""

    def __init__(self):
        super().__init__()
        self.merged = False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)


def mixed_network():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(), Merging()))
    network.train()
    network[1].eval()  # frozen statistics
    return network


def modes(network):
    return [part.training for part in network.modules()]


class TestEvaluating:
    def test_every_submodule_gets_its_own_mode_back(self):
        network = mixed_network()
        before = modes(network)
        assert len(set(before)) == 2
        with evaluating(network):
            assert not any(modes(network))
            assert network[2][1].merged
        assert modes(network) == before
        assert not network[2][1].merged

    def test_modes_come_back_after_an_error(self):
        network = mixed_network()
        before = modes(network)
        with pytest.raises(ZeroDivisionError), evaluating(network):
            raise ZeroDivisionError
        assert modes(network) == before

    def test_modes_come_back_where_eval_itself_fails(self):
        class Stubborn(nn.Module):
            def train(self, mode=True):
                if not mode:
                    raise RuntimeError("stays in training")
                return super().train(mode)

        network = nn.Sequential(nn.Dropout(), Stubborn())
        with pytest.raises(RuntimeError, match="stays in training"), evaluating(network):
            pass
        assert all(modes(network))

    def test_a_part_in_training_under_an_evaluated_root_stays_so(self):
        network = mixed_network().eval()
        network[2][0].train()  # dropout left on, as for Monte Carlo
        before = modes(network)
        with evaluating(network):
            assert not any(modes(network))
        assert modes(network) == before

    def test_nothing_is_touched_in_evaluation_mode(self):
        network = mixed_network().eval()
        network[2][1].merged = "as it was"
        with evaluating(network):
            assert network[2][1].merged == "as it was"
        assert network[2][1].merged == "as it was"

    def test_other_callables_are_left_alone(self):
        with evaluating(torch.relu):
            pass


class TestRealNetworks:
    def test_segmentation_network_of_torchvision(self):
        segmentation = pytest.importorskip("torchvision.models.segmentation")
        network = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
        output = network.eval()(torch.randn(1, 3, 32, 32))
        assert logits_of(output) is output["out"]

    def test_auxiliary_heads_of_torchvision(self):
        models = pytest.importorskip("torchvision.models")
        network = models.googlenet(weights=None, num_classes=5, init_weights=False, aux_logits=True)
        output = network.train()(torch.randn(2, 3, 64, 64))
        assert isinstance(output, tuple)
        assert logits_of(output) is output.logits
