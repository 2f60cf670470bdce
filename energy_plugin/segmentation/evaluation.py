"""The evaluator: images one by one through a network, one pass for all detectors, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from energy_plugin import batches, labels, metrics
from energy_plugin.segmentation.masks import Codes, translate_masks
from energy_plugin.segmentation.outcomes import BINS, EXACT_UP_TO, Outcome, Tally
from energy_plugin.segmentation.scoring import Detectors, Scorer, logits_for, scorers

FISHYSCAPES = "fishyscapes-server"


class Indexed(Protocol):
    """A map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Seen:
    """One image after its evaluation, handed to `on_image` to draw or to store.

    Attributes:
        index: its place in the data.
        name: its name, or the index as text.
        image: what went into the network, C x H x W.
        mask: H x W in our codes: ID >= 0, OOD < 0, `labels.VOID` void.
        maps: outlier map H x W of each detector.
    """

    index: int
    name: str
    image: Any
    mask: Tensor
    maps: Mapping[str, Tensor]


class Evaluation:
    """Figures of detectors over masks that come batch by batch.

    Args:
        detectors: one, several, or several by name; see `scorers` for what is taken.
        conventions: names of metric conventions (`energy_plugin.metrics.CONVENTIONS`) or records: whether
            images are pooled, which threshold FPR95 takes, what becomes of an image without OOD pixels.
        codes: the label convention of the masks (`energy_plugin.labels`); None: ours.
        per_image: whether figures of each image are wanted too, under the first convention. They need a
            sort for every image and detector.
        after: applied to each batch of maps B x H x W before anything is measured, such as `Blur(7, 1.0)`.
        align_corners: of the enlargement of logits that are smaller than the mask.
        exact_up_to: pixels that are kept, and figures exact; more are counted in bins, with bounds.
        bins: number of bins.

    Attributes:
        seconds: time spent on `data`, `network`, `scores` and `metrics` (on a GPU, where work is queued, only
            their sum means something).

    Raises:
        LookupError: no convention has a name.
        TypeError: something is no detector.
        ValueError: there is no detector or no convention.
    """

    def __init__(
        self,
        detectors: Detectors | Any,
        *,
        conventions: str | metrics.Convention | Sequence[str | metrics.Convention] = FISHYSCAPES,
        codes: Codes | None = None,
        per_image: bool = False,
        after: Callable[[Tensor], Tensor] | None = None,
        align_corners: bool = False,
        exact_up_to: int = EXACT_UP_TO,
        bins: int = BINS,
    ) -> None:
        self.scorers = scorers(detectors)
        if isinstance(conventions, str | metrics.Convention):
            conventions = (conventions,)
        rules = [metrics.convention(name) for name in conventions]
        if not rules:
            raise ValueError("no convention was given.")
        self.codes = None if codes is None else labels.convention(codes)
        self.after = after
        self.align_corners = align_corners
        self.seconds = dict.fromkeys(("data", "network", "scores", "metrics"), 0.0)
        self._index = 0
        self._tallies = {
            scorer.name: Tally(rules, exact_up_to=exact_up_to, bins=bins, per_image=per_image)
            for scorer in self.scorers
        }

    def update(
        self,
        masks: Tensor,
        *,
        logits: Tensor | None = None,
        images: Any = None,
        maps: Mapping[str, Tensor] | None = None,
        names: Sequence[str] = (),
    ) -> Mapping[str, Tensor]:
        """Take a batch: what the detectors score, and the masks.

        Args:
            masks: B x H x W or B x 1 x H x W, whole numbers in the codes of the evaluation.
            logits: B x C x h x w, for detectors that score logits.
            images: for detectors that run a network of their own.
            maps: outlier maps B x H x W that are there already, by detector.
            names: of the images, for messages and tables.

        Returns:
            The maps B x H x W that were measured, by detector.

        Raises:
            ValueError: shapes do not fit, or scores are NaN; the message names detector and image.
            LabelError: a mask has a code that its convention does not know.
        """
        start = time.perf_counter()
        masks = self.translated(masks)
        self.seconds["metrics"] += time.perf_counter() - start
        size = (int(masks.shape[-2]), int(masks.shape[-1]))
        start = time.perf_counter()
        found = dict(maps or {})
        for scorer in self.scorers:
            if scorer.name not in found:
                found[scorer.name] = self._map(scorer, logits, images, size)
        if self.after is not None:
            found = {name: self.after(scores) for name, scores in found.items()}
        middle = time.perf_counter()
        for row, mask in enumerate(masks):
            self._count(
                mask, {name: scores[row] for name, scores in found.items()}, _name(names, row, self._index)
            )
            self._index += 1
        self.seconds["scores"] += middle - start
        self.seconds["metrics"] += time.perf_counter() - middle
        return found

    def translated(self, masks: Tensor) -> Tensor:
        """Return masks in our codes, B x H x W, int64."""
        masks = torch.as_tensor(masks)
        if masks.ndim == 4 and masks.shape[1] == 1:
            masks = masks.squeeze(1)
        if masks.ndim != 3:
            raise ValueError(f"masks have shape {tuple(masks.shape)}; expected B x H x W or B x 1 x H x W.")
        return translate_masks(masks, self.codes)

    def merge(self, other: Evaluation) -> None:
        """Add what another evaluation of the same settings has seen, in another process say."""
        for name, tally in self._tallies.items():
            tally.merge(other._tallies[name])
        for part in self.seconds:
            self.seconds[part] += other.seconds[part]
        self._index += other._index

    def outcomes(self) -> dict[str, Outcome]:
        """Return what was found, by detector.

        Raises:
            ValueError: no image, or no pixel of a kind, was seen.
        """
        start = time.perf_counter()
        found = {
            name: Outcome(detector=name, figures=tally.figures(), images=tuple(tally.images))
            for name, tally in self._tallies.items()
        }
        self.seconds["metrics"] += time.perf_counter() - start
        return found

    def _map(self, scorer: Scorer, logits: Tensor | None, images: Any, size: tuple[int, int]) -> Tensor:
        given, what = (logits, "logits") if scorer.takes == "logits" else (images, "images")
        if given is None:
            raise ValueError(f"detector {scorer.name!r} scores {what}, which were not given.")
        make = scorer.from_logits if scorer.takes == "logits" else scorer.from_images
        return make(given, size, self.align_corners)

    def _count(self, mask: Tensor, maps: Mapping[str, Tensor], name: str) -> None:
        """Take one image."""
        flat = mask.reshape(-1)
        is_ood = (flat < 0) & (flat != labels.VOID)
        # Found once for all detectors; picking by index is faster than by mask.
        ood, inside = is_ood.nonzero().squeeze(1), (flat >= 0).nonzero().squeeze(1)
        for detector, scores in maps.items():
            row = scores.reshape(-1)
            try:
                self._tallies[detector].add(
                    row.index_select(0, inside.to(row.device)), row.index_select(0, ood.to(row.device)), name
                )
            except ValueError as error:
                raise ValueError(f"detector {detector!r}, image {name}: {error}") from error


