"""The adapter to torch-uncertainty: its routines run our criterion and our loss, with right figures."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from page_code import code
from suite_cases import host_module, mnist
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin import EnergyRegularizedLoss, labels, metrics, register
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy
from energy_plugin.testing import check_host, check_plugin

for part in ("torch_uncertainty.routines", "lightning.pytorch"):
    host_module(part, "the extra [torch-uncertainty] is not installed")
criteria: Any = importlib.import_module("torch_uncertainty.ood_criteria")
classification: Any = importlib.import_module("torch_uncertainty.routines.classification")
segmentation: Any = importlib.import_module("torch_uncertainty.routines.segmentation")
losses: Any = importlib.import_module("torch_uncertainty.losses")
fpr: Any = importlib.import_module("torch_uncertainty.metrics.classification.fpr")
lightning: Any = importlib.import_module("lightning.pytorch")
bridge: Any = importlib.import_module("energy_plugin_torch_uncertainty.bridge")

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "Metric `",  # buffers grow
        "The .*dataloader.* does not have many workers",
        "The number of training batches",
        "No positive samples in targets",
        "`isinstance.treespec, LeafSpec.` is deprecated",
        "You are using",
        "You called `self.log",
        "You defined a `validation_step`",
    )
]


def run(kind: str, routine: Any, *loaders: Any, **options: Any) -> Any:
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=options.pop("epochs", 1), **options,
    )  # fmt: skip
    if kind == "fit":
        return trainer.fit(routine, *loaders)
    return {
        key.split("/dataloader")[0]: value
        for row in trainer.test(routine, list(loaders), verbose=False)
        for key, value in row.items()
    }


def figures(criterion: Any, network: Any, known: Any, other: Any, classes: int = 10, **options: Any) -> Any:
    routine = classification.ClassificationRoutine(
        network, num_classes=classes, loss=None, eval_ood=True, ood_criterion=criterion, **options
    )
    return run("test", routine, known, other)


def test_contracts_and_no_trace() -> None:
    assert [record.name for record in check_plugin("energy_plugin_torch_uncertainty")] == [
        "torch_uncertainty"
    ]
    check_host("torch_uncertainty", modules=["torch_uncertainty"])
    places = (criteria, classification, segmentation, losses, segmentation.SegmentationRoutine)
    before = [dict(vars(place)) for place in places]
    with register("torch_uncertainty") as handle, register("torch_uncertainty") as again:
        assert again is handle
        changed = [
            key
            for place, known in zip(places, before, strict=True)
            for key in vars(place)
            if vars(place)[key] is not known.get(key)
        ]
        assert changed == ["get_ood_criterion"] * 3 + ["EnergyPluginLoss", "test_step"]
    assert [dict(vars(place)) for place in places] == before
    with pytest.raises(ValueError, match="must be one of"):
        criteria.get_ood_criterion("energy_plugin")


def test_names_are_known_where_routines_look() -> None:
    with register("torch_uncertainty"):
        for place in (criteria, classification, segmentation):
            assert isinstance(place.get_ood_criterion("energy_plugin"), bridge.EnergyPluginCriterion)
            assert isinstance(place.get_ood_criterion("energy"), criteria.EnergyCriterion)
            assert isinstance(place.get_ood_criterion(criteria.EnergyCriterion), criteria.EnergyCriterion)
        assert losses.EnergyPluginLoss is EnergyRegularizedLoss


def test_squashing_keeps_every_rank_and_can_be_undone() -> None:
    spread = torch.cat([-torch.logspace(-7, 30, 4000), torch.logspace(-7, 7, 4000)])
    neighbours = torch.nextafter(spread, torch.full_like(spread, torch.inf))
    scores = torch.cat([spread, neighbours, torch.zeros(1)]).unique()
    squashed = bridge.squash(scores)
    assert squashed.dtype == torch.float64
    assert bool((squashed.diff() > 0).all())
    assert 0.0 <= squashed.min() < squashed.max() <= 1.0
    torch.testing.assert_close(bridge.unsquash(squashed).float(), scores)
    ends = bridge.squash(torch.tensor([-torch.inf, torch.inf, torch.nan]))
    assert ends[:2].tolist() == [0.0, 1.0]
    assert ends[2].isnan()


@pytest.mark.parametrize("estimators", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_score_is_the_energy_of_the_mean_logits(estimators: int, temperature: float) -> None:
    logits = 3 * torch.randn(8, estimators, 5)
    raw = bridge.EnergyPluginCriterion(temperature, squashed=False)(logits)
    torch.testing.assert_close(raw, energy(logits.mean(1), temperature=temperature))
    if temperature == 1.0:
        torch.testing.assert_close(raw, criteria.EnergyCriterion()(logits))
    squashed = bridge.EnergyPluginCriterion(temperature)(logits)
    torch.testing.assert_close(bridge.unsquash(squashed).float(), raw)


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 4, 6), (8, 1, 5, 4, 6)])
def test_what_their_energy_gets_silently_wrong_is_refused(shape: tuple[int, ...]) -> None:
    assert criteria.EnergyCriterion()(torch.randn(shape)).shape != (8,)
    with pytest.raises(ValueError, match="B x estimators x C"):
        bridge.EnergyPluginCriterion()(torch.randn(shape))


def test_a_checkpoint_of_another_criterion_loads() -> None:
    network = torch.nn.Linear(7, 5)
    other = classification.ClassificationRoutine(network, num_classes=5, loss=None, ood_criterion="msp")
    ours = classification.ClassificationRoutine(
        network, num_classes=5, loss=None, ood_criterion=bridge.EnergyPluginCriterion()
    )
    ours.load_state_dict(other.state_dict(), strict=True)


def test_their_runner_on_a_real_network_and_real_images() -> None:
    case = mnist()
    known, other = case.loader("digits"), case.loader("others", label=0)
    theirs = figures(bridge.EnergyPluginCriterion(), case.network, known, other)
    scores = [EnergyDetector().score(case.logits(name)) for name in ("digits", "others")]
    exact = metrics.evaluate(*scores, "torch_uncertainty")
    assert theirs["ood/AUROC"] == pytest.approx(exact.auroc, abs=1e-6)
    assert theirs["ood/AUPR"] == pytest.approx(exact.aupr_out, abs=1e-6)
    assert theirs["ood/FPR95"] == pytest.approx(metrics.fpr_at_tpr(*scores, rule="first"), abs=1e-6)
    by_name = figures("energy", case.network, known, other)
    assert by_name["ood/AUROC"] == pytest.approx(
        theirs["ood/AUROC"], abs=1e-6
    )  # near 0 their sigmoid is harmless


class Shifted(torch.nn.Module):
    """A network with a constant added to all logits: ranks of energies are as before."""

    def __init__(self, network: torch.nn.Module, by: float) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) + self.by


def test_their_sigmoid_does_not_reach_our_scores() -> None:
    case = mnist()
    loaders = case.loader("digits"), case.loader("others", label=0)
    right = figures(bridge.EnergyPluginCriterion(), case.network, *loaders)["ood/AUROC"]
    far = Shifted(case.network, 120.0)
    assert figures("energy", far, *loaders)["ood/AUROC"] == pytest.approx(0.5)
    assert figures(bridge.EnergyPluginCriterion(), far, *loaders)["ood/AUROC"] == pytest.approx(
        right, abs=1e-5
    )


def test_their_threshold_is_the_first_that_reaches_95_percent() -> None:
    """Their release takes it; the repository state that published figures came from took the nearest."""
    known, other = torch.randn(4000), torch.randn(43) + 1.5
    target = torch.tensor([0, 1]).repeat_interleave(torch.tensor([4000, 43]))
    theirs = fpr._fprx_compute(torch.cat([known, other]), target, recall_level=0.95, pos_label=1)
    first, nearest = (metrics.fpr_at_tpr(known, other, rule=rule) for rule in ("first", "nearest"))
    assert theirs == pytest.approx(first)
    assert first != nearest


def test_an_ensemble_is_evaluated_where_theirs_is_refused() -> None:
    class Ensemble(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = torch.nn.ModuleList(torch.nn.Linear(7, 5) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([member(x) for member in self.members])

    network, ids, outs = Ensemble(), torch.randn(40, 7), 3 * torch.randn(30, 7)
    loaders = [DataLoader(TensorDataset(x, torch.zeros(len(x)).long()), batch_size=20) for x in (ids, outs)]
    options = {"classes": 5, "is_ensemble": True}
    with pytest.raises(NotImplementedError, match="ensembles"):
        figures("energy", network, *loaders, **options)
    found = figures(bridge.EnergyPluginCriterion(), network, *loaders, **options)
    with torch.no_grad():
        scores = [energy(network(x).unflatten(0, (3, -1)).mean(0)) for x in (ids, outs)]
    assert found["ood/AUROC"] == pytest.approx(metrics.auroc(*scores), abs=1e-6)


def test_their_routine_trains_with_our_loss() -> None:
    inputs = torch.cat([torch.randn(64, 2) + 4, torch.randn(64, 2) - 4, torch.randn(64, 2)])
    targets = torch.tensor([0, 1, -1]).repeat_interleave(64)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=48, shuffle=True)
    network = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    loss = EnergyRegularizedLoss(0.1, -5.0, -1.0, "group_mean")
    routine = classification.ClassificationRoutine(
        network, num_classes=2, loss=loss, optim_recipe=torch.optim.Adam(network.parameters(), lr=0.02)
    )
    first = loss(network(inputs), targets).item()
    run("fit", routine, loader, epochs=12)
    assert loss(network(inputs), targets).item() < 0.7 * first


def pixels(share_ood: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Images 3 x 12 x 10 and masks in our convention: 4 classes, OOD -1, void -100."""
    images = torch.randn(6, 3, 12, 10)
    masks = torch.randint(4, (6, 12, 10))
    masks[torch.rand(masks.shape) < share_ood] = labels.OOD
    masks[:, :2] = labels.VOID
    return images, masks


