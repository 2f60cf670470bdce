"""The detector's lines of docs/cases.md: each runs on pytorch-ood's class and on ours, and says what came."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from loss_cases import Case, attempt
from torch import Tensor, nn

Make = Callable[..., Any]
"""Makes a detector of one implementation, `make(network, temperature=T)`, with `predict(inputs)`,
`score(logits)`, `fit(loader)` and, where it has that, `is_ood(inputs)`; `itself` is its own object."""


def logits_of(*shape: int, scale: float = 3.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * scale


def network() -> nn.Module:
    """In training mode, where it draws and moves its statistics."""
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 5)).train()


def definition(logits: Tensor, temperature: float) -> Tensor:
    return -temperature * torch.logsumexp(logits.double() / temperature, 1)


def scored(*shape: int, temperature: Any = 1.0) -> Callable[[Make], str]:
    """The scores of logits of one shape, against the definition."""

    def run(make: Make) -> str:
        logits = logits_of(*shape)
        scores = make(None, temperature=temperature).score(logits)
        if scores.isnan().any():
            return "NaN"
        expected = definition(logits, float(temperature))
        fits = scores.shape == expected.shape and torch.allclose(scores.double(), expected, atol=1e-5)
        return "right" if fits else "another value, silently"

    return lambda make: attempt(lambda: run(make))


def no_definition(logits: Any, temperature: Any = 1.0) -> Callable[[Make], str]:
    """What comes out where nothing can be right."""

    def run(make: Make) -> str:
        scores = make(None, temperature=temperature).score(logits)
        if scores.isnan().all():
            return "NaN"
        return f"scores of shape {tuple(scores.shape)}, silently"

    return lambda make: attempt(lambda: run(make))


def ranks(dtype: torch.dtype, temperature: float) -> Callable[[Make], str]:
    """Whether 5000 samples keep the order that the definition gives them."""

    def run(make: Make) -> str:
        logits = logits_of(5000, 10, scale=1.0).to(dtype)
        scores = make(None, temperature=temperature).score(logits)
        if scores.isinf().any():
            return "infinite scores"
        kept = scores.unique().numel() / definition(logits, temperature).unique().numel()
        return "the ranks kept" if kept > 0.99 else "ranks lost, silently"

    return run


def special(make: Make) -> str:
    logits = torch.tensor([[-torch.inf, -torch.inf], [torch.nan, 0.0]])
    first, second = make(None).score(logits).tolist()
    return f"{first}, {second}"


def empty(make: Make) -> str:
    return f"shape {tuple(make(None).score(logits_of(0, 5)).shape)}"


def training_mode(make: Make) -> str:
    model = network()
    evaluated = copy.deepcopy(model).eval()
    inputs = logits_of(40, 6)
    scores = make(model).predict(inputs)
    right = torch.allclose(scores, -torch.logsumexp(evaluated(inputs), 1))
    return f"{'evaluated' if right else 'used in training mode'}; in training afterwards: {model.training}"


def statistics(make: Make) -> str:
    model = network()
    before = model[0].running_mean.clone()
    make(model).predict(logits_of(40, 6))
    return "kept" if torch.equal(model[0].running_mean, before) else "moved, silently"


def graph(make: Make) -> str:
    return "kept" if make(network()).predict(logits_of(40, 6)).requires_grad else "none"


def output(wrap: Callable[[Tensor], Any]) -> Callable[[Make], str]:
    """The scores of a network that returns its logits in something else."""

    def run(make: Make) -> str:
        logits = logits_of(7, 5)
        scores = make(lambda _: wrap(logits)).predict(logits)
        return "right" if torch.allclose(scores, -torch.logsumexp(logits, 1)) else "another value, silently"

    return lambda make: attempt(lambda: run(make))


def map_at_image_size(make: Make) -> str:
    logits = logits_of(2, 5, 4, 6)
    enlarged = nn.functional.interpolate(logits, size=(16, 24), mode="bilinear")

    def run() -> str:
        scores = make(None).score(logits, size=(16, 24))
        return "right" if torch.allclose(scores, -torch.logsumexp(enlarged, 1)) else "another value, silently"

    return attempt(run)


def threshold(make: Make) -> str:
    def run() -> str:
        logits = logits_of(100, 5)
        detector = make(None).fit([(logits, torch.zeros(100))])
        return f"{int((~detector.is_ood(logits)).sum())} of 100 ID samples accepted"

    return attempt(run)


def fitted_on(prepare: Callable[[Tensor], Tensor]) -> Callable[[Make], str]:
    """What fitting says of logits that cannot be any good."""

    def run(make: Make) -> str:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            make(None).fit([(prepare(logits_of(100, 5)), torch.zeros(100))])
        return said[0].category.__name__ if said else "no word"

    return lambda make: attempt(lambda: run(make))


def told_apart(make: Make) -> str:
    texts = {repr(make(None, temperature=t).itself).split(" object at ")[0] for t in (1.0, 2.0)}
    return "by their repr" if len(texts) == 2 else "not at all"


def exported(make: Make) -> str:
    def run() -> str:
        program = torch.export.export(make(network().eval()).itself, (logits_of(4, 6),)).module()
        return "one program" if program(logits_of(4, 6)).shape == (4,) else "something else"

    return attempt(run)


CASES = [
    Case("scores of B x C", scored(7, 5), "right", "right"),
    Case("scores of B x C x H x W", scored(2, 5, 3, 4), "right", "right"),
    Case("scores of B x C x D x H x W", scored(2, 5, 3, 4, 2), "right", "right"),
    Case(
        "three dimensions: B x N x C or B x C x L",
        no_definition(logits_of(8, 12, 5)),
        "scores of shape (8, 5), silently",
        "ValueError",
    ),
    Case("logits without a batch", no_definition(logits_of(5)), "IndexError", "ValueError"),
    Case("logits as a NumPy array", no_definition(logits_of(4, 5).numpy()), "TypeError", "TypeError"),
    Case(
        "integer logits", no_definition(logits_of(4, 5).long()), "scores of shape (4,), silently", "TypeError"
    ),
    Case("no sample at all", empty, "shape (0,)", "shape (0,)"),
    Case("a sample of -inf, a sample with NaN", special, "inf, nan", "inf, nan"),
    Case("temperature 0.01", scored(7, 5, temperature=0.01), "right", "right"),
    Case("temperature 2 as a tensor", scored(7, 5, temperature=torch.tensor(2.0)), "right", "right"),
    Case("temperature 0", no_definition(logits_of(4, 5), 0), "NaN", "ValueError"),
    Case(
        "temperature -1", no_definition(logits_of(4, 5), -1.0), "scores of shape (4,), silently", "ValueError"
    ),
    Case("temperature None", no_definition(logits_of(4, 5), None), "TypeError", "TypeError"),
    Case("temperature 1000", ranks(torch.float32, 1000.0), "ranks lost, silently", "the ranks kept"),
    Case("float16 logits", ranks(torch.float16, 1.0), "ranks lost, silently", "the ranks kept"),
    Case("bfloat16 logits", ranks(torch.bfloat16, 1.0), "ranks lost, silently", "the ranks kept"),
    Case(
        "float16 logits at temperature 100,000",
        ranks(torch.float16, 1e5),
        "infinite scores",
        "the ranks kept",
    ),
    Case(
        "predicting with a network in training mode",
        training_mode,
        "used in training mode; in training afterwards: True",
        "evaluated; in training afterwards: True",
    ),
    Case("its batch-norm statistics", statistics, "moved, silently", "kept"),
    Case("the graph of a prediction", graph, "kept", "none"),
    Case("a network that returns a tuple of one", output(lambda logits: (logits,)), "TypeError", "right"),
    Case(
        "a network that returns a tuple of two",
        output(lambda logits: (logits, logits[:, :3])),
        "TypeError",
        "TypeError",
    ),
    Case(
        "a network that returns a dictionary", output(lambda logits: {"logits": logits}), "TypeError", "right"
    ),
    Case(
        "a segmentation network of torchvision",
        output(lambda logits: OrderedDict(out=logits, aux=logits)),
        "TypeError",
        "right",
    ),
    Case("a map at the resolution of the image", map_at_image_size, "TypeError", "right"),
    Case("a threshold from ID data", threshold, "AttributeError", "95 of 100 ID samples accepted"),
    Case("probabilities instead of logits", fitted_on(lambda x: x.softmax(1)), "no word", "UserWarning"),
    Case("NaN logits in the ID data", fitted_on(lambda x: x * torch.nan), "no word", "ValueError"),
    Case("two detectors of different temperature", told_apart, "not at all", "by their repr"),
    Case("torch.export of network and detector", exported, "ValueError", "one program"),
]