def evaluate(
    data: Iterable[Any] | Indexed,
    detectors: Detectors | Any,
    *,
    network: Any = None,
    key: str | int | None = None,
    on_image: Callable[[Seen], None] | None = None,
    timings: dict[str, float] | None = None,
    **options: Any,
) -> dict[str, Outcome]:
    """Evaluate detectors on images and masks, image by image.

    Args:
        data: a data set of (image C x H x W, mask H x W), a loader of batches of them, or any iterable of
            either. Images may differ in size unless they share a batch. A data set's `names` are used.
        detectors: one, several, or several by name (`scorers`).
        network: gives the logits that all detectors score, in one pass an image. None: each detector's own
            `model`, each distinct one run once an image.
        key: the part of the network's output that is the logits, where it cannot be told.
        on_image: called with each image and its maps, to draw them for example; nothing is kept afterwards.
        timings: filled with the seconds spent on data, network, scores and metrics.
        **options: of `Evaluation`: conventions, codes, per_image, after, align_corners, exact_up_to, bins.

    Returns:
        An `Outcome` a detector, by name.

    Raises:
        ValueError: shapes do not fit, no network is there, scores are NaN, or a kind of pixels is missing.
        LabelError: a mask has a code that its convention does not know.
    """
    evaluation = Evaluation(detectors, **options)
    names = getattr(data, "names", ())
    index, last = 0, time.perf_counter()
    with torch.inference_mode():
        for images, masks in _batches(data):
            evaluation.seconds["data"] += time.perf_counter() - last
            shown = names[index : index + len(masks)]
            maps = _through(evaluation, network, images, masks, key, shown)
            if on_image is not None:
                codes = evaluation.translated(masks)
                for row in range(len(masks)):
                    single = {name: scores[row].clone() for name, scores in maps.items()}
                    on_image(
                        Seen(index + row, _name(shown, row, index + row), images[row], codes[row], single)
                    )
            index += len(masks)
            last = time.perf_counter()
    outcomes = evaluation.outcomes()
    if timings is not None:
        timings.update(evaluation.seconds)
    return outcomes


