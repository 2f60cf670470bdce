"""Margins: published ones, measured ones, and what is said of margins that do not fit."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from energy_plugin import margins
from energy_plugin.energy import energy
from energy_plugin.errors import UnknownNameError
from energy_plugin.labels import VOID
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.margins.measured import Collector

# --- published --------------------------------------------------------------------------------------


def test_every_preset_is_a_setting_of_the_loss_with_its_source():
    for name, found in margins.PRESETS.items():
        assert found.name == name
        assert found.margin_in < found.margin_out
        assert "@" in found.source
        assert found.task in ("classification", "segmentation")
        loss = EnergyRegularizedLoss(**found.settings())
        assert (loss.margin_in, loss.margin_out, loss.alpha) == (
            found.margin_in,
            found.margin_out,
            found.alpha,
        )


@pytest.mark.parametrize(
    ("name", "settings_"),
    [
        ("liu2020-cifar10", (-23.0, -5.0, 0.1, 10)),
        ("liu2020-cifar100", (-27.0, -5.0, 0.1, 10)),
        ("liu2020-default", (-25.0, -7.0, 0.1, 10)),
        ("song-mnist", (-25.0, -7.0, 0.1, 100)),
        ("balanced-cifar10", (-23.0, -5.0, 0.1, 20)),
        ("balanced-cifar100", (-27.0, -5.0, 0.1, 20)),
        ("pebal", (-12.0, -6.0, 0.05, 40)),
        ("balanced-pebal", (-12.0, -6.0, 0.05, 20)),
    ],
)
def test_the_published_figures(name, settings_):
    found = margins.preset(name)
    assert (found.margin_in, found.margin_out, found.alpha, found.epochs) == settings_
    assert found.reduction == "group_mean"


def test_a_preset_is_the_papers_objective():
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 8
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, -1, -1, -1, -1])
    energies = energy(logits)
    by_hand = nn.functional.cross_entropy(logits[:8], targets[:8]) + 0.1 * (
        (energies[:8] + 23).relu().square().mean() + (-5 - energies[8:]).relu().square().mean()
    )
    loss = EnergyRegularizedLoss(**margins.preset("liu2020-cifar10").settings())
    torch.testing.assert_close(loss(logits, targets), by_hand)


def test_names_are_helped_with_and_other_recipes_refused_with_the_reason():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'liu2020-cifar100'"):
        margins.preset("liu2020_cifar100")
    with pytest.raises(LookupError, match=r"'rba-coco' is no preset for this loss: .*tanh"):
        margins.preset("rba-coco")
    assert not set(margins.PRESETS) & set(margins.NOT_APPLICABLE)
    with pytest.raises(TypeError):
        margins.PRESETS["mine"] = margins.preset("pebal")


# --- from energies ----------------------------------------------------------------------------------


def test_the_means_are_the_margins():
    found = margins.suggest_from_energies(torch.tensor([-12.0, -8.0]), torch.tensor([[-1.0], [-3.0], [-5.0]]))
    assert found.settings() == {"margin_in": -10.0, "margin_out": -3.0}
    assert (found.id.std, found.id.count, found.ood.count) == (2.0, 2, 3)
    assert found.ood.std == pytest.approx(math.sqrt(8 / 3))
    assert found.violations == (0.5, 1 / 3)  # -8 is above -10; -5 is below -3, and -3 itself is not


@pytest.mark.parametrize(("slack", "pair"), [(0.1, (-10.7, -2.3)), (-0.25, (-8.25, -4.75))])
def test_slack_moves_both_margins_by_a_share_of_the_gap(slack, pair):
    found = margins.suggest_from_energies(torch.tensor([-10.0]), torch.tensor([-3.0]), slack=slack)
    assert (found.margin_in, found.margin_out) == pytest.approx(pair)


def test_slack_stops_before_the_margins_meet():
    with pytest.raises(ValueError, match=r"slack must be above -0.5"):
        margins.suggest_from_energies(torch.tensor([-10.0]), torch.tensor([-3.0]), slack=-0.5)


def test_a_network_that_gives_outliers_the_lower_energy_is_refused_with_the_figures():
    with pytest.raises(ValueError, match=r"mean ID energy -3.00 .*n 1.*mean OOD energy -10.00.*exchanged"):
        margins.suggest_from_energies(torch.tensor([-3.0]), torch.tensor([-10.0]))
    with pytest.raises(ValueError, match="no margins can be suggested"):
        margins.suggest_from_energies(torch.tensor([-3.0]), torch.tensor([-3.0]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_energies_must_be_finite(bad):
    with pytest.raises(ValueError, match="OOD side has energies that are not finite"):
        margins.suggest_from_energies(torch.tensor([-3.0]), torch.tensor([-1.0, bad]))


def test_energies_must_be_there_and_floating():
    with pytest.raises(ValueError, match="ID side has no sample"):
        margins.suggest_from_energies(torch.zeros(0), torch.tensor([-1.0]))
    with pytest.raises(TypeError, match=r"OOD energies must be a floating-point tensor, got torch.int64"):
        margins.suggest_from_energies(torch.tensor([-3.0]), torch.tensor([1]))
    with pytest.raises(TypeError, match="got list"):
        margins.suggest_from_energies([-3.0], torch.tensor([1.0]))


def test_the_text_has_the_measured_figures():
    found = margins.suggest_from_energies(torch.tensor([-12.0, -8.0]), torch.tensor([-4.0, -2.0]))
    assert str(found) == (
        "margin_in -10.00, margin_out -3.00; mean ID energy -10.00 (std 2.00, n 2), mean OOD energy -3.00 "
        "(std 1.00, n 2); before training 50.0% of ID are above margin_in, 50.0% of OOD below margin_out"
    )


def test_the_loss_takes_them():
    found = EnergyRegularizedLoss.from_energies(torch.tensor([-10.0]), torch.tensor([-3.0]), alpha=0.1)
    assert (found.margin_in, found.margin_out, found.alpha) == (-10.0, -3.0, 0.1)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    kept=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_a_collector_fed_in_pieces_knows_the_whole(sizes, kept, offset):
    generator = torch.Generator().manual_seed(sum(sizes) + kept)
    pieces = [torch.randn(size, generator=generator, dtype=torch.float64) + offset for size in sizes]
    whole = torch.cat(pieces)
    collector = Collector(kept)
    for piece in pieces:
        collector.add(piece)
    if not whole.numel():
        return
    found = collector.done("ID")
    assert found.count == whole.numel()
    assert found.mean == pytest.approx(float(whole.mean()), rel=1e-12)
    assert found.std == pytest.approx(float(whole.std(correction=0)), abs=1e-8)
    stride = 1
    while math.ceil(whole.numel() / stride) > 2 * kept:
        stride *= 2
    assert found.sample.tolist() == sorted(whole[::stride].float().tolist())  # every stride-th, however fed


# --- check ------------------------------------------------------------------------------------------


@pytest.fixture
def measured():
    return margins.suggest_from_energies(torch.linspace(-20, -10, 101), torch.linspace(-9, -1, 101))


def test_fitting_margins_are_not_warned_about(measured):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = margins.check(measured.margin_in, measured.margin_out, measured)
    assert shares == pytest.approx((0.5, 0.5), abs=0.01)


@pytest.mark.parametrize(("pair", "side"), [((-23, -5), "100.0% of ID"), ((-15, -0.9), "100.0% of OOD")])
def test_far_off_margins_are_warned_about_with_the_energies(measured, pair, side):
    with pytest.warns(UserWarning, match="are far off for this network") as caught:
        margins.check(*pair, measured)
    text = str(caught[0].message)
    assert "mean ID energy -15.00" in text
    assert "mean OOD energy -5.00" in text
    assert side in text
    assert "suggested from these (-15.00, -5.00)" in text
    assert caught[0].filename == __file__


def test_idle_margins_are_warned_about(measured):
    with pytest.warns(UserWarning, match="ask for almost nothing"):
        assert margins.check(-9.9, -9.5, measured) == (0.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert margins.check(-9.9, -5.0, measured) == pytest.approx(
            (0.0, 0.5), abs=0.01
        )  # one side is at work


def test_an_energy_on_the_margin_does_not_violate_it(measured):
    assert measured.violations_of(-10.0, -9.0) == (0.0, 0.0)


@pytest.mark.parametrize("pair", [(-5, -23), (-7, -7)])
def test_crossed_margins_are_refused_with_the_energies(measured, pair):
    with pytest.raises(
        ValueError, match=r"must be below margin_out=.*mean ID energy -15.00.*\(-15.00, -5.00\)"
    ):
        margins.check(*pair, measured)


def test_infinite_margins_are_refused(measured):
    with pytest.raises(ValueError, match="must be finite"):
        margins.check(-math.inf, -5, measured)


# --- from a network ---------------------------------------------------------------------------------


class Scaled(nn.Module):
    """Logits (scale * x, 0), with a dropout that would show in training mode."""

    def __init__(self, wrap=lambda logits: logits):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(1).eval()
        self.wrap = wrap

    def forward(self, x):
        logits = torch.stack([self.drop(self.scale * x), torch.zeros_like(x)], dim=1)
        return self.wrap(logits)


ID = torch.tensor([9.0, 10.0, 11.0])
OOD = torch.tensor([1.0, 2.0, 3.0])


def energies_of(x):
    return energy(torch.stack([x, torch.zeros_like(x)], dim=1))


def test_a_pass_gives_the_means_of_both_sides_whole():
    found = margins.suggest(Scaled(), [ID[:2], ID[2:]], [OOD])
    assert found.margin_in == pytest.approx(float(energies_of(ID).mean()))
    assert found.margin_out == pytest.approx(float(energies_of(OOD).mean()))
    assert (found.id.count, found.ood.count) == (3, 3)


def test_a_network_that_is_none_is_named():
    with pytest.raises(TypeError, match="model must be a network or another callable, got NoneType"):
        margins.suggest(None, [torch.zeros(1, 2)], [torch.zeros(1, 2)])


def test_the_network_comes_back_as_it_was():
    model = Scaled().train()
    model.frozen.eval()
    model.scale.grad = None
    margins.suggest(model, [ID], [OOD])
    assert model.training
    assert model.drop.training
    assert not model.frozen.training
    assert model.scale.grad is None
    with pytest.raises(TypeError):
        margins.suggest(model, [ID], ["text"])
    assert model.drop.training


@pytest.mark.parametrize(
    "batch",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y, "further"],
        lambda x, y: {"data": x, "label": y},
        lambda x, y: {"pixel_values": x, "labels": y},
        lambda x, y: (x, y.tolist()),
    ],
)
def test_forms_of_a_batch(batch):
    mixed = batch(torch.cat([ID, OOD]), torch.tensor([0, 1, 0, -1, -1, -2]))
    found = margins.suggest(Scaled(), [mixed], [mixed])
    assert (found.id.count, found.ood.count) == (3, 3)
    assert found.margin_in == pytest.approx(float(energies_of(ID).mean()))
    assert found.margin_out == pytest.approx(float(energies_of(OOD).mean()))


def test_outliers_with_class_labels_of_their_own_all_count():
    found = margins.suggest(Scaled(), [(ID, torch.tensor([0, 1, 0]))], [(OOD, torch.tensor([3, 0, 7]))])
    assert found.ood.count == 3


def test_void_samples_count_nowhere():
    marks = torch.tensor([0, VOID, 1])
    found = margins.suggest(Scaled(), [(ID, marks)], [(OOD, torch.tensor([-1, VOID, -1]))], ignore_index=VOID)
    assert (found.id.count, found.ood.count) == (2, 2)
    assert found.ood.mean == pytest.approx(float(energies_of(OOD[[0, 2]]).mean()))


def test_void_255_is_not_an_id_pixel():
    maps = torch.tensor([[[9.0, 1.0], [10.0, 50.0]]])
    masks = torch.tensor([[[0, -1], [3, 255]]])
    found = margins.suggest(Scaled(), [(maps, masks)], [(maps, masks)], ignore_index=255)
    assert (found.id.count, found.ood.count) == (2, 1)
    assert found.margin_in == pytest.approx(float(energies_of(torch.tensor([9.0, 10.0])).mean()))


def test_masks_with_a_channel_and_of_another_resolution():
    maps = torch.tensor([[[9.0, 1.0], [10.0, 2.0]]])
    masks = torch.tensor([[0, -1], [1, -1]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
    found = margins.suggest(Scaled(), [(maps, masks)], [(maps, masks)])
    assert (found.id.count, found.ood.count) == (2, 2)
    assert found.margin_out == pytest.approx(float(energies_of(torch.tensor([1.0, 2.0])).mean()))


def test_masks_are_resized_to_the_nearest_code():
    maps = torch.tensor([[[9.0, 1.0], [10.0, 2.0]]])
    masks = torch.tensor([[[0, 255, -1], [255, 255, 255], [1, 255, -1]]])
    found = margins.suggest(Scaled(), [(maps, masks)], [(maps, masks)])
    assert (found.id.count, found.ood.count) == (2, 2)


def test_maps_without_an_ood_pixel_have_no_ood_side():
    maps, masks = torch.ones(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="OOD side has no sample"):
        margins.suggest(Scaled(), [(maps, masks)], [(maps, masks)])


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"targets of shape \(2,\) do not fit energies of shape \(3,\)"):
        margins.suggest(Scaled(), [(ID, torch.tensor([0, 1]))], [OOD])


@pytest.mark.parametrize("wrap", [lambda logits: {"logits": logits}, lambda logits: (logits,)])
def test_outputs_that_plainly_hold_logits(wrap):
    assert margins.suggest(Scaled(wrap), [ID], [OOD]).id.count == 3


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ("text", "a batch of the loader is a str; expected a tensor"),
        ({"picture": ID}, "unexpected keyword argument 'picture'"),  # as networks of Hugging Face take it
        ([], "a batch of the loader is empty"),
    ],
)
def test_an_unknown_batch_is_refused(batch, words):
    with pytest.raises(TypeError, match=words):
        margins.suggest(Scaled(), [batch], [OOD])


def test_an_empty_loader_is_named():
    with pytest.raises(ValueError, match="OOD side has no sample"):
        margins.suggest(Scaled(), [ID], [])


def test_the_device_may_be_named():
    assert margins.suggest(Scaled(), [ID], [OOD], device="cpu").id.count == 3
    assert margins.suggest(lambdas_have_no_parameters(), [ID], [OOD]).id.count == 3


def lambdas_have_no_parameters():
    class Plain(nn.Module):
        def forward(self, x):
            return torch.stack([x, torch.zeros_like(x)], dim=1)

    return Plain()
