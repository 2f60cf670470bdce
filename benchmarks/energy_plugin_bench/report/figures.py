"""Pictures of curves as small SVG texts that take their colours from the page around them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from energy_plugin_bench.report.curves import BINS, Curve
from energy_plugin_bench.values.rows import ERROR_DETECTION

# Stand-ins for what the page decides: light and dark have colours of their own.
_INK, _ID, _OOD, _MARK = "#010203", "#010204", "#010205", "#010206"
_COLOURS = {_INK: "currentColor", _ID: "var(--id)", _OOD: "var(--ood)", _MARK: "var(--mark)"}
_STYLES = ("-", "--", ":", "-.")
_HEIGHT, _WIDTHS = 2.3, (4.2, 2.8)


def drawn(curves: Sequence[Curve], title: str) -> str:
    """Draw histograms of the first curve, and the ROC of all.

    Args:
        curves: Of detectors on the same network and sets.
        title: For those who cannot see it.

    Returns:
        Two SVG elements without size, to stand in a page that defines `--id`, `--ood` and `--mark`.
    """
    pictures = (
        (lambda axes: _histograms(axes, curves[0]), f"{title}: histograms of scores"),
        (lambda axes: _rocs(axes, curves), f"{title}: ROC curves"),
    )
    return "".join(_picture(draw, width, name) for (draw, name), width in zip(pictures, _WIDTHS, strict=True))


def _picture(draw: Callable[[Axes], None], width: float, title: str) -> str:
    with _settings(title):
        figure = Figure(figsize=(width, _HEIGHT))
        draw(figure.subplots())
        figure.tight_layout(pad=0.3)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), title)


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 8, "font.family": "sans-serif",
        "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK,
        "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
        "axes.titlesize": 8, "legend.frameon": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def _histograms(axes: Axes, curve: Curve) -> None:
    """Share of images a bin, in-distribution against OOD, and the threshold."""
    width = (curve.high - curve.low) or 1.0
    edges = [curve.low + width * index / BINS for index in range(BINS + 1)]
    names = ("right", "wrong") if curve.ood_set == ERROR_DETECTION else ("in-distribution", "OOD")
    for counts, total, colour, name in (
        (curve.inward, curve.n_id, _ID, f"{names[0]} ({curve.n_id:,})"),
        (curve.outward, curve.n_ood, _OOD, f"{names[1]} ({curve.n_ood:,})"),
    ):
        shares = [count / max(1, total) for count in counts]
        soft = to_rgba(colour, 0.35)
        axes.stairs(shares, edges, fill=True, fc=soft, ec=colour, linewidth=0.8, label=name)
    axes.axvline(min(max(curve.threshold, curve.low), curve.high), color=_MARK, linewidth=1, linestyle="--")
    axes.set(xlabel=f"{curve.method} score (higher = more OOD)", ylabel="share of images", yticks=[])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2, borderpad=0)


def _rocs(axes: Axes, curves: Sequence[Curve]) -> None:
    """ROC curves, and where 95 % are found."""
    for curve, style in zip(curves, _STYLES * len(curves), strict=False):
        false, true = zip(*curve.roc, strict=True)
        axes.plot(false, true, color=_INK, linewidth=1, linestyle=style, label=curve.method)
        axes.plot(*curve.point, marker="o", markersize=3.5, color=_MARK)
    axes.set(
        xlim=(-0.02, 1.02), ylim=(0, 1.03), xlabel="false positive rate", ylabel="true positive rate",
        xticks=(0, 0.5, 1), yticks=(0, 0.5, 0.95),
    )  # fmt: skip
    axes.legend(loc="lower right", borderpad=0)


def _short(path: str) -> str:
    """The same path with one digit after the point and no blanks that may be left out."""
    path = re.sub(r"(\d+\.\d)\d+", r"\1", path).replace(".0 ", " ")
    return re.sub(r"\s*\n\s*|\s+(?=\")", "", re.sub(r"([MLCQz]) ", r"\1", path))


def _inline(svg: str, title: str) -> str:
    """Cut an SVG document down to an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r' d="[^"]*"', lambda path: _short(path[0]), svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    svg = re.sub(r"\n\s*", "\n", svg)
    safe = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{safe}"', 1)