def _through(
    evaluation: Evaluation,
    network: Any,
    images: Any,
    masks: Tensor,
    key: str | int | None,
    names: Sequence[str],
) -> Mapping[str, Tensor]:
    """Run the networks that the detectors need, each once, and take the maps."""
    networks = {
        id(chosen): chosen
        for scorer in evaluation.scorers
        if scorer.takes == "logits" and (chosen := _network_of(scorer, network)) is not None
    }
    if len(networks) == 1:
        (chosen,) = networks.values()
        return evaluation.update(
            masks, logits=_timed(evaluation, chosen, images, key), images=images, names=names
        )
    maps: dict[str, Tensor] = {}
    size = (int(masks.shape[-2]), int(masks.shape[-1]))
    for chosen in networks.values():
        logits = _timed(evaluation, chosen, images, key)
        for scorer in evaluation.scorers:
            if scorer.takes == "logits" and _network_of(scorer, network) is chosen:
                maps[scorer.name] = scorer.from_logits(logits, size, evaluation.align_corners)
    return evaluation.update(masks, images=images, maps=maps, names=names)


def _network_of(scorer: Scorer, network: Any) -> Any:
    chosen = network if network is not None else scorer.network
    if chosen is None:
        raise ValueError(
            f"no network: detector {scorer.name!r} has none of its own, so say network=... (or call "
            "Evaluation.update with logits)."
        )
    return chosen


def _timed(evaluation: Evaluation, network: Any, images: Any, key: str | int | None) -> Tensor:
    start = time.perf_counter()
    logits = logits_for(network, images, key)
    evaluation.seconds["network"] += time.perf_counter() - start
    return logits


def _batches(data: Iterable[Any] | Indexed) -> Iterator[tuple[Any, Tensor]]:
    """Yield images and masks with a batch dimension."""
    for item in _items(data):
        image, mask = batches.parts(item)
        if mask is None:
            raise ValueError("the data gives images without masks; expected (image, mask).")
        if not isinstance(image, Tensor):
            raise TypeError(
                f"an image is a {type(image).__name__}; expected a tensor C x H x W: give the data set a "
                "transform."
            )
        if image.ndim == 3:
            image, mask = image.unsqueeze(0), mask.reshape(1, *mask.shape[-2:])
        yield image, mask


def _items(data: Any) -> Iterator[Any]:
    """Go through a data set by its length, since iterating over many does not end, else as it is."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    return iter(data)


def _name(names: Sequence[str], row: int, index: int) -> str:
    return str(names[row]) if row < len(names) else str(index)