@pytest.mark.parametrize("shift", [0.0, 120.0])
@pytest.mark.parametrize("way", ["register", "class"])
def test_segmentation_is_evaluated_where_theirs_refuses(way: str, shift: float) -> None:
    images, masks = pixels()
    network = Shifted(torch.nn.Conv2d(3, 4, 1), shift)
    coded = labels.to_host(masks, "torch_uncertainty_test", num_classes=4)
    loader = DataLoader(TensorDataset(images, coded), batch_size=3)
    options = {"num_classes": 4, "loss": None, "eval_ood": True, "metric_subsampling_rate": 1.0}
    plain = segmentation.SegmentationRoutine(network, ood_criterion="energy", **options)
    with pytest.raises(ValueError, match="Unsupported input type"):
        run("test", plain, loader, loader)
    if way == "register":
        with register("torch_uncertainty"):
            routine = segmentation.SegmentationRoutine(network, ood_criterion="energy_plugin", **options)
            found = run("test", routine, loader, loader)
    else:
        criterion = bridge.EnergyPluginCriterion()
        routine = bridge.EnergyPluginSegmentationRoutine(network, ood_criterion=criterion, **options)
        found = run("test", routine, loader, loader)
    with torch.no_grad():
        scores = energy(network(images))
    each = [metrics.split(s, m, void=[labels.VOID]) for s, m in zip(scores, masks, strict=True)]
    for name, figure in (
        ("AUROC", metrics.auroc),
        ("AUPR", metrics.aupr),
        ("FPR95", metrics.fpr_at_tpr),
    ):
        wanted = sum(figure(*pair) for pair in each) / len(each)
        assert found[f"ood/{name}"] == pytest.approx(wanted, abs=1e-5), name
    assert not network._forward_hooks


