"""The published rows of timm networks: names that timm has today, at the sizes of the source."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from energy_plugin_bench.inputs.assets import Assets
from energy_plugin_bench.inputs.transforms import apply, as_batch
from energy_plugin_bench.values import registry
from energy_plugin_bench.verdicts.runner import Runner

timm = pytest.importorskip("timm", reason="the extra [timm] is not installed")


@pytest.fixture(scope="module")
def known():
    return registry.load()


def test_rows_and_their_means(known):
    rows = known.sources["maha_norm_ninco"].rows
    assert len(rows) == 225
    assert len({row.network for row in rows}) == 45
    for method, metric in [
        ("argmax", "accuracy"),
        *((m, "fpr95") for m in ("msp", "energy", "react", "max_logit")),
    ]:
        values = {row.network: row.value for row in rows if (row.method, row.metric) == (method, metric)}
        printed = values.pop("average_of_44")
        assert len(values) == 44
        assert sum(values.values()) / 44 == pytest.approx(printed, abs=0.1)  # each is rounded to 0.1


def test_every_row_says_what_it_needs(known, monkeypatch, tmp_path):
    monkeypatch.delenv("ENERGY_PLUGIN_DATA", raising=False)
    runner = Runner(known, Assets(known.files, cache=tmp_path))
    source = known.sources["maha_norm_ninco"]
    for row in source.rows:
        told = runner.verdict(source, row).reason
        if row.network not in ("average_of_44", "resnet50_supcon") and row.method != "react":
            assert "ImageNet-1K" in told
            assert ("NINCO" in told) == (row.metric == "fpr95")
        assert re.search(r"timm weights \S+, about \d+ MB|SupCon|all 44|'react'", told)


def networks(known):
    return {name: n for name, n in known.recipes["maha_norm_ninco"].networks.items() if n.backbone}


def test_every_network_is_one_that_timm_has(known):
    from energy_plugin_timm.backbones import resolve

    assert len(networks(known)) == 43
    for network in networks(known).values():
        name = network.backbone.removeprefix("timm:")
        assert resolve(name) == name
        assert network.weights == f"timm/{name}.safetensors"
        found = timm.models.get_pretrained_cfg(name)
        assert known.files[network.weights].url == (
            f"https://huggingface.co/{found.hf_hub_id}/resolve/main/model.safetensors"
        )


@pytest.mark.parametrize(
    ("network", "size"),
    [("convnext_b", 288), ("deit3_s16", 384), ("resnet50", 224), ("vit_so400m_siglip", 378)],
)
def test_the_size_is_the_one_of_the_source(known, network, size):
    assert networks(known)[network].transform[-1] == f"crop {size}"


def test_images_are_prepared_as_timm_prepares_them(known):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 500, 620, 3), dtype=np.uint8)
    seen = set()
    for chosen in networks(known).values():
        found = timm.models.get_pretrained_cfg(chosen.backbone.removeprefix("timm:"))
        kind = (chosen.transform, chosen.mean)
        if kind in seen:
            continue
        seen.add(kind)
        config = timm.data.resolve_data_config(pretrained_cfg=found.to_dict(), use_test_size=True)
        theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(pixels[0]))
        mean, std = (torch.tensor(of).view(-1, 1, 1) for of in (chosen.mean, chosen.std))
        ours = (as_batch(apply(pixels, chosen.transform)) - mean) / std
        torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)
    assert len(seen) >= 12
