"""The goals: what is measured against which peer, and what was aimed at."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_ood.loss
import torch
from measuring import paired, peak_bytes
from pytorch_ood.detector import EnergyBased
from pytorch_ood.metrics import OODMetrics
from sklearn import metrics as sklearn_metrics
from torch import Tensor
from torch.nn import functional

from energy_plugin import kernels, metrics
from energy_plugin.energy import energy
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.maps import energy_map
from energy_plugin.streaming import StreamingMetrics

ROWS = [(1024, 1000), (4096, 100), (256, 21841)]
MAPS = [(8, 19, 128, 256), (2, 19, 512, 1024), (1, 150, 512, 512)]
MARGINS = {"alpha": 0.1, "margin_in": -25.0, "margin_out": -7.0}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One figure of one goal."""

    goal: int
    case: str
    against: str
    measured: float | None
    target: float
    milliseconds: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where nothing was measured."""
        return None if self.measured is None else self.measured <= self.target


def batch(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return logits that want a gradient, and targets of which a third are outliers."""
    torch.manual_seed(0)
    logits = (torch.randn(shape) * 3).to(dtype).requires_grad_()
    targets = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    targets.view(-1)[::3] = -1
    return logits, targets


def step(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Callable[[], Any]:
    """Return forward and backward as one piece of work."""
    return lambda: torch.autograd.grad(loss(logits, targets), logits)


def losses(kernel: Any) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return ours and the peers; F.cross_entropy gets a class for every sample."""
    return {
        "ours": EnergyRegularizedLoss(**MARGINS, reduction="group_mean", kernel=kernel),
        "pytorch-ood": pytorch_ood.loss.EnergyRegularizedLoss(**MARGINS),
        "F.cross_entropy": lambda logits, targets: functional.cross_entropy(logits, targets.clamp(min=0)),
    }


def named(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> str:
    """Return a shape as it is written in tables."""
    return "x".join(map(str, shape)) + ("" if dtype == torch.float32 else f" {str(dtype)[6:]}")


def loss_speed(
    goal: int, kernel: str, shape: tuple[int, ...], dtype: torch.dtype, rounds: int
) -> Iterator[Outcome]:
    """Goals 1 and 2: the loss against pytorch-ood and against the cross-entropy alone."""
    logits, targets = batch(shape, dtype)
    times = paired({name: step(loss, logits, targets) for name, loss in losses(kernel).items()}, rounds)
    rows = len(shape) == 2
    half = dtype != torch.float32
    bounds = {
        "pytorch-ood": 0.45 if half else (0.35 if goal == 1 else 0.40),
        "F.cross_entropy": 1.0 if rows or goal == 2 else 0.85,
    }
    for peer, target in bounds.items():
        if half and peer == "F.cross_entropy":
            continue
        yield Outcome(
            goal=goal, case=f"loss {kernel} {named(shape, dtype)}", against=peer,
            measured=times["ours"] / times[peer], target=target, milliseconds=times["ours"],
        )  # fmt: skip


def small_batch(rounds: int) -> Iterator[Outcome]:
    """Goal 3: a batch of 128 with ten classes."""
    logits, targets = batch((128, 10))
    times = paired({name: step(loss, logits, targets) for name, loss in losses("auto").items()}, rounds)
    for peer, target in (("pytorch-ood", 0.5), ("F.cross_entropy", 3.0)):
        yield Outcome(
            goal=3, case="loss auto 128x10", against=peer, measured=times["ours"] / times[peer],
            target=target, milliseconds=times["ours"],
        )  # fmt: skip


def memory(shape: tuple[int, ...]) -> Iterator[Outcome]:
    """Goal 4: peak memory beyond the logits, in multiples of them."""
    logits, targets = batch(shape)
    size = logits.numel() * logits.element_size()
    held = {name: peak_bytes(step(loss, logits, targets)) / size for name, loss in losses("eager").items()}
    peers = ", ".join(f"{name} {value:.1f} N" for name, value in held.items() if name != "ours")
    yield Outcome(
        goal=4, case=f"peak memory {named(shape)}", against="the logits (N)", measured=held["ours"],
        target=1.2 if len(shape) == 2 else 1.5, note=peers,
    )  # fmt: skip


def half_precision(shape: tuple[int, ...]) -> Iterator[Outcome]:
    """Goal 5: the largest gradient error in bfloat16, in parts of the largest gradient."""
    logits, targets = batch(shape, torch.bfloat16)
    wide = logits.detach().double().requires_grad_()
    exact = step(losses("reference")["ours"], wide, targets)()[0]
    for name in ("ours", "pytorch-ood"):
        found = step(losses("eager")[name], logits, targets)()[0].double()
        error = ((found - exact).abs().max() / exact.abs().max()).item()
        if name == "ours":
            ours = error
    yield Outcome(
        goal=5, case=f"bfloat16 gradient {named(shape)}", against="float64", measured=ours, target=4e-3,
        note=f"pytorch-ood {error:.0e}",
    )  # fmt: skip


def detector(shape: tuple[int, ...], rounds: int) -> Iterator[Outcome]:
    """Goal 9: the energy against torch.logsumexp."""
    logits = batch(shape)[0].detach()
    work = {
        "ours": lambda: kernels.energy(logits),
        "torch.logsumexp": lambda: torch.logsumexp(logits, 1),
        "pytorch-ood": lambda: EnergyBased.score(logits),
    }
    times = paired(work, rounds)
    yield Outcome(
        goal=9, case=f"energy {named(shape)}", against="torch.logsumexp",
        measured=times["ours"] / times["torch.logsumexp"], target=1.0, milliseconds=times["ours"],
        note=f"{times['ours'] / times['pytorch-ood']:.2f} of pytorch-ood",
    )  # fmt: skip


def low_resolution(rounds: int, size: tuple[int, int]) -> Iterator[Outcome]:
    """Goal 10: energies at image resolution, in bands against all at once."""
    torch.manual_seed(0)
    logits = torch.randn(1, 19, size[0] // 8, size[1] // 8)

    def whole() -> Tensor:
        return energy(functional.interpolate(logits, size=size, mode="bilinear"))

    def bands() -> Tensor:
        return energy_map(logits, size)

    times = paired({"bands": bands, "whole": whole}, rounds)
    same = "same bits" if torch.equal(bands(), whole()) else "other bits"
    case = f"energy map {named((19, *size))} from {named((size[0] // 8, size[1] // 8))}"
    yield Outcome(
        goal=10, case=case, against="enlarged logits: time", measured=times["bands"] / times["whole"],
        target=1.1, milliseconds=times["bands"], note=same,
    )  # fmt: skip
    yield Outcome(
        goal=10, case=case, against="enlarged logits: memory",
        measured=peak_bytes(bands) / peak_bytes(whole), target=0.15, note=same,
    )  # fmt: skip


def exact_metrics(count: int, rounds: int) -> Iterator[Outcome]:
    """Goal 11: AUROC, both AUPRs and FPR95 of `count` scores, 5 % of them outliers."""
    torch.manual_seed(0)
    labels = torch.where(torch.rand(count) < 0.05, -1, 0)
    scores = torch.randn(count) + 2.5 * (labels < 0)
    inside, outside = metrics.split(scores, labels)
    truth, values = (labels < 0).numpy(), scores.numpy()

    def theirs() -> Any:
        found = OODMetrics()
        found.update(scores, labels)
        return found.compute()

    def scikit() -> Any:
        return (
            sklearn_metrics.roc_auc_score(truth, values),
            sklearn_metrics.average_precision_score(truth, values),
            sklearn_metrics.roc_curve(truth, values),
        )

    work = {"ours": lambda: metrics.evaluate(inside, outside), "pytorch-ood": theirs, "scikit-learn": scikit}
    times = paired(work, rounds)
    for peer, target in (("pytorch-ood", 0.2), ("scikit-learn", 0.08)):
        yield Outcome(
            goal=11, case=f"exact metrics of {count:.0e} scores", against=peer,
            measured=times["ours"] / times[peer], target=target, milliseconds=times["ours"],
        )  # fmt: skip


_RESIDENT = """
import os, sys, torch
from pathlib import Path
from energy_plugin.streaming import StreamingMetrics
torch.set_num_threads(1)
stream, count = StreamingMetrics(), int(sys.argv[1])
def feed(size):
    labels = torch.where(torch.rand(size) < 0.05, -1, 0)
    stream.update(torch.randn(size) + 2.5 * (labels < 0), labels)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
torch.randn(100_000)
start = most = resident()
for _ in range(count // 100_000):
    feed(100_000)
    most = max(most, resident())
stream.compute()
print(max(most, resident()) - start)
"""


def streaming(large: int) -> Iterator[Outcome]:
    """Goal 12: the bounds stated at a million scores, and the memory there and at many more."""
    torch.manual_seed(0)
    stream = StreamingMetrics()
    for _ in range(20):
        labels = torch.where(torch.rand(100_000) < 0.05, -1, 0)
        stream.update(torch.randn(100_000) + 2.5 * (labels < 0), labels)
    found = stream.compute()
    for name, target in (("auroc", 2e-5), ("fpr95", 2e-4)):
        figure = getattr(found, name)
        yield Outcome(
            goal=12, case=f"bound of {name}, 2e+06 scores", against="stated", target=target,
            measured=math.nan if figure is None else figure.bound,
        )  # fmt: skip
    small, many = (_resident(count) for count in (1_000_000, large))
    yield Outcome(
        goal=12, case=f"memory at {large:.0e} scores", against="at 1e+06", measured=many / small, target=1.1,
        note=f"{small:.0f} and {many:.0f} MB",
    )  # fmt: skip


def _resident(count: int) -> float:
    """Return by how many MB a fresh process grew over so many scores (Linux)."""
    done = subprocess.run(  # noqa: S603  # our own text
        [sys.executable, "-c", _RESIDENT, str(count)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


_IMPORT = """
import sys, time
import torch
start = time.process_time()
import energy_plugin, energy_plugin.loss, energy_plugin.detector
spent = time.process_time() - start
unwanted = {"torchvision", "scipy", "timm", "triton", "torch._dynamo"} & set(sys.modules)
from energy_plugin.manager import default_manager
start = time.process_time()
default_manager().discover()
print(spent * 1e3, (time.process_time() - start) * 1e3, ",".join(sorted(unwanted)) or "-")
"""


def importing() -> Iterator[Outcome]:
    """Goal 14: what the import costs over that of torch, and finding the plug-ins."""
    runs = []
    for _ in range(3):
        command = [sys.executable, "-c", _IMPORT]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # our own
        spent, found, unwanted = done.stdout.split()
        runs.append((float(spent), float(found), unwanted))
    yield Outcome(
        goal=14, case="import with loss and detector (ms)", against="import torch", target=50.0,
        measured=sorted(run[0] for run in runs)[1], note=f"loaded needlessly: {runs[0][2]}",
    )  # fmt: skip
    yield Outcome(
        goal=14, case="finding the plug-ins (ms)", against="nothing", target=10.0,
        measured=sorted(run[1] for run in runs)[1],
    )  # fmt: skip


def harness(images: int, scores: int) -> Iterator[Outcome]:
    """Goal 13: what scores and metrics add to a network's pass over images of 224 x 224, an image each."""
    import timm  # only for this goal

    torch.manual_seed(0)
    network = timm.create_model("resnet18", pretrained=False).eval()
    batch_of_images = torch.randn(images, 3, 224, 224)
    logits = torch.randn(scores, 1000) * 3
    labels = torch.arange(scores) % 2 - 1  # half ID, half OOD

    def judged() -> object:
        found = energy(logits)
        return metrics.evaluate(found[labels >= 0], found[labels < 0])

    with torch.inference_mode():
        times = paired({"network": lambda: network(batch_of_images), "judged": judged}, 3)
    yield Outcome(
        goal=13, case=f"scores and metrics of {scores:,} images, 1000 classes", against="ResNet-18 at 224",
        measured=(times["judged"] / scores) / (times["network"] / images), target=0.01,
        note="one pass an image: tests/bench/test_passes.py",
    )  # fmt: skip


def growth(rounds: int) -> Iterator[Outcome]:
    """Time of the loss at 2^22 pixels in parts of that at 2^16, both with 19 classes; exact: 64."""
    work = {}
    for power in (16, 22):
        logits, targets = batch((1, 19, 1 << (power // 2), 1 << (power // 2)))
        work[str(power)] = step(losses("eager")["ours"], logits, targets)
    times = paired(work, rounds)
    yield Outcome(
        goal=15, case="growth of the loss, 2^16 to 2^22 pixels", against="64 is linear",
        measured=times["22"] / times["16"], target=85.0,
    )  # fmt: skip