def test_segmentation_of_an_ensemble() -> None:
    images, masks = pixels()
    members = torch.nn.ModuleList(torch.nn.Conv2d(3, 4, 1) for _ in range(2))

    class Ensemble(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = members

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
            return torch.cat([member(x) for member in self.members])

    criterion = bridge.EnergyPluginCriterion(squashed=False)
    network = Ensemble()
    with criterion.watching(network), torch.no_grad():
        probabilities = network(images).softmax(1).unflatten(0, (2, -1))  # M B C H W
        flat = probabilities.permute(1, 3, 4, 0, 2).reshape(-1, 2, 4)
        scores = criterion(flat).reshape(masks.shape)
        mean = torch.stack([member(images) for member in members]).mean(0)
    torch.testing.assert_close(scores, energy(mean))


def test_pixels_that_the_network_did_not_give_are_refused() -> None:
    criterion = bridge.EnergyPluginCriterion()
    network = torch.nn.Conv2d(3, 4, 1)
    with criterion.watching(network), torch.no_grad():
        with pytest.raises(ValueError, match="no output"):
            criterion(torch.rand(240, 1, 4))
        network(torch.randn(2, 3, 12, 10))
        with pytest.raises(ValueError, match="100 pixels of 1 x 4"):
            criterion(torch.rand(100, 1, 4))


def test_the_segmentation_routine_trains_with_our_loss() -> None:
    images, masks = pixels()
    coded = masks.where(masks != labels.VOID, 255)  # -1 stays: the routine drops 255 alone
    seen: list[Any] = []

    class Seen(EnergyRegularizedLoss):
        def forward(self, logits: Any, targets: Any, **options: Any) -> Any:
            seen.append(targets.unique().tolist())
            return super().forward(logits, targets, **options)

    network = torch.nn.Conv2d(3, 4, 1)
    routine = segmentation.SegmentationRoutine(
        network,
        num_classes=4,
        loss=Seen(0.1, -5.0, -1.0),
        optim_recipe=torch.optim.SGD(network.parameters(), lr=0.01),
    )
    before = network.weight.detach().clone()
    run("fit", routine, DataLoader(TensorDataset(images, coded), batch_size=6))
    assert seen == [[-1, 0, 1, 2, 3]]
    assert not torch.equal(network.weight, before)


def test_the_code_of_the_page_runs() -> None:
    names = code("suites.md", "torch-uncertainty")
    assert names["pixels"].ood_criterion.squashed
    assert isinstance(names["routine"].loss, EnergyRegularizedLoss)
