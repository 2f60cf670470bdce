"""How each source computes its figures, as data: one record a convention, looked up by name.

Read in the sources' code; `source` says at which commit. Scores are outlier scores throughout
(higher = more OOD).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from energy_plugin.errors import near_misses
from energy_plugin.metrics.areas import AUPR_RULES
from energy_plugin.metrics.rules import FPR_RULES
from energy_plugin.metrics.sides import Kind

Pooling = Literal["pooled", "image", "batch"]
Lacking = Literal["keep", "skip", "one"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """How a source turns scores into figures.

    Attributes:
        name: the key that published rows use.
        positive: the positive kind of the false positive rate, and of an area called just AUPR.
        fpr_rule: which threshold stands for "95 % TPR": a name of `FPR_RULES`.
        aupr_rule: how the area under the precision-recall curve is summed: a name of `AUPR_RULES`, or None
            where the source gives no such area.
        auroc_rule: `"exact"` (ties count half) or `"every-fourth"` (trapezoid over every fourth score).
        pooling: what a figure of many images is: one metric over all pixels, or the mean of the metric of
            each image or of each batch.
        lacking: what becomes of an image without OOD pixels: `"keep"` (its pixels join the pool),
            `"skip"`, or `"one"` (each of its figures counts as 1).
        score_dtype: the dtype in which the source ranks scores, where it rounds them.
        turns_round: whether the source negates the scores when AUROC comes out below one half.
        source: where the rule was read.
        caveat: what this record does not reproduce; empty if nothing.
    """

    name: str
    positive: Kind
    fpr_rule: str
    aupr_rule: str | None
    auroc_rule: Literal["exact", "every-fourth"] = "exact"
    pooling: Pooling = "pooled"
    lacking: Lacking = "keep"
    score_dtype: Literal["float32", "float16"] | None = None
    turns_round: bool = False
    source: str
    caveat: str = ""

    def __post_init__(self) -> None:
        if self.positive not in ("ood", "id"):
            raise ValueError(f"positive must be 'ood' or 'id', got {self.positive!r}")
        if self.fpr_rule not in FPR_RULES:
            raise ValueError(f"unknown fpr_rule {self.fpr_rule!r}. {near_misses(self.fpr_rule, FPR_RULES)}")
        if self.aupr_rule is not None and self.aupr_rule not in AUPR_RULES:
            raise ValueError(
                f"unknown aupr_rule {self.aupr_rule!r}. {near_misses(self.aupr_rule, AUPR_RULES)}"
            )


_CLASSIFICATION = (
    Convention(
        name="energy_ood",
        positive="id",
        fpr_rule="nearest",
        aupr_rule="step",
        source="wetliu/energy_ood@77f3c09b78 CIFAR/test.py, utils/display_results.py",
        caveat="the source scores ten unseeded draws of 2,000 OOD images; AUPR moves with that ratio",
    ),
    Convention(
        name="outlier_exposure",
        positive="ood",
        fpr_rule="nearest",
        aupr_rule="step",
        source="hendrycks/outlier-exposure@e6ede98a54 utils/display_results.py",
        caveat="the source scores ten unseeded draws of 2,000 OOD images; AUPR moves with that ratio",
    ),
    Convention(
        name="wisc_odin_style",
        positive="id",
        fpr_rule="rank-round",
        aupr_rule="trapezoid-zero",
        source="deeplearning-wisc/dice@8acfb8d52e, deeplearning-wisc/react@2aa35d9993 util/metrics.py",
    ),
    Convention(
        name="mos",
        positive="id",
        fpr_rule="nearest",
        aupr_rule="step",
        source="deeplearning-wisc/large_scale_ood@af75ddd311, KingJamesSong/RankFeat@1c0de9cf84",
    ),
    Convention(
        name="openood_v15",
        positive="ood",
        fpr_rule="first-corner",
        aupr_rule="trapezoid",
        source="Jingkang50/OpenOOD@3c35632ee9 openood/evaluators/metrics.py",
        caveat="figures read before 2023-08-10 have ID positive; AUPR names were exchanged until 2023-12-18",
    ),
    Convention(
        name="openood_v10",
        positive="id",
        fpr_rule="first-corner",
        aupr_rule="trapezoid",
        source="Jingkang50/OpenOOD branch v0.5 openood/evaluators/metrics.py",
        caveat="the source takes AUPR_OUT on 1 - confidence, which rounds large confidences",
    ),
    Convention(
        name="scood",
        positive="id",
        fpr_rule="rank-floor",
        aupr_rule="trapezoid",
        source="Jingkang50/ICCV21_SCOOD@51204e3788 scood/evaluation/metrics.py",
        caveat="the source takes AUPR_OUT on 1 - confidence, which rounds large confidences",
    ),
    Convention(
        name="vim_gen",
        positive="id",
        fpr_rule="rank-floor-inclusive",
        aupr_rule="trapezoid",
        source="haoqiwang/vim@dabf9e5b24 benchmark.py",
        caveat="the source takes AUPR_OUT on 1 - confidence, which rounds large confidences",
    ),
    Convention(
        name="ninco",
        positive="id",
        fpr_rule="quantile",
        aupr_rule=None,
        source="j-cb/NINCO@8f42ce7b7c utils.py, evaluate.py",
        caveat="the source also takes the mean over OOD classes: evaluate each class and average",
    ),
    Convention(
        name="pytorch_ood",
        positive="ood",
        fpr_rule="first",
        aupr_rule="trapezoid",
        source="pytorch-ood 0.4.0 pytorch_ood/metrics/functional.py",
        caveat="AUPR-IN and AUPR-OUT were exchanged until 2024-10-10; older releases round to float32",
    ),
    Convention(
        name="oodeel",
        positive="ood",
        fpr_rule="every-fourth",
        aupr_rule=None,
        auroc_rule="every-fourth",
        source="deel-ai/oodeel@12ae997498 oodeel/eval/metrics.py",
    ),
    Convention(
        name="detectors",
        positive="id",
        fpr_rule="first-corner",
        aupr_rule="trapezoid",
        source="edadaltocg/detectors@1368042fa8 src/detectors/eval.py",
    ),
    Convention(
        name="torch_uncertainty",
        positive="ood",
        fpr_rule="nearest",
        aupr_rule="step",
        source="ENSTA-U2IS-AI/torch-uncertainty@0d0df2b2 src/torch_uncertainty/metrics/classification/fpr.py",
        caveat="the source compares rates in float32; its areas squash scores outside [0, 1] by a sigmoid",
    ),
)

_PEBAL = Convention(
    name="pebal",
    positive="ood",
    fpr_rule="nearest",
    aupr_rule="step",
    source="tianyu0207/PEBAL@0293bee code/valid.py",
)
_RBA = Convention(
    name="rba",
    positive="ood",
    fpr_rule="first-corner-strict",
    aupr_rule="step",
    source="NazirNayal8/RbA@cf263d5 evaluate_ood.py, support.py",
)
_CAOS = Convention(
    name="hendrycks-per-image",
    positive="ood",
    fpr_rule="nearest",
    aupr_rule="step",
    pooling="image",
    lacking="skip",
    source="hendrycks/anomaly-seg@4e7b1de eval_ood.py, anom_utils.py",
    caveat="nothing is void there: code every label that is not the anomaly as ID",
)
_DENSEHYBRID = dataclasses.replace(
    _RBA, name="densehybrid", source="matejgrcic/DenseHybrid@742ceab evaluations/ (Fishyscapes)"
)
_MASK2ANOMALY = Convention(
    name="mask2anomaly",
    positive="ood",
    fpr_rule="linear",
    aupr_rule="step",
    lacking="skip",
    source="shyam671/Mask2Anomaly@5c84283 anomaly_utils/anomaly_inference.py; ood-metrics 1.1.2",
)
_PTOOD = Convention(
    name="ptood",
    positive="ood",
    fpr_rule="first",
    aupr_rule="trapezoid",
    source="pytorch-ood 0.4.0 pytorch_ood/metrics",
)

_SEGMENTATION = (
    Convention(
        name="fishyscapes-server",
        positive="ood",
        fpr_rule="first",
        aupr_rule="step",
        score_dtype="float32",
        source="hermannsblum/fishyscapes@d78502b eval.py",
    ),
    Convention(
        name="smiyc",
        positive="ood",
        fpr_rule="first",
        aupr_rule="step",
        score_dtype="float16",
        source="SegmentMeIfYouCan/road-anomaly-benchmark@1c7804e metrics/pixel_classification*.py",
        caveat="the source puts each frame into 768 quantile bins of its own; here every score counts",
    ),
    _PEBAL,
    dataclasses.replace(_PEBAL, name="atta", source="gaozhitong/ATTA@d02d466 lib/utils/metric.py"),
    _RBA,
    _MASK2ANOMALY,
    _DENSEHYBRID,
    dataclasses.replace(
        _DENSEHYBRID,
        name="densehybrid-per-image",
        pooling="image",
        lacking="skip",
        source="matejgrcic/DenseHybrid@742ceab evaluations/ (StreetHazards: nanmean over images)",
        caveat="the source counts FPR 0 for an image without OOD pixels",
    ),
    dataclasses.replace(
        _MASK2ANOMALY,
        name="sml",
        lacking="keep",
        source="shjung13/Standardized-max-logits@c52a513 eval.py; ood-metrics 1.1.2",
    ),
    dataclasses.replace(
        _MASK2ANOMALY,
        name="flowenedet",
        aupr_rule="trapezoid",
        lacking="keep",
        source="gudovskiy/flowenedet@4da4b26 mmseg/core/evaluation/metrics.py; ood-metrics 1.1.2",
    ),
    _CAOS,
    dataclasses.replace(
        _CAOS, name="muad", lacking="one", source="ENSTA-U2IS-AI/MUAD-Dataset@17048e2 evaluation_seg/"
    ),
    dataclasses.replace(
        _CAOS,
        name="torch-uncertainty",
        pooling="batch",
        source="ENSTA-U2IS-AI/torch-uncertainty@0d0df2b routines/segmentation.py",
        caveat="a mean over batches, so it depends on their size; areas after a sigmoid, rates in float32",
    ),
    _PTOOD,
    dataclasses.replace(
        _PTOOD,
        name="ptood-2024",
        source="kkirchheim/pytorch-ood@37ca8b9 (October 2024)",
        caveat="torchmetrics in float32; AUPR-IN and AUPR-OUT were exchanged before this commit",
    ),
    dataclasses.replace(
        _MASK2ANOMALY,
        name="polito",
        lacking="keep",
        source="RonPlusSign/AnomalySegmentation@46f250f eval/evalAnomaly.py; ood-metrics 1.1.2",
    ),
    Convention(
        name="ncridlig",
        positive="ood",
        fpr_rule="first",
        aupr_rule="step",
        source="course project ncridlig, StreetHazards",
        caveat="the source draws a million pixels of the pool",
    ),
    Convention(
        name="srujan",
        positive="ood",
        fpr_rule="first",
        aupr_rule="step",
        turns_round=True,
        source="course project srujan",
    ),
)

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {record.name: record for record in (*_CLASSIFICATION, *_SEGMENTATION)}
)

LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "meta-ood": "a 100-bin histogram of scores in [0, 1], then metrics on a random resample of it",
        "unknown": "the source does not say how its figures were computed",
        "not stated": "the source does not say how its figures were computed",
        "quoted": "the figures are quoted from several papers, each with its own rules",
        "user code": "the figures come from a user's own code, which was not shown",
        "cityscapes-server": "the server of the Cityscapes benchmark computes the figures on hidden labels",
    }
)
"""Conventions that stand in published rows and cannot be stated exactly, with the reason."""


def convention(name: str | Convention) -> Convention:
    """Look a convention up.

    Args:
        name: a key of `CONVENTIONS`; a record is returned as it is.

    Raises:
        LookupError: no convention has this name; near misses are named, or the reason why it was left out.
    """
    if isinstance(name, Convention):
        return name
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    if name in LEFT_OUT:
        raise LookupError(f"convention {name!r} is left out: {LEFT_OUT[name]}")
    raise LookupError(f"no convention is named {name!r}. {near_misses(name, CONVENTIONS)}")
