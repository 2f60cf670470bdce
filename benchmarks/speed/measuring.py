"""How things are measured: paired rounds, medians, peak memory, and what machine it was."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""glibc keeps freed memory, as a GPU allocator does; else every large tensor pays for fresh pages."""

Work = Callable[[], Any]


def paired(work: dict[str, Work], rounds: int) -> dict[str, float]:
    """Time each piece of work once a round, in turn; return medians of process time in milliseconds."""
    times: dict[str, list[int]] = {name: [] for name in work}
    for function in work.values():
        function()
    for number in range(rounds):
        order = list(work.items())
        for name, function in order if number % 2 else reversed(order):
            start = time.process_time_ns()
            function()
            times[name].append(time.process_time_ns() - start)
    return {name: statistics.median(values) / 1e6 for name, values in times.items()}


def on_device(work: dict[str, Work], rounds: int = 50) -> dict[str, float]:
    """Time work on a GPU by device events; the L2 cache is written over before each; milliseconds."""
    flush = torch.empty(1 << 26, dtype=torch.float32, device="cuda")
    times: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        for _ in range(3):
            function()
    for _ in range(rounds):
        for name, function in work.items():
            flush.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            torch.cuda.synchronize()
            times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_bytes(work: Work) -> int:
    """Return the most bytes that the CPU allocator held during a piece of work, beyond those before it."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    del result
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _when, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def machine() -> dict[str, Any]:
    """Describe the machine and the conditions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    load = [round(value, 1) for value in os.getloadavg()]
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "allocator": "freed memory kept" if os.environ.get("MALLOC_MMAP_MAX_") == "0" else "default",
    }
