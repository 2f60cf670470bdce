"""The published rows of timm networks: names that timm has today, at the sizes of the source."""

from __future__ import annotations

import re

import pytest

from energy_plugin_bench import registry

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


def test_every_row_says_what_it_needs(known):
    recipe = known.recipes["maha_norm_ninco"]
    for row in known.sources["maha_norm_ninco"].rows:
        told = "; ".join(recipe.obstacles(row.network, row.id_set, row.ood_set))
        assert "ImageNet-1K" in told
        assert ("NINCO" in told) == (row.metric == "fpr95")
        assert re.search(r"timm weights \S+, \d+ MB|SupCon|all 44", told)


def test_every_network_is_one_that_timm_has(known):
    from energy_plugin_timm.backbones import resolve

    networks = [n for n in known.recipes["maha_norm_ninco"].networks.values() if n.backbone]
    assert len(networks) == 43
    for network in networks:
        name = network.backbone.removeprefix("timm:")
        assert resolve(name) == name
        assert name in network.missing


@pytest.mark.parametrize(
    ("network", "size"),
    [("convnext_b", 288), ("deit3_s16", 384), ("resnet50", 224), ("vit_so400m_siglip", 378)],
)
def test_the_size_is_the_one_of_the_source(known, network, size):
    chosen = known.recipes["maha_norm_ninco"].networks[network]
    assert chosen.options["test_size"] is True
    found = timm.models.get_pretrained_cfg(chosen.backbone.removeprefix("timm:"))
    assert (found.test_input_size or found.input_size)[-1] == size
