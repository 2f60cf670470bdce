"""Anomaly segmentation: outlier maps of any detector over any network, and their figures, image by image.

outcomes = evaluate(pairs, {"energy": EnergyDetector()}, network=network, codes="fishyscapes")
outcomes["energy"].figures["fishyscapes-server"].aupr_out
"""

from energy_plugin.segmentation.evaluation import Evaluation, Seen, evaluate
from energy_plugin.segmentation.masks import translate_masks
from energy_plugin.segmentation.outcomes import Figures, ImageFigures, Outcome
from energy_plugin.segmentation.scores import (
    SCORES,
    Blur,
    OutputProbability,
    OverClasses,
    max_entropy,
    max_logit,
    msp,
)
from energy_plugin.segmentation.scoring import Scorer, scorers

__all__ = [
    "SCORES",
    "Blur",
    "Evaluation",
    "Figures",
    "ImageFigures",
    "Outcome",
    "OutputProbability",
    "OverClasses",
    "Scorer",
    "Seen",
    "evaluate",
    "max_entropy",
    "max_logit",
    "msp",
    "scorers",
    "translate_masks",
]
