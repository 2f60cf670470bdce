"""timm encoders under the decoders of segmentation-models-pytorch: loss and detector on their logits."""

from __future__ import annotations

import pytest
import torch

from energy_plugin import EnergyDetector, EnergyRegularizedLoss
from energy_plugin.energy import energy
from energy_plugin.maps import energy_map

smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra [smp] is not installed")

ORDINARY = ("test_resnet", "mobilenetv3_small_050")
ENCODERS = (
    *ORDINARY, "resnet18", "resnetv2_18", "mobilenetv2_035", "regnetx_004_tv", "convnext_atto",
    "efficientvit_b0", "ghostnet_050", "hgnetv2_b0", "edgenext_xx_small", "dla46_c", "densenet121",
    "hrnet_w18_small", "mambaout_femto", "pvt_v2_b0", "rexnet_100", "repvit_m1", "res2next50", "skresnet18",
    "legacy_seresnet18", "mobilevit_xxs", "fasternet_t0", "starnet_s050", "swin_tiny_patch4_window7_224",
    "ese_vovnet19b_slim_dw", "selecsls42", "nf_regnet_b0", "inception_next_atto", "cs3darknet_focus_s",
    "poolformerv2_s12", "xception41p", "mobileone_s1", "efficientformerv2_s0", "resnest14d", "tresnet_m",
)  # fmt: skip
FIXED = {"swin_tiny_patch4_window7_224": 224, "efficientformerv2_s0": 224}


def trained_on_a_mask(encoder, decoder=None):
    """One step of the loss with ID, OOD and void pixels, and the score map afterwards."""
    size = FIXED.get(encoder, 64)
    torch.manual_seed(0)
    model = (decoder or smp.Unet)(f"tu-{encoder}", encoder_weights=None, classes=5).eval()
    images = torch.randn(1, 3, size, size)
    mask = torch.randint(0, 5, (1, size, size))
    mask[:, :9], mask[:, 9:20] = -1, 255
    loss = EnergyRegularizedLoss(0.1, -12.0, -6.0, "group_mean", ignore_index=255)
    logits = model(images)
    assert logits.shape == (1, 5, size, size)
    loss(logits, mask).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.segmentation_head[0].weight.grad.abs().max() > 0
    scores = EnergyDetector(model).predict(images)
    torch.testing.assert_close(scores, energy(logits.detach()))
    assert scores.isfinite().all()


@pytest.mark.parametrize("encoder", ORDINARY)
def test_loss_and_detector(encoder):
    trained_on_a_mask(encoder)


@pytest.mark.long
@pytest.mark.parametrize("encoder", ENCODERS[len(ORDINARY) :])
def test_loss_and_detector_over_the_encoders(encoder):
    trained_on_a_mask(encoder)


def test_the_sweep_covers_twenty_encoders():
    assert len(set(ENCODERS)) >= 20


def test_logits_of_low_resolution_are_scored_band_by_band():
    model = smp.FPN("tu-test_resnet", encoder_weights=None, classes=5).eval()
    images = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        whole = model(images)
        model.segmentation_head[1] = torch.nn.Identity()  # smp enlarges there, with align_corners=True
        low = model(images)
    assert low.shape == (1, 5, 128, 128)
    scores = EnergyDetector().score(low, size=(512, 512), align_corners=True)
    torch.testing.assert_close(scores, energy(whole), rtol=0, atol=1e-5)  # float32 interpolation
    bands = energy_map(low, (512, 512), align_corners=True, band_bytes=1 << 20)
    assert torch.equal(bands, energy_map(low, (512, 512), align_corners=True, band_bytes=1 << 40))


def test_probabilities_are_noticed():
    model = smp.Unet("tu-test_resnet", encoder_weights=None, classes=5, activation="softmax2d").eval()
    with pytest.warns(UserWarning, match="probabilities"):
        EnergyDetector(model).fit([torch.randn(1, 3, 64, 64)])
