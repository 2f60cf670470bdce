"""The evaluator of anomaly segmentation, against the exact metrics computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from energy_plugin import labels, metrics
from energy_plugin.detector import EnergyDetector
from energy_plugin.energy import energy
from energy_plugin.errors import LabelError
from energy_plugin.segmentation import (
    SCORES,
    Blur,
    Evaluation,
    OutputProbability,
    OverClasses,
    evaluate,
    max_entropy,
    max_logit,
    msp,
    scorers,
)

SIZE = (24, 40)


class Pairs:
    """Images whose bright pixels are anomalies, as a network with noise sees them."""

    names = ("a", "b", "c", "d")

    def __init__(self, *, void=labels.VOID, dtype=torch.int64, ood=-1, empty=()):
        generator = torch.Generator().manual_seed(3)
        self.images, self.masks = [], []
        for index in range(4):
            image = torch.rand(3, *SIZE, generator=generator)
            mask = torch.zeros(SIZE, dtype=torch.int64)
            if index not in empty:
                mask[5:12, 6 + index : 16] = ood
            mask[-3:] = void
            image[:, mask == ood] += 0.4
            self.images.append(image)
            self.masks.append(mask.to(dtype))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.masks[index]


def network(classes=5, stride=1):
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, 3, padding=1, stride=stride)


def pooled(data, model, score):
    """All pixels in one list, by hand."""
    kept = []
    with torch.inference_mode():
        for image, mask in zip(data.images, data.masks, strict=True):
            logits = model(image[None])
            if logits.shape[-2:] != SIZE:
                logits = functional.interpolate(logits, size=SIZE, mode="bilinear")
            kept.append((score(logits)[0], mask))
    scores, masks = (torch.stack(parts) for parts in zip(*kept, strict=True))
    return scores[masks >= 0], scores[masks == -1]


def test_pooled_figures_are_those_of_all_pixels_without_void():
    data, model = Pairs(), network()
    found = evaluate(data, SCORES, network=model)
    for name, score in SCORES.items():
        id_scores, ood_scores = pooled(data, model, score)
        wanted = metrics.evaluate(id_scores, ood_scores, "fishyscapes-server")
        figures = found[name].figures["fishyscapes-server"]
        assert (figures.auroc, figures.aupr_out, figures.fpr95) == pytest.approx(
            (wanted.auroc, wanted.aupr_out, wanted.fpr95), abs=1e-12
        )
        assert figures.fpr95_id == metrics.fpr_at_tpr(id_scores, ood_scores, positive="id")
        assert figures.fpr95_ood != figures.fpr95_id
        assert (figures.n_id, figures.n_ood, figures.n_images, figures.bound) == (
            len(id_scores), len(ood_scores), 4, 0.0,
        )  # fmt: skip


def test_low_resolution_logits_are_enlarged_before_they_are_scored():
    data, model = Pairs(), network(stride=2)
    found = evaluate(data, {"mine": EnergyDetector(), "plain": energy, "msp": msp}, network=model)
    wanted = metrics.evaluate(*pooled(data, model, energy), "fishyscapes-server")
    for name in ("mine", "plain"):
        assert found[name].figures["fishyscapes-server"].auroc == pytest.approx(wanted.auroc, abs=1e-6)


def test_one_pass_serves_all_detectors():
    calls = []

    class Counting(nn.Conv2d):
        def forward(self, images):
            calls.append(tuple(images.shape))
            return super().forward(images)

    data = Pairs()
    evaluate(data, SCORES, network=Counting(3, 5, 1))
    assert calls == [(1, 3, *SIZE)] * 4
    calls.clear()
    shared, other = Counting(3, 5, 1), Counting(3, 4, 1)
    evaluate(data, [EnergyDetector(shared), EnergyDetector(shared, 2.0), EnergyDetector(other)])
    assert len(calls) == 8


def test_two_detectors_of_a_kind_are_told_apart():
    found = evaluate(Pairs(), [EnergyDetector(), EnergyDetector(temperature=2.0), msp], network=network())
    assert list(found) == ["EnergyDetector(temperature=1)", "EnergyDetector(temperature=2)", "msp"]
    assert [scorer.name for scorer in scorers([msp, msp])] == ["msp", "msp #2"]


def test_training_mode_is_left_for_the_evaluation_and_comes_back():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = network(), nn.Dropout(0.9)

        def forward(self, images):
            return self.drop(self.conv(images))

    model = Noisy().train()
    first = evaluate(Pairs(), msp, network=model)["msp"].figures
    assert model.training
    assert model.drop.training
    assert first == evaluate(Pairs(), msp, network=model.eval())["msp"].figures


def test_loader_batches_give_the_figures_of_single_images():
    data, model = Pairs(), network()
    single = evaluate(data, SCORES, network=model, per_image=True)
    batched = evaluate(DataLoader(data, batch_size=3), SCORES, network=model, per_image=True)
    for name in SCORES:
        one, many = single[name], batched[name]
        assert many.figures["fishyscapes-server"].auroc == pytest.approx(
            one.figures["fishyscapes-server"].auroc, abs=1e-5
        )
        assert [image.n_ood for image in many.images] == [image.n_ood for image in one.images]
    assert [image.name for image in single["msp"].images] == list(Pairs.names)


def test_images_of_other_sizes_go_one_by_one():
    data = [(image[:, : 10 + 4 * k], mask[: 10 + 4 * k]) for k, (image, mask) in enumerate(Pairs())]
    figures = evaluate(data, msp, network=network())["msp"].figures["fishyscapes-server"]
    assert figures.n_images == 4


@pytest.mark.parametrize("convention", ["hendrycks-per-image", "muad", "mask2anomaly", "pebal"])
def test_conventions_treat_images_without_anomaly_their_way(convention):
    data, model = Pairs(empty=(1,)), network()
    figures = evaluate(data, msp, network=model, conventions=convention)["msp"].figures[convention]
    with torch.inference_mode():
        images = [(msp(model(image[None]))[0], mask) for image, mask in data]
    wanted = metrics.over_images(images, convention, void=(labels.VOID,))
    assert (figures.auroc, figures.aupr_out, figures.fpr95) == pytest.approx(
        (wanted.auroc, wanted.aupr_out, wanted.fpr95), abs=1e-12
    )
    assert figures.n_skipped == wanted.n_skipped
    assert figures.n_id == wanted.n_id


def test_several_conventions_come_from_one_pass():
    found = evaluate(Pairs(), msp, network=network(), conventions=("pebal", "smiyc", "ptood", "muad"))
    assert list(found["msp"].figures) == ["pebal", "smiyc", "ptood", "muad"]


def test_codes_are_named_and_checked():
    raw = Pairs(void=255, ood=1, dtype=torch.uint8)
    model = network()
    assert evaluate(raw, msp, network=model, codes="fishyscapes") == evaluate(Pairs(), msp, network=model)
    with pytest.raises(LabelError, match=r"does not know 255 \(480 x\)|does not know 255 \(120 x\)"):
        evaluate(raw, msp, network=model, codes="zero_one")


def test_bins_bound_the_error():
    data, model = Pairs(), network()
    exact = evaluate(data, msp, network=model)["msp"].figures["fishyscapes-server"]
    binned = evaluate(data, msp, network=model, exact_up_to=0, bins=512)["msp"].figures["fishyscapes-server"]
    assert 0 < binned.bound < 0.1
    assert abs(binned.auroc - exact.auroc) <= binned.bound
    assert abs(binned.aupr_out - exact.aupr_out) <= binned.bound


def test_evaluations_merge():
    data, model = Pairs(), network()
    parts = [Evaluation(msp, per_image=True, conventions=("pebal", "muad")) for _ in range(3)]
    with torch.inference_mode():
        for index, (image, mask) in enumerate(data):
            for part in (parts[0], parts[1 + index % 2]):
                part.update(mask[None], logits=model(image[None]), names=(str(index),))
    parts[1].merge(parts[2])
    whole, merged = parts[0].outcomes()["msp"], parts[1].outcomes()["msp"]
    assert merged.figures["pebal"] == whole.figures["pebal"]
    assert merged.figures["muad"].auroc == pytest.approx(whole.figures["muad"].auroc)
    assert len(merged.images) == 4


def test_maps_are_handed_out():
    seen = []
    model = network()
    evaluate(Pairs(), {"e": EnergyDetector()}, network=model, on_image=seen.append, after=Blur(3, 1.0))
    assert [part.name for part in seen] == list(Pairs.names)
    with torch.inference_mode():
        wanted = Blur(3, 1.0)(energy(model(seen[2].image[None])))[0]
    assert torch.allclose(seen[2].maps["e"], wanted, atol=1e-5)
    assert seen[2].mask.unique().tolist() == [labels.VOID, -1, 0]


def test_detectors_with_a_network_of_their_own_and_both_directions():
    class Ours:
        higher_is = "id"

        def score(self, logits):
            return -msp(logits)

    class OfImages:
        def predict(self, images):
            return images.mean(1)[:, ::2, ::2]

    found = evaluate(Pairs(), {"ours": Ours(), "images": OfImages(), "msp": msp}, network=network())
    assert found["ours"].figures == found["msp"].figures
    assert found["images"].figures["fishyscapes-server"].auroc > 0.9


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"network": None}, ValueError, "no network"),
        ({"detectors": {}}, ValueError, "no detector"),
        ({"detectors": {"x": 3}}, TypeError, "no detector"),
        ({"detectors": {"x": lambda logits: logits.mean((1, 2, 3))}}, ValueError, "one score a pixel"),
        (
            {"detectors": {"x": lambda logits: msp(logits) * float("nan")}},
            ValueError,
            "'x', image a: scores contain",
        ),
        ({"network": nn.Sequential(nn.Flatten(), nn.LazyLinear(4))}, ValueError, "a class score a pixel"),
        ({"conventions": ()}, ValueError, "no convention"),
        ({"conventions": "fishyscape"}, LookupError, "fishyscapes-server"),
        ({"data": [torch.rand(3, 8, 8)]}, ValueError, "without masks"),
        ({"data": [("image", torch.zeros(8, 8))]}, TypeError, "give the data set a transform"),
    ],
)
def test_wrong_input_is_refused(change, error, message):
    given = {"data": Pairs(), "detectors": {"msp": msp}, "network": network()} | change
    with pytest.raises(error, match=message):
        evaluate(given.pop("data"), given.pop("detectors"), **given)


def test_scores_follow_their_definitions():
    logits = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    chances = logits.softmax(1)
    assert torch.allclose(max_logit(logits), -logits.max(1).values)
    assert torch.allclose(msp(logits), 1 - chances.max(1).values)
    entropy = torch.distributions.Categorical(probs=chances.movedim(1, -1)).entropy()
    assert torch.allclose(max_entropy(logits), entropy / torch.log(torch.tensor(6.0)))
    assert torch.allclose(OutputProbability(5)(logits), chances[:, 5])
    assert torch.allclose(OverClasses(msp, 4)(logits), msp(logits[:, :4]))
    masked = logits.masked_fill(torch.arange(6).view(1, -1, 1, 1) == 2, -torch.inf)
    assert max_entropy(masked).isfinite().all()
    with pytest.raises(ValueError, match="7 classes"):
        OverClasses(msp, 7)(logits)


def test_bands_give_the_map_of_the_whole():
    logits = torch.randn(1, 20, 300, 256)
    for score in (energy, OverClasses(energy, 19), OutputProbability(19)):
        (scorer,) = scorers({"x": score})
        assert scorer.pointwise
        assert torch.allclose(scorer.from_logits(logits, (300, 256)), score(logits), atol=1e-6)
    assert not scorers({"x": lambda part: msp(part)})[0].pointwise


def test_blur_is_the_gaussian():
    maps = torch.zeros(1, 15, 15)
    maps[0, 7, 7] = 1
    blurred = Blur(7, 1.0)(maps)
    places = torch.arange(-3.0, 4.0)
    line = torch.exp(-places.square() / 2)
    wanted = torch.outer(line, line) / line.sum() ** 2
    assert torch.allclose(blurred[0, 4:11, 4:11], wanted)
    assert torch.allclose(Blur()(torch.ones(1, 9, 9)), torch.ones(1, 9, 9))
    with pytest.raises(ValueError, match="odd"):
        Blur(4)
