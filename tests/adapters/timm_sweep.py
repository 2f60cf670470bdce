"""One architecture of every timm family that fits a small machine, at a small size, with random weights.

As a script it prints the table: architecture, size of the images, shape of logits and features, seconds.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from energy_plugin.detector import EnergyDetector
from energy_plugin.manager import default_manager
from energy_plugin_timm.backbones import logits_and_features

CLASSES = 7

ORDINARY = {  # convolutions NCHW and NHWC, tokens, two classifiers, a convolution as classifier, a norm in it
    "test_resnet": 64, "test_convnext": 64, "test_vit": 160, "test_efficientnet": 64, "test_mambaout": 64,
    "deit_tiny_distilled_patch16_224": 224, "mobilenetv3_small_050": 64, "levit_128s": 224,
}  # fmt: skip
"""Architectures of the ordinary run, each with the size of its images."""

SWEEP = ORDINARY | {
    "beit_base_patch16_224": 224, "eca_botnext26ts_256": 256, "mobileone_s1": 64, "cait_xxs24_224": 224,
    "coat_tiny": 224, "convit_tiny": 224, "convmixer_768_32": 64, "convnext_atto": 64, "cpubone_nano": 64,
    "crossvit_tiny_240": 240, "csatv2": 128, "cs3darknet_focus_s": 64, "cspnext_tiny": 64, "davit_tiny": 64,
    "deit_tiny_patch16_224": 224, "densenet121": 64, "dla46_c": 64, "dpn48b": 64, "edgenext_xx_small": 64,
    "efficientformer_l1": 224, "efficientformerv2_s0": 224, "mobilenetv2_035": 64, "efficientvim_m1": 224,
    "efficientvit_b0": 64, "efficientvit_m0": 224, "eva02_tiny_patch14_224": 224, "fasternet_t0": 64,
    "fastvit_t8": 64, "focalnet_tiny_srf": 64, "gcvit_xxtiny": 224, "ghostnet_050": 64, "hardcorenas_b": 64,
    "hgnetv2_b0": 64, "hiera_tiny_224": 224, "sam2_hiera_tiny": 224, "hrnet_w18_small": 64, "iformer_t": 64,
    "inception_next_atto": 64, "inception_resnet_v2": 139, "inception_v3": 139, "inception_v4": 139,
    "lcnetv2_small": 64, "levit_conv_128s": 224, "lowformer_b0": 64, "mambaout_femto": 64,
    "maxxvit_rmlp_nano_rw_256": 256, "poolformerv2_s12": 64, "gmlp_ti16_224": 224, "mobilevit_xxs": 64,
    "mobilevitv2_050": 64, "mvitv2_tiny": 224, "naflexvit_base_patch16_gap": 64, "nest_tiny": 224,
    "nextvit_small": 64, "nf_regnet_b0": 64, "pit_ti_224": 224, "pit_ti_distilled_224": 224, "pvt_v2_b0": 64,
    "rdnet_tiny": 64, "regnetx_004_tv": 64, "repghostnet_050": 64, "repvit_m1": 64, "res2next50": 64,
    "resnest14d": 64, "resnet18": 64, "resnetv2_18": 64, "rexnet_100": 64, "selecsls42": 64,
    "legacy_seresnet18": 64, "sequencer2d_s": 224, "shvit_s1": 64, "skresnet18": 64, "starnet_s050": 64,
    "swiftformer_xs": 224, "swin_tiny_patch4_window7_224": 224, "swinv2_tiny_window8_256": 256,
    "swinv2_cr_tiny_224": 224, "tiny_vit_5m_224": 224, "tnt_s_legacy_patch16_224": 224, "tresnet_m": 64,
    "twins_svt_small": 224, "visformer_tiny": 224, "vit_tiny_patch16_224": 224, "vit_tiny_r_s16_p8_224": 224,
    "vit_srelpos_small_patch16_224": 224, "samvit_base_patch16_224": 224, "vitamin_small_224": 224,
    "volo_d1_224": 224, "ese_vovnet19b_slim_dw": 64, "legacy_xception": 64, "xception41p": 64,
    "xcit_tiny_12_p16_224": 224,
}  # fmt: skip
"""Every architecture of the long run."""


@dataclass(frozen=True)
class Row:
    """What one architecture gave."""

    name: str
    size: int
    logits: tuple[int, ...]
    features: tuple[int, ...]
    seconds: float

    def __str__(self) -> str:
        shapes = " | ".join("x".join(map(str, shape)) for shape in (self.logits, self.features))
        return f"| {self.name} | {self.size} | {shapes} | {self.seconds:.2f} |"


def made(name):
    torch.manual_seed(0)
    return default_manager().get("backbone", f"timm:{name}").load()(num_classes=CLASSES).eval()


def swept(name: str, size: int, *, compiled: bool = False) -> Row:
    """Build an architecture, send two images through it, and hold its outputs against what they must be."""
    started = time.perf_counter()
    model = made(name)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits, features = logits_and_features(model, images)
        assert logits.shape == (2, CLASSES)
        assert torch.equal(logits, model(images))  # watching the classifier changes nothing
        assert features.shape == (2, model.head_hidden_size)
        scores = EnergyDetector(model).predict(images)
        assert scores.shape == (2,)
        assert scores.isfinite().all()
        if compiled:
            graph = torch.compile(EnergyDetector(model), backend="eager", fullgraph=True)
            torch.testing.assert_close(graph(images), scores)
    return Row(name, size, tuple(logits.shape), tuple(features.shape), time.perf_counter() - started)


if __name__ == "__main__":
    sys.stdout.write("| architecture | image | logits | features | seconds |\n|---|---|---|---|---|\n")
    for known, side in SWEEP.items():
        sys.stdout.write(f"{swept(known, side)}\n")
