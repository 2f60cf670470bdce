"""Networks of pytorch-ood and torchvision by name, through the plug-in manager."""

import pytest
import torch

from energy_plugin.manager import default_manager

host = pytest.importorskip("pytorch_ood.model", reason="the extra [pytorch-ood] is not installed")


def made(name, **options):
    return default_manager().get("backbone", name).load()(**options)


def test_a_key_of_the_registry_gives_its_architecture_and_what_images_it_takes():
    network = made("pytorch_ood:wrn-40-2/cifar100/energy/s1")
    assert isinstance(network, host.WideResNet)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 100)
    assert network.data_config["input_size"] == (3, 32, 32)
    assert network.data_config["mean"] == pytest.approx((0.4914, 0.4824, 0.4467), abs=1e-4)


def test_a_class_takes_its_own_options():
    network = made("pytorch_ood:WideResNet", num_classes=7, depth=16, widen_factor=1)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_weights_come_from_the_host(monkeypatch):
    asked = []
    monkeypatch.setattr(host, "load_model", lambda key: asked.append(key) or torch.nn.Identity())
    network = made("pytorch_ood:wrn-40-2/cifar10/oe", pretrained=True)
    assert asked == ["wrn-40-2/cifar10/oe"]
    assert network.data_config["input_size"] == (3, 32, 32)
    with pytest.raises(ValueError, match="is a class: weights belong to a key"):
        made("pytorch_ood:WideResNet", pretrained=True)


def test_torchvision_s_classifiers_are_made_by_name():
    network = made("torchvision:mobilenet_v3_small", num_classes=5)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_ood:wrn-40-2/cifar10/energi", "Did you mean .*wrn-40-2/cifar10/energy"),
        ("pytorch_ood:WideResnet", "Did you mean 'WideResNet'"),
        ("torchvision:resnet5O", "Did you mean 'resnet50'"),
    ],
)
def test_an_unknown_network_is_told_with_near_misses(name, said):
    with pytest.raises(LookupError, match=said):
        made(name)
