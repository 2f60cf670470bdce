"""timm models by name: logits and features of one pass, data configuration, names old and wrong."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from energy_plugin import EnergyDetector
from energy_plugin.errors import UnknownNameError
from energy_plugin.manager import default_manager

timm = pytest.importorskip("timm", reason="the extra [timm] is not installed")
from energy_plugin_timm import backbones  # noqa: E402 - needs timm

_spec = importlib.util.spec_from_file_location("timm_sweep", Path(__file__).with_name("timm_sweep.py"))
sweep = importlib.util.module_from_spec(_spec)
importlib.sys.modules["timm_sweep"] = sweep
_spec.loader.exec_module(sweep)

NO_GRAPH = {
    "sequencer2d_s": "dynamo does not take an LSTM",
}
"""Architectures that PyTorch cannot make one graph of, with the reason."""


def backbone(name, **options):
    return default_manager().get("backbone", f"timm:{name}").load()(**options)


@pytest.mark.parametrize("name", sweep.ORDINARY)
def test_logits_features_and_energies(name):
    sweep.swept(name, sweep.ORDINARY[name])


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(sweep.SWEEP) - set(sweep.ORDINARY)))
def test_logits_features_and_energies_of_every_family(name):
    sweep.swept(name, sweep.SWEEP[name], compiled=name not in NO_GRAPH)


def test_the_sweep_covers_sixty_architectures():
    assert len(sweep.SWEEP) >= 60
    assert len(sweep.ORDINARY) == 8


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv3_small_050"])
def test_features_are_what_the_classifier_is_given(name):
    model = backbone(name, num_classes=5).eval()
    size = 160 if name == "test_vit" else 64
    with torch.no_grad():
        logits, features = backbones.logits_and_features(model, torch.randn(2, 3, size, size))
        classifier = model.get_classifier()
        assert torch.equal(classifier(features.reshape(2, -1)), logits)


def test_a_distilled_model_gives_the_mean_of_its_classifiers_in_training_too():
    model = backbone("deit_tiny_distilled_patch16_224", num_classes=4)
    images = torch.randn(1, 3, 224, 224)
    expected = model.eval()(images)
    model.train().set_distilled_training(True)
    assert isinstance(model(images), tuple)
    logits, features = backbones.logits_and_features(model, images)
    assert features.shape == (1, 192)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(
    ("name", "size", "dim"),
    [
        ("test_resnet", 64, 1),
        ("swin_tiny_patch4_window7_224", 224, 3),
        ("test_vit", 160, 2),
    ],
)
def test_the_class_dimension_of_unpooled_logits(name, size, dim):
    model = backbone(name, num_classes=6, global_pool="").eval()
    classifier = getattr(model.get_classifier(), "fc", model.get_classifier())
    with torch.no_grad():
        maps = model.forward_features(torch.randn(1, 3, size, size))
        logits = classifier(maps.movedim(dim, -1)).movedim(-1, dim)  # as the pooled ones, at every place
    assert backbones.class_dim(model, logits) == dim
    scores = EnergyDetector(class_dim=dim).score(logits)
    assert scores.shape == tuple(n for axis, n in enumerate(logits.shape) if axis != dim)


def test_what_is_no_logits_is_refused():
    model = backbone("test_resnet", num_classes=6)
    with pytest.raises(ValueError, match="are these logits"):
        backbones.class_dim(model, torch.randn(2, 5))
    with pytest.raises(ValueError, match="num_classes=0"):
        backbones.logits_and_features(backbone("test_resnet", num_classes=0), torch.randn(1, 3, 64, 64))
    unpooled = backbone("test_vit", num_classes=6, global_pool="").eval()
    with pytest.raises(ValueError, match="global_pool"):
        backbones.logits_and_features(unpooled, torch.randn(1, 3, 160, 160))


def test_a_bfloat16_model_is_given_its_dtype_and_scored_in_float32():
    model = backbone("test_resnet", num_classes=5).eval().to(torch.bfloat16)
    with torch.no_grad():
        logits, features = backbones.logits_and_features(model, torch.randn(2, 3, 64, 64))
    assert logits.dtype == features.dtype == torch.bfloat16
    scores = EnergyDetector().score(logits)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, -logits.float().logsumexp(1))


def test_the_data_configuration_is_timms_with_the_channels_and_size_asked_for():
    config = backbone("resnet50.a1_in1k").data_config
    assert config["input_size"] == (3, 224, 224)
    assert (config["interpolation"], config["crop_pct"]) == ("bicubic", 0.95)
    assert backbone("resnet50.a1_in1k", test_size=True).data_config["input_size"] == (3, 288, 288)
    grey = backbone("test_vit", in_chans=1, img_size=96).data_config
    assert grey["input_size"] == (1, 96, 96)
    assert len(grey["mean"]) == len(grey["std"]) == 1


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("resnet5o", "'resnet50'"),
        ("resnet50.a1_in2k", "'a1_in1k'"),
        ("vit_tiny_patch16_225", "vit_tiny_patch16_224"),
    ],
)
def test_wrong_names_come_with_near_misses(wrong, hint):
    with pytest.raises(UnknownNameError, match=hint):
        backbone(wrong)


def test_old_names_stand_for_the_new_ones():
    assert backbones.resolve("vit_base_patch16_224_in21k") == "vit_base_patch16_224.augreg_in21k"
    assert backbones.resolve("convnext_tiny_in22ft1k") == "convnext_tiny.fb_in22k_ft_in1k"
    assert backbones.resolve("resnet50") == "resnet50"


def test_local_checkpoints_and_folders_are_loaded(tmp_path):
    model = backbone("test_resnet", num_classes=5).eval()
    images = torch.randn(1, 3, 64, 64)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = backbone("test_resnet", num_classes=5, checkpoint_path=str(tmp_path / "weights.pth")).eval()
    assert torch.equal(again(images), model(images))
    config = {
        "architecture": "test_resnet",
        "num_classes": 5,
        "pretrained_cfg": {"num_classes": 5, "classifier": "fc"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    again = backbone(str(tmp_path), pretrained=True).eval()
    assert torch.equal(again(images), model(images))


def test_finding_the_plug_in_imports_no_timm():
    import subprocess
    import sys

    code = (
        "import sys; from energy_plugin.manager import default_manager as m; m().get('backbone', 'timm:x');"
        "assert 'timm' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
