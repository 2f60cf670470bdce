"""A benchmark of pytorch-ood for anomaly segmentation, streamed: its own keeps every logit in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_ood.api import Detector
from pytorch_ood.benchmark import Benchmark
from torch.utils.data import DataLoader, Dataset

from energy_plugin.metrics import convention
from energy_plugin.segmentation import Outcome, evaluate


class SegmentationBenchmark(Benchmark):  # type: ignore[misc]  # the host has no type information
    """Sets of images and masks in which anomalous pixels are < 0; `evaluate(detector)` as in any benchmark.

        benchmark = SegmentationBenchmark({"RoadAnomaly": load("RoadAnomaly", root=root, transform=joint)})
        benchmark.evaluate(EnergyPluginDetector(network))

    Args:
        sets: By name: data sets of (image C x H x W, mask H x W).
        codes: Label convention of the masks, for all or by name; None: ours (void is -100), as
            `datasets.load` gives them. Masks of pytorch-ood's own sets as they come: `pytorch_ood_anomaly`
            and others.
        conventions: How figures are computed (`energy_plugin.metrics.CONVENTIONS`); `ptood` is pytorch-ood's
            way. The first one fills the usual columns.
        train: The ID set that `train_set` returns.
        **options: Of `energy_plugin.segmentation.Evaluation`: after, align_corners, exact_up_to, bins.

    Raises:
        LookupError: No convention has a name.
        ValueError: There is no set.
    """

    def __init__(
        self,
        sets: Mapping[str, Dataset[Any]],
        *,
        codes: Any = None,
        conventions: str | Sequence[str] = "ptood",
        train: Dataset[Any] | None = None,
        **options: Any,
    ) -> None:
        if not sets:
            raise ValueError("a benchmark needs a set.")
        self.sets = dict(sets)
        self.ood_names = list(self.sets)
        self.conventions = (conventions,) if isinstance(conventions, str) else tuple(conventions)
        for name in self.conventions:
            convention(name)
        self.codes = dict(codes) if isinstance(codes, Mapping) else dict.fromkeys(self.sets, codes)
        self.train = train
        self.options = options
        self.outcomes: dict[str, dict[str, Outcome]] = {}

    def train_set(self) -> Dataset[Any]:
        """Return the ID set for training.

        Raises:
            ValueError: None was given.
        """
        if self.train is None:
            raise ValueError("this benchmark has no training set: give one with train=...")
        return self.train

    def test_sets(self, known: bool = True, unknown: bool = True) -> list[Dataset[Any]]:
        """Return the sets. Known and unknown pixels share images, so there is nothing to leave out.

        Raises:
            ValueError: Only one kind is asked for.
        """
        if not (known and unknown):
            raise ValueError("known and unknown pixels share images: ask for both.")
        return list(self.sets.values())

    def evaluate(
        self,
        detector: Detector | Sequence[Detector] | Mapping[str, Detector],
        loader_kwargs: dict[str, Any] | None = None,
        device: str = "cpu",
        **ignored: Any,
    ) -> list[dict[str, Any]]:
        """Evaluate detectors on every set, image by image; detectors of one network share its pass.

        Args:
            detector: One, several, or several by name.
            loader_kwargs: Of a `DataLoader`. Without it images go one by one and may differ in size.
            device: Where the networks are moved to.
            **ignored: `cache`, `cache_dir` and `cache_key` of the host: nothing is kept, so nothing is stale.

        Returns:
            One dictionary a set and detector: AUROC, AUPR-IN, AUPR-OUT, FPR95TPR as the first convention has
            them, FPR95 with ID positive, Dataset, Detector. `self.outcomes` has the rest.

        Raises:
            TypeError: An argument is none of the host's, or something is no detector.
        """
        unknown = set(ignored) - {"cache", "cache_dir", "cache_key"}
        if unknown:
            raise TypeError(f"evaluate() has no argument {', '.join(sorted(unknown))}.")
        detectors: Any = [detector] if isinstance(detector, Detector) else detector
        for single in detectors.values() if isinstance(detectors, Mapping) else detectors:
            if isinstance(single, Detector):
                single.to(device)
        rows = []
        for name, data in self.sets.items():
            source: Any = DataLoader(data, **loader_kwargs) if loader_kwargs else data
            found = evaluate(
                source, detectors, conventions=self.conventions, codes=self.codes.get(name), **self.options
            )
            self.outcomes[name] = found
            rows += [_row(name, outcome, self.conventions[0]) for outcome in found.values()]
        return rows


def _row(dataset: str, outcome: Outcome, name: str) -> dict[str, Any]:
    figures = outcome.figures[name]
    return {
        "AUROC": figures.auroc,
        "AUPR-IN": figures.aupr_in,
        "AUPR-OUT": figures.aupr_out,
        "FPR95TPR": figures.fpr95,
        "FPR95TPR-ID": figures.fpr95_id,
        "Dataset": dataset,
        "Detector": outcome.detector,
    }
