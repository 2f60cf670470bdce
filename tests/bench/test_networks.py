"""The networks give the logits that were published with their weights, digit by digit."""

import re
from functools import partial

import pytest
import torch

from energy_plugin_bench.inputs.assets import CorruptAssetError
from energy_plugin_bench.inputs.weights import load_weights
from energy_plugin_bench.networks.bit import BigTransferResNet
from energy_plugin_bench.networks.convnet import OutlierExposureConvNet
from energy_plugin_bench.networks.densenet import DenseNetBC100
from energy_plugin_bench.networks.resnet import BasicBlock, CifarResNet
from energy_plugin_bench.passes.passes import logits_file

# Logits of the first test image, to three decimals, as they are stated with the converted weights.
GOLDEN = {
    ("outlier_exposure_mnist", "baseline_epoch_9", "mnist_test"): (
        -6.687, -1.383, 3.735, 3.219, -4.389, -8.079, -16.298, 17.478, -1.835, 4.622,
    ),
    ("song_energy_ood", "densenet100_mnist0to7_song", "mnist_test"): (
        -0.985, -1.822, -1.473, -0.470, -0.994, -1.620, -4.904, 12.231,
    ),
    ("song_energy_ood", "densenet100_mnist0to7_song_energyft32", "mnist_test"): (
        -0.459, -1.024, -0.708, 0.852, 0.352, -0.905, -6.790, 27.533,
    ),
    ("song_energy_ood", "densenet100_mnist0to7_song_oeft32", "mnist_test"): (
        -1.024, -1.811, -0.939, -0.597, -1.957, -2.174, -4.730, 13.185,
    ),
    ("song_energy_ood", "densenet100_cifar10_song", "cifar10_test"): (
        -2.107, -0.718, -0.303, 16.399, -5.866, 3.964, -1.903, -3.894, -1.983, -3.599,
    ),
    ("akamaster_resnet", "resnet20_cifar10_akamaster", "cifar10_test"): (
        -5.310, -0.496, 0.877, 23.731, -4.105, 4.464, -0.234, -5.418, -3.712, -9.882,
    ),
    ("akamaster_resnet", "resnet56_cifar10_akamaster", "cifar10_test"): (
        -5.526, -1.547, -0.716, 19.439, -5.098, 3.022, -1.511, -0.935, -1.796, -5.405,
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", GOLDEN, ids=lambda key: key[1])
def test_golden_logits_of_the_first_image(carried_runner, key):
    source, network, name = key
    recipe = carried_runner.registry.recipes[source]
    logits = carried_runner.passes(recipe, network, name).logits[0]
    assert logits.tolist() == pytest.approx(GOLDEN[key], abs=0.0006)


def test_the_carried_densenets_give_them_from_the_image(carried_runner):
    recipe = carried_runner.registry.recipes["song_energy_ood"]
    for network in ("densenet100_mnist0to7_song", "densenet100_mnist0to7_song_energyft32"):
        logits = carried_runner.passes.compute(recipe, network, "mnist_test", every=10_000).logits[0]
        assert logits.tolist() == pytest.approx(GOLDEN["song_energy_ood", network, "mnist_test"], abs=0.0006)


def test_sizes():
    def size(model):
        return sum(parameter.numel() for parameter in model.parameters())

    assert size(OutlierExposureConvNet()) == 21_840
    assert len(DenseNetBC100(8, 1).state_dict()) == 596
    assert DenseNetBC100(8, 1).fc.in_features == 342
    assert size(CifarResNet(blocks=3)) == 269_722
    assert size(CifarResNet(blocks=9)) == 853_018


def test_a_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = BasicBlock(2, 6, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    images = torch.arange(32.0).view(1, 2, 4, 4)
    with torch.inference_mode():
        out = block(images)
    assert torch.equal(out[:, 2:4], images[:, :, ::2, ::2])
    assert out[:, [0, 1, 4, 5]].abs().max() == 0


def test_the_last_window_is_part_of_the_network():
    torch.manual_seed(0)
    small, whole = DenseNetBC100(pool=7).eval(), DenseNetBC100(pool=8).eval()
    whole.load_state_dict(small.state_dict())
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert not torch.allclose(small(images), whole(images))


def test_weights_of_another_network_are_refused(carried_runner):
    file = carried_runner.assets.find("mnist/weights/baseline_epoch_9.safetensors")
    with pytest.raises(CorruptAssetError, match="does not fit CifarResNet"):
        load_weights(CifarResNet(), file)


def test_a_file_of_weights_that_is_none_is_refused(tmp_path):
    (tmp_path / "odd.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(CorruptAssetError, match="does not fit"):
        load_weights(CifarResNet(), tmp_path / "odd.safetensors")


def test_carried_logits_have_one_name_for_each_pass(registry):
    recipe = registry.recipes["song_energy_ood"]
    assert logits_file(recipe, "n", "i") == "logits/song_energy_ood/n--i.safetensors"


def test_big_transfer_is_timm_s_architecture_under_the_published_names():
    timm = pytest.importorskip("timm", reason="the extra [timm] is the reference")
    ours = BigTransferResNet(10, units=(1, 2, 1, 1)).eval()
    torch.nn.init.normal_(ours.head.conv.weight)
    torch.nn.init.normal_(ours.body.block1.unit01.gn1.bias)
    theirs = timm.models.resnetv2.ResNetV2(
        [1, 2, 1, 1], num_classes=10, stem_type="fixed", conv_layer=partial(timm.layers.StdConv2d, eps=1e-10)
    ).eval()
    assert [len(x) for x in (ours.state_dict(), theirs.state_dict())] == [54, 54]
    theirs.load_state_dict({timm_name(name): value for name, value in ours.state_dict().items()})
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-3)


def timm_name(name):
    name = re.sub(
        r"^body\.block(\d)\.unit(\d\d)",
        lambda found: f"stages.{int(found[1]) - 1}.blocks.{int(found[2]) - 1}",
        name,
    )
    for ours, theirs in {
        r"^root\.": "stem.", r"\.gn(\d)": r".norm\1", r"downsample\.": "downsample.conv.",
        r"^before_head\.gn": "norm", r"^head\.conv": "head.fc",
    }.items():  # fmt: skip
        name = re.sub(ours, theirs, name)
    return name


def test_a_shortcut_with_parameters_is_where_the_shape_changes():
    network = CifarResNet(10, 2, (64, 128, 256, 512), projection=True)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962  # of the ResNet-18 for 32 x 32 images
    assert {name.split(".")[0] for name in network.state_dict() if "downsample" in name} == {
        "layer2", "layer3", "layer4",
    }  # fmt: skip
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sum(p.numel() for p in CifarResNet(projection=True).parameters()) == 272_474
