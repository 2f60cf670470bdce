"""What the page says of Hugging Face holds: the loss hook's means are right under accumulation."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from page_code import code
from suite_cases import host_module

from energy_plugin import EnergyRegularizedLoss

for part in ("accelerate", "transformers"):
    host_module(part, f"{part} is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers: Any = importlib.import_module("transformers")
    Trainer: Any = transformers.Trainer
    Output: Any = importlib.import_module("transformers.modeling_outputs").SequenceClassifierOutput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Network(torch.nn.Module):
    """A model as theirs are called: keyword arguments in, an object with logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        return Output(logits=self.layer(pixels))


def rows() -> list[dict[str, torch.Tensor]]:
    targets = torch.tensor([0, 1, 2, -1, -1, -1, 0, -100, 1, 2, 0, 1, 2, -1, 0, 1])
    return [{"pixels": 2 * torch.randn(4), "labels": target} for target in targets]


def gradient_of(kind: Any, folder: Path, steps: int, **options: Any) -> torch.Tensor:
    """One step of SGD with a rate of 1, from zero: the weights are the gradient, negated."""
    model = Network()
    torch.nn.init.zeros_(model.layer.weight)
    torch.nn.init.zeros_(model.layer.bias)
    torch.manual_seed(1)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=16 // steps, gradient_accumulation_steps=steps,
        max_steps=1, learning_rate=1.0, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0.0,
        report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    kind(model=model, args=arguments, train_dataset=DATA, **options).train()
    return -model.layer.weight.detach()


DATA: list[dict[str, torch.Tensor]] = []


@pytest.fixture(autouse=True)
def _data() -> None:
    DATA[:] = rows()


def wanted(reduction: Any) -> torch.Tensor:
    model = Network()
    torch.nn.init.zeros_(model.layer.weight)
    torch.nn.init.zeros_(model.layer.bias)
    loss = EnergyRegularizedLoss(0.1, -25.0, -7.0, reduction, ignore_index=-100)
    pixels, labels = (torch.stack([row[name] for row in DATA]) for name in ("pixels", "labels"))
    loss(model(pixels).logits, labels).backward()
    assert model.layer.weight.grad is not None
    return model.layer.weight.grad


@pytest.mark.parametrize("steps", [1, 4])
def test_the_hook_gives_the_mean_over_all_samples_of_a_step(tmp_path: Path, steps: int) -> None:
    options = code("frameworks.md", "Hugging Face")["options"]
    torch.testing.assert_close(gradient_of(Trainer, tmp_path, steps, **options), wanted("mean"))


@pytest.mark.parametrize("steps", [1, 4])
def test_the_trainer_gives_the_means_of_both_kinds(tmp_path: Path, steps: int) -> None:
    kind = code("frameworks.md", "Hugging Face", 1)["EnergyTrainer"]
    torch.testing.assert_close(gradient_of(kind, tmp_path, steps), wanted("group_mean"))


def test_a_hook_that_returns_a_mean_is_why_the_page_divides(tmp_path: Path) -> None:
    mean = EnergyRegularizedLoss(0.1, -25.0, -7.0, ignore_index=-100)

    def naive(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        return mean(outputs.logits, labels)

    ratio = gradient_of(Trainer, tmp_path, 4, compute_loss_func=naive).norm() / wanted("mean").norm()
    assert 3 < ratio < 5
