"""AUROC, AUPR and FPR at a true positive rate, exact, in float64, under named conventions.

One orientation inside the house: an outlier score is higher for samples that are more out-of-distribution.
"""

from energy_plugin.metrics.areas import AUPR_RULES
from energy_plugin.metrics.conventions import CONVENTIONS, LEFT_OUT, Convention, convention
from energy_plugin.metrics.evaluation import Results, aupr, auroc, evaluate, fpr_at_tpr
from energy_plugin.metrics.images import over_images, per_image, pooled
from energy_plugin.metrics.rules import FPR_RULES
from energy_plugin.metrics.scores import as_outlier_scores, check_orientation, split

__all__ = [
    "AUPR_RULES",
    "CONVENTIONS",
    "FPR_RULES",
    "LEFT_OUT",
    "Convention",
    "Results",
    "as_outlier_scores",
    "aupr",
    "auroc",
    "check_orientation",
    "convention",
    "evaluate",
    "fpr_at_tpr",
    "over_images",
    "per_image",
    "pooled",
    "split",
]
