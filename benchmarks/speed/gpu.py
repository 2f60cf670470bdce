"""The goals that need a GPU; each says "unmeasured" where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from goals import MAPS, ROWS, Outcome, batch, losses, named, step
from measuring import on_device

from energy_plugin.kernels import enlarged_energy
from energy_plugin.loss import EnergyRegularizedLoss

NAMES = {
    6: "loss on a GPU, gradient in the forward",
    7: "loss on a GPU, saved log-sum-exp",
    8: "loss on a GPU, host waits",
    9: "energy on a GPU",
    10: "energy map on a GPU, fused",
}


def outcomes() -> Iterator[Outcome]:
    """Yield the goals 6 to 10 on a GPU, times as parts of the peer's."""
    if not torch.cuda.is_available():
        for goal, name in NAMES.items():
            yield Outcome(
                goal=goal, case=name, against="-", measured=None, target=1.0, note="unmeasured: no GPU"
            )
        return
    for shape in (*ROWS[2:], *MAPS[1:]):
        yield from _loss(shape)
    yield _waits()
    low = torch.randn(1, 19, 128, 256, device="cuda")
    size = (1024, 2048)

    def whole() -> torch.Tensor:
        enlarged = torch.nn.functional.interpolate(low, size=size, mode="bilinear")
        return -torch.logsumexp(enlarged, 1)

    times = on_device({"fused": lambda: enlarged_energy(low, size), "whole": whole})
    yield Outcome(
        goal=10, case=NAMES[10], against="enlarged logits", measured=times["fused"] / times["whole"],
        target=0.2, milliseconds=times["fused"],
    )  # fmt: skip


def _loss(shape: tuple[int, ...]) -> Iterator[Outcome]:
    logits, targets = batch(shape)
    logits, targets = logits.detach().cuda().requires_grad_(), targets.cuda()
    source, room = logits.detach(), torch.empty_like(logits)
    kept = losses("triton")
    early = EnergyRegularizedLoss(0.1, -25.0, -7.0, "group_mean", kernel="triton", gradient_in_forward=True)
    work = {name: step(loss, logits, targets) for name, loss in kept.items()}
    work |= {
        "early": step(early, logits, targets),
        "scaled": lambda: torch.autograd.grad(3.0 * kept["ours"](logits, targets), logits),
        "copy": lambda: room.copy_(source),
    }
    times = on_device(work)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work["ours"]()
    peak = (torch.cuda.max_memory_allocated() - before) / source.nbytes
    note = f"upstream 3: {times['scaled']:.3f} ms; peak {peak:.1f} N"
    for goal, name, against, target, peer in (
        (6, "early", "copy (2N) / 0.8", 1 / 0.8, times["copy"]),
        (7, "ours", "1.5 copies / 0.8", 1 / 0.8, 1.5 * times["copy"]),
        (7, "ours", "F.cross_entropy", 0.4, times["F.cross_entropy"]),
    ):
        yield Outcome(
            goal=goal, case=f"{NAMES[goal]} {named(shape)}", against=against, measured=times[name] / peer,
            target=target, milliseconds=times[name], note=note,
        )  # fmt: skip


def _waits() -> Outcome:
    logits, targets = batch((128, 10))
    logits, targets = logits.detach().cuda().requires_grad_(), targets.cuda()
    work = step(losses("triton")["ours"], logits, targets)
    work()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
        waits = 0.0
    except RuntimeError:
        waits = 1.0
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with torch.profiler.profile() as profiler:
        work()
    launches = sum(
        event.name.startswith("cudaLaunch") or "LaunchKernel" in event.name for event in profiler.events()
    )
    return Outcome(
        goal=8, case=NAMES[8], against="-", measured=waits, target=0.0, note=f"{launches} launches"
    )
