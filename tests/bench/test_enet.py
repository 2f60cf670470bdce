"""ENet: the tensors of the published weights, its sizes, and a known figure where the weights are at hand."""

from __future__ import annotations

import pytest
import torch

from energy_plugin.manager import default_manager
from energy_plugin_bench.networks.enet import ENet

WEIGHTS = "segmentation/weights/enet_cityscapes_void_yurnero14.safetensors"


def test_tensors_are_those_of_the_published_weights():
    state = ENet(20).state_dict()
    assert len(state) == 622
    assert sum(tensor.numel() for tensor in state.values()) == 360_500
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["initial_block.main_branch.weight"] == (13, 3, 3, 3)
    assert shapes["downsample2_0.ext_conv1.0.weight"] == (16, 64, 2, 2)
    assert shapes["asymmetric3_2.ext_conv2.3.weight"] == (32, 32, 1, 5)
    assert shapes["upsample4_0.ext_tconv1.weight"] == (32, 32, 2, 2)
    assert shapes["transposed_conv.weight"] == (16, 20, 3, 3)
    assert not any(name.endswith("conv.bias") for name in shapes)


@pytest.mark.parametrize("size", [(64, 96), (72, 128), (61, 45)])
def test_logits_have_the_size_of_the_image(size):
    network = ENet(7).eval()
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        logits = network(images)
        head = network.head(*network.trunk(images), size)
    assert logits.shape == (2, 7, *size)
    assert torch.equal(head, logits)


def test_the_void_output_can_be_left_out():
    torch.manual_seed(0)
    whole, kept = (
        ENet(20).eval(),
        default_manager().get("backbone", "enet").load()(classes=20, keep=19).eval(),
    )
    kept.load_state_dict(whole.state_dict(), strict=True)
    with torch.no_grad():
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(kept(images), whole(images)[:, :19])


def test_only_the_head_is_trained_where_only_the_head_is_asked_for():
    network = ENet(5)
    network.requires_grad_(False)
    network.head_parts().requires_grad_(True)
    trained = {name.partition(".")[0] for name, part in network.named_parameters() if part.requires_grad}
    assert trained == {"upsample5_0", "regular5_1", "transposed_conv"}
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert network.transposed_conv.weight.grad is not None
    assert network.regular1_1.ext_conv1[0].weight.grad is None


@pytest.mark.long
def test_the_published_figure_of_the_smallest_set(data_root):
    """RoadAnomaly21, 512 x 1024: the weights load strictly and give the published AP and FPR95."""
    from energy_plugin_bench.inputs.assets import Assets
    from energy_plugin_bench.values import registry
    from energy_plugin_bench.verdicts.runner import Runner

    loaded = registry.load()
    runner = Runner(loaded, Assets(loaded.files, data_root))
    chosen = loaded.select(expression="yurnero14_enet_void_smiyc_roadanomaly21_512x1024")
    assert [runner.verdict(*row).status for row in chosen] == ["reproduced", "reproduced"]
