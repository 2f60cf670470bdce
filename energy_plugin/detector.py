"""The energy detector: outlier scores, maps of them, and a threshold to decide by.

Source: Liu, Wang, Owens, Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020, equation 4.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from energy_plugin import batches, checks
from energy_plugin.errors import NotFittedError
from energy_plugin.kernels import energy
from energy_plugin.maps import Mode, check_resize, energy_map
from energy_plugin.outputs import evaluating, logits_of, normalised
from energy_plugin.thresholds import ShareThreshold, Threshold

FLOAT32_TEMPERATURES = (1e-3, 10.0)
"""Temperatures whose scores are float32. Beyond them they are computed and returned in float64: for a large T
the energy is near the constant -T log C, which at T = 1000 takes so many digits of a float32 that one rank in
three is lost; for a tiny one x / T leaves the range of a float32."""


class Resize(TypedDict, total=False):
    """How a score map is brought to another size; all of it optional.

    Args:
        size: (H, W) of the map; None leaves it at the resolution of the logits.
        align_corners: as in `torch.nn.functional.interpolate`.
        mode: `bilinear` (of the logits; the energy is taken afterwards), `nearest` or `nearest-exact`.
    """

    size: tuple[int, int] | None
    align_corners: bool
    mode: Mode


class EnergyDetector(nn.Module):
    """Out-of-distribution detector by the energy E(x) = -T * logsumexp(f(x) / T); higher = more OOD.

        detector = EnergyDetector(network).fit(id_loader, tpr=0.95)
        detector.is_ood(images)                  # True where a sample is refused

    As an `nn.Module` its output are the scores (`forward`), in whatever mode the network is and with
    gradients: for `torch.compile`, `torch.export` and ONNX. `predict` is for evaluation.

    Args:
        model: the network, or any callable; None where logits themselves are handed over (at the end of an
            `nn.Sequential`, for example).
        temperature: T > 0; 1 in the paper.
        class_dim: the class dimension of the logits, counted from the end where negative. None: 1, except for
            three dimensions, where B x N x C and B x C x L cannot be told apart and it must be said.
        key: the part of the network's output that is the logits, where `outputs.logits_of` cannot tell.

    Attributes:
        fitted: what `fit` found (`thresholds.Threshold`), None before.
    """

    higher_is: Literal["ood"] = "ood"

    def __init__(
        self,
        model: Callable[..., Any] | None = None,
        temperature: float = 1.0,
        *,
        class_dim: int | None = None,
        key: str | int | None = None,
    ) -> None:
        super().__init__()
        if model is not None and not callable(model):
            raise TypeError(
                f"model must be a network, another callable, or None for logits; got {type(model).__name__}."
            )
        if class_dim is not None and (isinstance(class_dim, bool) or not isinstance(class_dim, int)):
            raise TypeError(f"class_dim must be an integer or None, got {class_dim!r}.")
        self.model = model
        self.temperature = temperature
        self.class_dim = class_dim
        self.key = key
        self.fitted: Threshold | None = None
        self._threshold: float | None = None

    @property
    def temperature(self) -> float:
        """T > 0. Kept as a number, not as a buffer: `.half()` cannot round it, and no GPU is asked for it."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        temperature = _number(value, "temperature")
        if not torch.finfo(torch.float32).tiny <= temperature <= torch.finfo(torch.float32).max:
            raise ValueError(f"temperature must be positive, finite and in float32's range, got {value!r}.")
        self._temperature = temperature

    @property
    def threshold(self) -> float | None:
        """Scores above it are OOD; None before `fit` (or before it is set by hand)."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        self._threshold = None if value is None else _number(value, "threshold")
        self.fitted = None

    def forward(self, inputs: Any) -> Tensor:
        """Return the score of the network's output for `inputs`; see `score`."""
        return self.score(inputs if self.model is None else self.model(inputs))

    def score(self, logits: Any, **resize: Unpack[Resize]) -> Tensor:
        """Return the outlier scores of logits: the energy; higher = more OOD.

        Args:
            logits: B x C, or B x C x ... with any number of spatial dimensions (C elsewhere: `class_dim`),
                floating point; or a network's output that holds them (`outputs.logits_of`).
            **resize: size, align_corners, mode of a map; see `Resize` and `maps.energy_map`.

        Returns:
            (B,), or B x ... with the spatial dimensions; float32, or float64 where the logits are, and for
            temperatures outside `FLOAT32_TEMPERATURES`. A NaN logit gives NaN, a sample of -inf logits +inf.

        Raises:
            TypeError: logits are not floating point, or cannot be told in the output; an option is unknown.
            ValueError: rank, class dimension or size do not fit, or options do not go together.
        """
        if resize:
            check_resize(resize)
        found = logits_of(logits, self.key)
        dim = self._class_dimension(found)
        low, high = FLOAT32_TEMPERATURES
        if found.is_floating_point() and not low <= self.temperature <= high:
            found = found.double()
        size = resize.get("size")
        if size is None:
            return energy(found, temperature=self.temperature, dim=dim)
        if dim % found.ndim != 1:
            found = found.movedim(dim, 1)
        return energy_map(
            found,
            size,
            temperature=self.temperature,
            mode=resize.get("mode", "bilinear"),
            align_corners=resize.get("align_corners", False),
        )

    def predict(self, inputs: Any, **resize: Unpack[Resize]) -> Tensor:
        """Return the scores in evaluation mode and without gradients.

        The network is put into evaluation mode, and every submodule's own mode restored, after an error too.
        Inputs are brought to the network's device; the scores stay there.

        Args:
            inputs: what the network takes; a mapping becomes its keyword arguments.
            **resize: as for `score`.

        Returns:
            As `score`.
        """
        check_resize(resize)  # before the network has worked for nothing
        with evaluating(self.model), torch.inference_mode():
            scores = self.score(self._output(inputs), **resize)
        return scores.clone()  # an inference tensor could not be written to, nor used under autograd

    def fit(
        self,
        id_loader: Iterable[Any],
        tpr: float = 0.95,
        *,
        void: int | Iterable[int] = (),
        size: tuple[int, int] | Literal["targets"] | None = None,
        align_corners: bool = False,
        mode: Mode = "bilinear",
    ) -> EnergyDetector:
        """Set the threshold to the lowest score at or below which a share `tpr` of the ID samples stays.

        Exact up to four million scores, then within a stated bound and in bounded memory (`thresholds`).

        Args:
            id_loader: batches of inputs, (inputs, targets) or mappings (`batches.parts`). With targets only
                samples (pixels) with a target >= 0 that is not in `void` count.
            tpr: share of ID to accept, in (0, 1].
            void: code or codes of targets to leave out, such as 255.
            size: of score maps, as for `score`; `targets` takes that of each batch's mask.
            align_corners: as for `score`.
            mode: as for `score`.

        Returns:
            The detector itself.

        Raises:
            TypeError: the loader is a data set, or a batch, its targets, or the logits are of a kind that is
                not taken.
            ValueError: `tpr` is out of range, no sample counts, scores are NaN, or shapes do not fit.

        Warns:
            UserWarning: the first logits look like probabilities, whose energy detects nothing.
        """
        tpr = float(tpr)
        if not 0.0 < tpr <= 1.0:
            raise ValueError(f"tpr is the share of ID samples to accept, in (0, 1]; got {tpr!r}.")
        batches.check_loader(id_loader, "id_loader")
        found, codes = ShareThreshold(), batches.codes(void)
        with evaluating(self.model):
            for batch in id_loader:
                inputs, targets = batches.parts(batch)
                with torch.inference_mode():
                    output = self._output(inputs)
                    if not found.count:
                        self._warn_if_normalised(output)
                    scores = self.score(
                        output, size=_wanted(size, targets), align_corners=align_corners, mode=mode
                    )
                found.update(scores if targets is None else scores[batches.id_mask(targets, scores, codes)])
        fitted = found.at(tpr)
        self.threshold = fitted.value
        self.fitted = fitted
        return self

    def is_ood(self, inputs: Any = None, *, scores: Tensor | None = None, **resize: Unpack[Resize]) -> Tensor:
        """Return where samples are out-of-distribution: where their score is not at or below the threshold.

        A NaN score is OOD: a network that breaks down on a sample does not vouch for it.

        Args:
            inputs: what the network takes; or
            scores: of `predict` or `score`, of any shape.
            **resize: as for `score`, with `inputs`.

        Returns:
            bool, of the shape of the scores.

        Raises:
            NotFittedError: there is no threshold yet.
            TypeError: neither or both of `inputs` and `scores` are given; the scores are no tensor, or come
                with options for `inputs`.
        """
        if self._threshold is None:
            raise NotFittedError(
                "this EnergyDetector has no threshold: call `fit(id_loader)`, set `threshold`, or load a "
                "state that has one."
            )
        if (inputs is None) == (scores is None):
            raise TypeError("is_ood takes either inputs or scores=..., one of them.")
        if scores is None:
            return ~(self.predict(inputs, **resize) <= self._threshold)
        if resize:
            raise TypeError(f"{', '.join(resize)}: options for inputs; scores are taken as they are.")
        if not isinstance(scores, Tensor):
            raise TypeError(
                f"scores must be a tensor, as `predict` returns it, got {type(scores).__name__}: use "
                "torch.as_tensor(scores)."
            )
        return ~(scores <= self._threshold)

    def __repr__(self) -> str:
        return f"EnergyDetector({', '.join(self._figures())})"

    def _figures(self) -> list[str]:
        figures = [f"model={_summary(self.model)}", f"temperature={self.temperature:g}"]
        if self.class_dim is not None:
            figures.append(f"class_dim={self.class_dim}")
        if self.key is not None:
            figures.append(f"key={self.key!r}")
        if self._threshold is None:
            return [*figures, "not fitted"]
        figures.append(f"threshold={self._threshold:.6g}")
        if self.fitted is not None:
            figures.append(f"which accepts {self.fitted.share:g} of {self.fitted.count:,} ID scores")
        return figures

    def _class_dimension(self, logits: Tensor) -> int:
        """Return the class dimension, which must be beyond doubt."""
        if logits.ndim < 2:
            raise ValueError(
                f"logits must be B x C x ..., got shape {tuple(logits.shape)}: add a batch dimension."
            )
        if self.class_dim is None and logits.ndim == 3:
            raise ValueError(
                f"logits of shape {tuple(logits.shape)} may be B x N x C or B x C x L: say which with "
                "EnergyDetector(class_dim=-1) or EnergyDetector(class_dim=1)."
            )
        dim = 1 if self.class_dim is None else self.class_dim
        if not -logits.ndim <= dim < logits.ndim or dim % logits.ndim == 0:
            raise ValueError(
                f"class_dim={dim} does not fit logits of shape {tuple(logits.shape)}: dimension 0 is the "
                f"batch and the class dimension one of 1 to {logits.ndim - 1}."
            )
        return dim

    def _output(self, inputs: Any) -> Any:
        return inputs if self.model is None else batches.run(self.model, inputs)

    def _warn_if_normalised(self, output: Any) -> None:
        logits = logits_of(output, self.key)
        found = normalised(logits, self._class_dimension(logits)) if logits.is_floating_point() else None
        if found:
            warnings.warn(
                f"the network's output looks like {found}. The energy of probabilities is nearly the same "
                "for all samples and detects nothing: hand over the logits, before the softmax.",
                UserWarning,
                stacklevel=3,
            )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, value in (("temperature", self._temperature), ("threshold", self._threshold)):
            figure = math.nan if value is None else value  # NaN: not fitted
            destination[prefix + name] = torch.tensor(figure, dtype=torch.float64)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for name in ("temperature", "threshold"):
            figure = state_dict.pop(prefix + name, None)  # a copy of the caller's, made by load_state_dict
            if figure is None:
                missing_keys.append(prefix + name)
                continue
            try:
                setattr(self, name, None if math.isnan(figure) and name == "threshold" else figure)
            except (TypeError, ValueError) as error:
                error_msgs.append(f"{prefix}{name}: {error}")
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _number(value: Any, name: str) -> float:
    """Return a figure of the user's as a float: any real number, or a tensor with one."""
    figure = checks.number(value, name)
    if math.isnan(figure):
        raise ValueError(f"{name} must be a number, got NaN.")
    return figure


def _wanted(size: tuple[int, int] | str | None, targets: Tensor | None) -> tuple[int, int] | None:
    """Return the size of score maps; "targets" is that of the mask."""
    if not isinstance(size, str):
        return size
    if size != "targets" or targets is None or targets.ndim < 3:
        came = "no targets" if targets is None else f"targets of shape {tuple(targets.shape)}"
        raise ValueError(f"size is {size!r} with {came}; expected (H, W), or 'targets' with masks B x H x W.")
    return targets.shape[-2], targets.shape[-1]


def _summary(model: Any) -> str:
    if not isinstance(model, nn.Module):
        return "None" if model is None else getattr(model, "__name__", type(model).__name__)
    return f"{type(model).__name__} of {sum(part.numel() for part in model.parameters()):,} parameters"
