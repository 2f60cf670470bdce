"""The Triton kernels without a GPU: interpreted on small shapes, and compiled for one that is not there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton")

CASES = Path(__file__).with_name("triton_cases.py")


def run(case: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(CASES), case], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("case", ["loss", "edges", "operators", "maps"])
def test_interpreted(case: str) -> None:
    run(case)


@pytest.mark.long
def test_interpreted_in_every_combination() -> None:
    run("all")


@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("logits", "tile", "one", "rows"),
    [
        ("*fp32", (2, 1024), True, True),
        ("*bf16", (128, 16), True, True),
        ("*fp32", (1, 4096), False, True),
        ("*bf16", (128, 32), True, False),
        ("*fp32", (128, 32), False, False),
    ],
)
def test_compiled_for_a_gpu_without_spilling(
    logits: str, tile: tuple[int, int], one: bool, rows: bool, write: bool, capability: int
) -> None:
    from triton import compiler
    from triton.backends.compiler import GPUTarget

    from energy_plugin.kernels.triton_loss import backward_kernel, forward_kernel

    unit = ("stride_class", "out_class") if rows else ("stride_sample", "out_sample")
    constants: dict[str, Any] = {
        "ALPHA": 0.1, "MARGIN_IN": -25.0, "MARGIN_OUT": -7.0, "IGNORE": 255, "HAS_IGNORE": True,
        "SKIP": False, "HINGED": True, "CLASSIFY": True, "WEIGHTED": True, "MAP": False,
        "WRITE": write, "ONE": one,
        "SAMPLES": tile[0], "CLASSES": tile[1], **dict.fromkeys(unit, 1),
    }  # fmt: skip
    pointers = {"targets": "*i64", "logits": logits, "gradient": logits} | dict.fromkeys(
        ("weight", "scale", "lse_out", "lse_in", "values", "partials", "upstream"), "*fp32"
    )
    for kernel in (forward_kernel, backward_kernel):
        chosen = {name: value for name, value in constants.items() if name in kernel.arg_names}
        signature = {
            name: "constexpr" if name in chosen else pointers.get(name, "i32") for name in kernel.arg_names
        }
        source = compiler.ASTSource(fn=kernel, signature=signature, constexprs=chosen)
        made = compiler.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
        assert ".local" not in made.asm["ptx"]
        assert ".f64" not in made.asm["ptx"]  # a scalar that became float64 would drag all of it along


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", ["loss", "maps"])
def test_on_the_device(case: str) -> None:
    script = (
        "import sys, torch; torch.set_default_device('cuda'); sys.path.insert(0, sys.argv[1])\n"
        "import triton_cases; torch.manual_seed(0)\n"
        "everything = ['mean', 'group_mean', 'sum', 'none']\n"
        "triton_cases.maps() if sys.argv[2] == 'maps' else triton_cases.loss(everything)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(CASES.parent), case], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
