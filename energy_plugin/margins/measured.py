"""Margins from measured energies: what was measured, what is suggested, and how other margins stand to it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

FAR_OFF = 0.95
"""Share of a side that violates its margin before training, from which on `check` calls it far off."""

IDLE = 0.05
"""Share of both sides below which `check` says that the margins ask for almost nothing."""


@dataclass(frozen=True, kw_only=True)
class Energies:
    """Energies of one side (ID or OOD) before training.

    Args:
        mean: mean energy of all samples.
        std: standard deviation (ddof 0) of all samples.
        count: number of samples; of pixels in segmentation.
        sample: the energies in ascending order, evenly thinned where there are millions (float32, CPU).
    """

    mean: float
    std: float
    count: int
    sample: Tensor = field(repr=False, compare=False)

    def share_above(self, margin: float) -> float:
        """Share of the samples with an energy above `margin`."""
        return 1.0 - self._rank(margin, right=True)

    def share_below(self, margin: float) -> float:
        """Share of the samples with an energy below `margin`."""
        return self._rank(margin, right=False)

    def _rank(self, margin: float, *, right: bool) -> float:
        wanted = torch.tensor(margin, dtype=self.sample.dtype)
        return float(torch.searchsorted(self.sample, wanted, right=right)) / self.sample.numel()


@dataclass(frozen=True, kw_only=True)
class MarginSuggestion:
    """Margins from measured energies; `str()` says what was measured.

    Args:
        margin_in: energy to push ID samples below.
        margin_out: energy to push OOD samples above.
        id: energies of the ID side.
        ood: energies of the OOD side.
    """

    margin_in: float
    margin_out: float
    id: Energies
    ood: Energies

    @property
    def violations(self) -> tuple[float, float]:
        """Shares of the ID and the OOD samples that violate the suggested margins before training."""
        return self.violations_of(self.margin_in, self.margin_out)

    def violations_of(self, margin_in: float, margin_out: float) -> tuple[float, float]:
        """Shares of the ID and the OOD samples that violate other margins before training."""
        return self.id.share_above(margin_in), self.ood.share_below(margin_out)

    def settings(self) -> dict[str, float]:
        """The two arguments of the loss: margin_in, margin_out."""
        return {"margin_in": self.margin_in, "margin_out": self.margin_out}

    def __str__(self) -> str:
        margins = f"margin_in {self.margin_in:.2f}, margin_out {self.margin_out:.2f}"
        return f"{margins}; {_measured(self)}; {_violated(self, self.margin_in, self.margin_out)}"


def suggest_from_energies(
    id_energies: Tensor, ood_energies: Tensor, *, slack: float = 0.0
) -> MarginSuggestion:
    """Margins from energies that were measured already: the two means, moved by `slack`.

    Args:
        id_energies: E of ID samples under the pretrained network, any shape.
        ood_energies: E of the auxiliary outliers, any shape.
        slack: how far to move each margin beyond its mean, as a share of the gap between the means. 0 takes
            the means themselves ("the average is fine", weitliu/energy_ood issue 21), 0.1 asks for a gap 20 %
            wider, -0.25 for one half as wide, which costs less accuracy.

    Raises:
        TypeError: the energies are not floating-point tensors.
        ValueError: a side is empty or not finite, the ID mean is not below the OOD mean, or slack <= -0.5.
    """
    sides = []
    for name, energies in (("ID", id_energies), ("OOD", ood_energies)):
        if not isinstance(energies, Tensor) or not energies.is_floating_point():
            came = energies.dtype if isinstance(energies, Tensor) else type(energies).__name__
            raise TypeError(f"{name} energies must be a floating-point tensor, got {came}")
        collector = Collector()
        collector.add(energies.detach())
        sides.append(collector.done(name))
    return suggestion(sides[0], sides[1], slack)


def check(margin_in: float, margin_out: float, measured: MarginSuggestion) -> tuple[float, float]:
    """Hold margins against measured energies; warn if they are far off or ask for almost nothing.

    Far off: at least 95 % of one side violate its margin before training, so training first of all shifts the
    energies, which costs accuracy. Almost nothing: less than 5 % of each side violate theirs.

    Returns:
        The shares of the ID and the OOD samples that violate the margins before training.

    Raises:
        ValueError: `margin_in` is not below `margin_out`, or one is not finite.
    """
    if not (math.isfinite(margin_in) and math.isfinite(margin_out)):
        raise ValueError(f"margins must be finite, got margin_in={margin_in}, margin_out={margin_out}")
    suggested = f"suggested from these ({measured.margin_in:.2f}, {measured.margin_out:.2f})"
    if margin_in >= margin_out:
        raise ValueError(
            f"margin_in={margin_in:g} must be below margin_out={margin_out:g}: ID energies are pushed below "
            f"margin_in, OOD energies above margin_out. {_measured(measured)}; {suggested}"
        )
    shares = measured.violations_of(margin_in, margin_out)
    facts = f"{_measured(measured)}; {_violated(measured, margin_in, margin_out)}; {suggested}"
    if max(shares) >= FAR_OFF:
        verdict = "are far off for this network, and training will first of all shift its energies"
        warnings.warn(f"margins ({margin_in:g}, {margin_out:g}) {verdict}: {facts}", stacklevel=2)
    elif max(shares) < IDLE:
        verdict = "ask for almost nothing of this network"
        warnings.warn(f"margins ({margin_in:g}, {margin_out:g}) {verdict}: {facts}", stacklevel=2)
    return shares


def suggestion(id_side: Energies, ood_side: Energies, slack: float) -> MarginSuggestion:
    """Margins at the two means, moved by `slack`; `suggest_from_energies` says how, and what is raised."""
    if not slack > -0.5:
        raise ValueError(f"slack must be above -0.5 (there the two margins meet), got {slack}")
    shift = slack * (ood_side.mean - id_side.mean)
    found = MarginSuggestion(
        margin_in=id_side.mean - shift, margin_out=ood_side.mean + shift, id=id_side, ood=ood_side
    )
    if not found.margin_in < found.margin_out:
        raise ValueError(
            f"no margins can be suggested: {_measured(found)}. The network does not give the outliers the "
            "higher mean energy. Are the loaders exchanged, are these its logits (not probabilities), is it "
            "trained, and is the preprocessing the same on both sides? Outliers that it takes for ID call "
            "for other outliers, or for margins chosen by hand"
        )
    return found


class Collector:
    """Count, mean and variance of the energies of a side, and an even sample, at most `2 * kept` of them."""

    def __init__(self, kept: int = 1 << 21) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0
        self._kept = kept
        self._chunks: list[Tensor] = []
        self._held, self._stride = 0, 1

    def add(self, energies: Tensor) -> None:
        """Take the energies of a batch, any shape."""
        values = energies.reshape(-1).double()
        if not values.numel():
            return
        fresh, fresh_mean = values.numel(), float(values.mean())
        delta, total = fresh_mean - self.mean, self.count + fresh
        # Chan, Golub, LeVeque: sums of squares about the mean are joined without cancellation.
        self._squares += float((values - fresh_mean).square().sum()) + delta**2 * self.count * fresh / total
        self.mean += delta * fresh / total
        self._keep(values)
        self.count = total

    def done(self, side: str) -> Energies:
        """What was collected.

        Raises:
            ValueError: nothing was, or an energy is not finite.
        """
        if not self.count:
            raise ValueError(
                f"the {side} side has no sample: its loader is empty, or its targets leave none over"
            )
        if not math.isfinite(self.mean):
            raise ValueError(f"the {side} side has energies that are not finite: look at the logits")
        sample = torch.cat(self._chunks).sort().values
        return Energies(
            mean=self.mean, std=math.sqrt(self._squares / self.count), count=self.count, sample=sample
        )

    def _keep(self, values: Tensor) -> None:
        """Keep each value whose place in the whole stream is a multiple of the stride."""
        first = -self.count % self._stride
        self._chunks.append(values[first :: self._stride].float().cpu())
        self._held += self._chunks[-1].numel()
        while self._held > 2 * self._kept:
            thinned = torch.cat(self._chunks)[::2].clone()
            self._chunks, self._held, self._stride = [thinned], thinned.numel(), 2 * self._stride


def _measured(found: MarginSuggestion) -> str:
    sides = (("ID", found.id), ("OOD", found.ood))
    return ", ".join(
        f"mean {name} energy {side.mean:.2f} (std {side.std:.2f}, n {side.count})" for name, side in sides
    )


def _violated(found: MarginSuggestion, margin_in: float, margin_out: float) -> str:
    id_share, ood_share = found.violations_of(margin_in, margin_out)
    return (
        f"before training {id_share:.1%} of ID are above margin_in, {ood_share:.1%} of OOD below margin_out"
    )
