"""What the segmentation evaluator costs beside the network: shares of time, and memory over images.

    python benchmarks/speed/segmentation.py --data-root DATA

ENet on RoadAnomaly at its own size, one CPU thread. Seconds are of the processor, not of the clock, so that a
busy machine does not blur the shares.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from energy_plugin.detector import EnergyDetector
from energy_plugin.segmentation import evaluate, evaluation, max_entropy, max_logit, msp
from energy_plugin_bench.inputs import pairs
from energy_plugin_bench.networks.enet import ENet

WEIGHTS = "segmentation/weights/enet_cityscapes_void_yurnero14.safetensors"
IMAGES = "segmentation/images/road_anomaly.zip"


class First:
    """The first images of a set."""

    def __init__(self, data: pairs.Pairs, count: int) -> None:
        self._data, self._count = data, min(count, len(data))

    def __len__(self) -> int:
        """Number of images."""
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and mask."""
        return self._data[index]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    evaluation.time = _Processor  # type: ignore[attr-defined]  # its clock
    network = ENet(classes=20, keep=19)
    network.load_state_dict(load_file(options.data_root / WEIGHTS), strict=True)
    data = First(pairs.archive(options.data_root / IMAGES, codes="road_anomaly"), options.images)
    energy = {"energy": EnergyDetector()}
    several = energy | {part.__name__: part for part in (max_logit, msp, max_entropy)}
    for detectors in (energy, several):
        timings: dict[str, float] = {}
        memory: list[int] = []
        evaluate(
            data,
            detectors,
            network=network.eval(),
            timings=timings,
            on_image=lambda _, memory=memory: memory.append(  # type: ignore[misc]
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            ),
        )
        own = (timings["scores"] + timings["metrics"]) / sum(timings.values())
        shown = {name: round(value / len(data), 4) for name, value in timings.items()}
        found = {"detectors": list(detectors), "seconds an image": shown, "overhead": round(own, 4)}
        sys.stdout.write(json.dumps({**found, "peak MiB": memory[:: max(1, len(memory) // 6)]}) + "\n")
        sys.stdout.flush()


class _Processor:
    """Stands for the module `time` in the evaluator."""

    perf_counter = staticmethod(time.process_time)


if __name__ == "__main__":
    main()
