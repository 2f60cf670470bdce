"""A whole fine-tuning: open, measure, choose margins, train, save, measure again; resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from energy_plugin import margins
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.manager import PluginManager
from energy_plugin_bench.apply import checkpoint, images, measure, networks
from energy_plugin_bench.apply.draws import Draws, mixed
from energy_plugin_bench.apply.images import Images
from energy_plugin_bench.apply.log import Log
from energy_plugin_bench.apply.loop import Training, train
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.apply.progress import Progress
from energy_plugin_bench.apply.settings import Place, Settings
from energy_plugin_bench.apply.sources import check_classes, data_config, sources
from energy_plugin_bench.interrupts import StoppedError, held
from energy_plugin_bench.training import Schedule

CHECKPOINT, MODEL, LOG, RESULT = "checkpoint.safetensors", "model.safetensors", "log.jsonl", "result.json"

HARDLY, NEAR = 0.25, 0.1
"""Gaps between the mean energies below which measured margins come with a warning. In standard deviations:
where two normal distributions overlap so much, the AUROC is 57 %. As an energy: the squared hinge of such a
gap is a hundredth, beside a cross-entropy of about one."""


class Finetuning:
    """One run; `run()` does it.

    Args:
        settings: What decides the result.
        place: What does not.
        process: This process among all.
        manager: Who knows networks and data sets.
        progress: Told how far it is.

    Raises:
        LookupError: A name that nobody knows; with near misses.
        OSError: A file or folder that is not there.
        ValueError: Something in them, or in the settings, does not fit.
    """

    def __init__(
        self, settings: Settings, place: Place, process: Process, manager: PluginManager, progress: Progress
    ) -> None:
        self.settings, self.place, self.process, self.progress = settings, place, process, progress
        if process.first:  # the others may come here when it writes already
            self._refuse_to_overwrite()
        self.saved = self._saved()
        self.kept = self.saved[1]["step"] if self.saved else 0
        torch.manual_seed(mixed(settings.seed, 3))  # of random weights, and of a new head
        self.opened = networks.find(
            settings.backbone,
            manager=manager,
            options=settings.options,
            weights=Path(settings.weights) if settings.weights else None,
            pretrained=settings.pretrained,
        )
        self._look_at_weights()
        self.network: nn.Module = self.opened.network.to(process.device).eval()
        self.sources = sources(
            settings, lambda name: images.find(name, manager=manager, data_root=place.data_root)
        )
        self.data = data_config(settings.data, self.opened.data, self.sources.known)
        self.fingerprint = self._fingerprint()
        self.training = self._training()
        self.log = Log(place.out / LOG, write=process.first)

    def run(self) -> dict[str, Any]:
        """Train, save and measure.

        Returns:
            Figures before and after, margins, settings, what could not be read; as JSON has them. Empty in
            all processes but the first.

        Raises:
            StoppedError: A signal came; what was trained is in the checkpoint.
            ValueError: Margins cannot be measured, the training diverged, or network and images do not fit.
        """
        try:
            return self._run()
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, StoppedError) else signal.SIGINT
            where = (
                f"at step {self.kept}; --resume goes on from there" if self.kept else "before the first step"
            )
            raise StoppedError(number, f"interrupted {where}") from None

    def _run(self) -> dict[str, Any]:
        started = time.perf_counter()
        told = self.process.told(self._beginning() if self.process.first else None)
        loss = self._loss(told["margins"])
        optimiser, scaler = self.training.schedule.optimiser(self.network), self.training.scaler()
        if self.saved is not None:
            checkpoint.restore(self.network, optimiser, self.saved[0])
            scaler.load_state_dict(told["scaler"])
        self.log.back_to(told["step"])
        steps = self.training.schedule.steps

        def done(step: int, value: float, lr: float) -> None:
            # All processes end after the same step, whichever of them was told to.
            stop = self.process.wished(bool(wish.number))
            self._after_step(step, value, lr)
            if stop or step == steps or step % self.place.checkpoint_every == 0:
                self._keep({**told, "step": step, "scaler": scaler.state_dict()}, optimiser)
            if stop:
                raise StoppedError(wish.number or signal.SIGTERM)

        with self.progress.phase("training", steps, told["step"]), held(self._last_step) as wish:
            train(
                self.network,
                loss,
                self.training,
                optimiser,
                scaler,
                start=told["step"],
                on_step=done,
            )
        if self.process.wished(bool(wish.number)):  # it came while the last checkpoint was written
            raise StoppedError(wish.number or signal.SIGTERM)
        return self._ending(told, loss, time.perf_counter() - started) if self.process.first else {}

    def _beginning(self) -> dict[str, Any]:
        """What a checkpoint would say before the first step, or what the saved one says."""
        if self.saved is not None:
            return self.saved[1]
        before = self._measured("before")
        return {
            "step": 0,
            "run": self.fingerprint,
            "scaler": {},
            "before": before,
            "margins": self._margins(),
        }

    def _refuse_to_overwrite(self) -> None:
        """Refuse a folder of another run, and on resuming one that has lost what there is to go on from."""
        out = self.place.out
        there = [name for name in (CHECKPOINT, MODEL, LOG, RESULT) if (out / name).exists()]
        if there and not self.place.resume:
            more = "go on with --resume, or " if CHECKPOINT in there else ""
            raise FileExistsError(
                f"{out} holds {', '.join(there)}: {more}give another --out (nothing is overwritten)."
            )
        if CHECKPOINT not in there and {MODEL, RESULT} & {*there}:
            raise FileExistsError(
                f"{out} holds {', '.join(there)} and no {CHECKPOINT} to go on from: give another --out "
                "(nothing is overwritten)."
            )

    def _look_at_weights(self) -> None:
        """Refuse to measure margins on a network that knows nothing; say so where they are given."""
        if self.opened.trained or self.place.random_weights or not self.settings.outliers:
            return
        if self.settings.margins == "measured":
            why = "on which measured margins mean nothing"
            raise networks.random_weights(self.settings.backbone, why, networks.BRINGING)
        if self.process.first:
            warnings.warn(
                f"{self.settings.backbone!r} starts from random weights (no --weights, no --pretrained).",
                stacklevel=2,
            )

    def _saved(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        path = self.place.out / CHECKPOINT
        return checkpoint.load(path) if self.place.resume and path.exists() else None

    def _fingerprint(self) -> dict[str, Any]:
        """Everything that decides the result; a checkpoint of another is refused."""
        files = {
            name: hashlib.sha256(Path(name).read_bytes()).hexdigest()
            for name in (self.settings.weights, self.settings.backbone)
            if name and Path(name).is_file()
        }
        found = {**asdict(self.settings), "files": files, "images": self.sources.digest()}
        found = json.loads(json.dumps({**found, "data": self.data.to_dict()}))
        if self.saved is not None and self.saved[1]["run"] != found:
            saved = self.saved[1]["run"]
            differing = [name for name in found if saved.get(name) != found[name]]
            raise ValueError(
                f"the checkpoint in {self.place.out} is of another run: {', '.join(differing)} differ, such "
                f"as {differing[0]}: {saved.get(differing[0])!r} there, {found[differing[0]]!r} now."
            )
        return dict(found)

    def _training(self) -> Training:
        chosen, found = self.settings, self.sources
        draws = Draws(
            count_id=len(found.known),
            count_ood=len(found.outliers) if found.outliers else 0,
            batch_id=chosen.batch_id,
            batch_ood=chosen.batch_ood,
            seed=chosen.seed,
        )
        return Training(
            known=found.known,
            outliers=found.outliers,
            draws=draws,
            schedule=Schedule(
                steps=draws.steps_per_epoch * chosen.epochs,
                lr=chosen.lr,
                final_lr=chosen.final_lr,
                weight_decay=chosen.weight_decay,
            ),
            data=self.data,
            augment=chosen.augment,
            accumulate=chosen.accumulate,
            amp=chosen.amp,
            process=self.process,
            workers=self.place.workers,
        )

    def _loader(self, source: Images, *, labelled: bool = True) -> measure.Loader:
        return measure.Loader(
            images=source,
            data=self.data,
            device=self.process.device,
            workers=self.place.workers,
            told=self.progress.advance,
            labelled=labelled,
        )

    def _measured(self, when: str) -> dict[str, Any]:
        """Accuracy, AUROC, FPR95 of the network as it is."""
        found = self.sources
        with self.progress.phase(
            f"measuring {when}", sum(map(len, (found.known_test, *found.ood_tests.values())))
        ):
            known = measure.logits(self.network, self._loader(found.known_test), self.training.autocast)
            check_classes(known.logits.shape[1], found.known)
            seen = {
                name: measure.logits(self.network, self._loader(one), self.training.autocast)
                for name, one in found.ood_tests.items()
            }
        labels = torch.from_numpy(found.known_test.labels)
        return measure.figures(known, labels, seen, self.settings.convention)

    def _margins(self) -> dict[str, Any]:
        """The margins, and what was measured to choose or to check them."""
        known, outliers, wished = self.sources.known, self.sources.outliers, self.settings.margins
        if outliers is None:
            return {"margin_in": -1.0, "margin_out": -1.0, "measured": "no outliers: cross-entropy alone"}
        with self.progress.phase("measuring energies", len(known) + len(outliers)):
            try:
                found = margins.suggest(
                    self.network,
                    self._loader(known),
                    self._loader(outliers, labelled=False),
                    device=self.process.device,
                )
            except ValueError as error:
                if wished == "measured":
                    raise
                warnings.warn(f"the margins are taken as given: {error}", stacklevel=2)
                return {"margin_in": wished[0], "margin_out": wished[1], "measured": str(error)}
        if wished == "measured":
            _warn_if_near(found)
            return {**found.settings(), "measured": str(found)}
        margins.check(*wished, found)
        return {"margin_in": wished[0], "margin_out": wished[1], "measured": str(found)}

    def _loss(self, chosen: Mapping[str, Any]) -> EnergyRegularizedLoss:
        return EnergyRegularizedLoss(
            alpha=self.settings.alpha if self.sources.outliers is not None else 0.0,
            margin_in=chosen["margin_in"],
            margin_out=chosen["margin_out"],
            reduction=self.settings.reduction,
        )

    def _after_step(self, step: int, value: float, lr: float) -> None:
        self.log.add({"step": step, "loss": value, "lr": lr})
        self.progress.advance(1, f"loss {value:.4f}")

    def _keep(self, now: dict[str, Any], optimiser: torch.optim.Optimizer) -> None:
        if self.process.first:
            state = checkpoint.state_of(self.network, optimiser)
            checkpoint.save_file(self.place.out / CHECKPOINT, state, now)
        self.kept = now["step"]

    def _last_step(self) -> None:
        if self.process.first:
            self.progress.say("ending after this step; once more ends at once")

    def _ending(self, told: dict[str, Any], loss: EnergyRegularizedLoss, seconds: float) -> dict[str, Any]:
        """Save the network, measure it, and write what came out."""
        document = {**self.opened.describe(), "data": self.data.to_dict(), "loss": loss.extra_repr()}
        classes = self.sources.known.classes or self.opened.classes
        checkpoint.save_file(
            self.place.out / MODEL, self.network.state_dict(), {**document, "classes": list(classes)}
        )
        result = {
            "before": told["before"],
            "after": self._measured("after"),
            "margins": told["margins"],
            "loss": loss.extra_repr(),
            "steps": self.training.schedule.steps,
            "seconds": round(seconds, 3),
            "model": str(self.place.out / MODEL),
            "unreadable": self.sources.unreadable(),
            "run": self.fingerprint,
        }
        checkpoint.write(self.place.out / RESULT, (json.dumps(result, indent=1) + "\n").encode())
        return result


def _warn_if_near(found: margins.MarginSuggestion) -> None:
    gap, spread = found.ood.mean - found.id.mean, math.hypot(found.id.std, found.ood.std) / math.sqrt(2)
    if gap < max(HARDLY * spread, NEAR):
        warnings.warn(
            f"the network hardly tells the two kinds apart: their mean energies differ by {gap:.3g}, those "
            f"of one kind by {spread:.3g} (standard deviation). Margins so near one another ask for "
            "little. Is it trained for these classes?",
            stacklevel=3,
        )
