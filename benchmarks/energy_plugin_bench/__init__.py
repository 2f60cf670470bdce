"""The harness: published numbers of out-of-distribution detection, measured again on real inputs.

It stands on `energy_plugin` as any plug-in does. This front door imports neither torch nor what the extra
`bench` brings.
"""

from __future__ import annotations

from energy_plugin import hookimpl
from energy_plugin.records import BackboneSpec, CommandSpec, DatasetSpec, DetectorSpec, PublishedSpec

CLASSIFICATION = ("classification",)
SEGMENTATION = ("segmentation",)
_EXTRA = "energy-plugin[bench]"


@hookimpl
def ood_detectors() -> tuple[DetectorSpec, ...]:
    """Offer the scores that published rows compare with."""
    return (
        DetectorSpec(
            name="msp",
            target="energy_plugin_bench.verdicts.detectors:MaxSoftmax",
            higher_is="ood",
            summary="Negative maximum softmax probability (ICLR 2017).",
        ),
        DetectorSpec(
            name="max_logit",
            target="energy_plugin_bench.verdicts.detectors:MaxLogit",
            summary="Negative maximum logit (ICML 2022).",
        ),
        DetectorSpec(
            name="max_entropy",
            target="energy_plugin_bench.verdicts.detectors:MaxEntropy",
            summary="Entropy of the softmax, in [0, 1].",
        ),
        DetectorSpec(
            name="void_probability",
            target="energy_plugin_bench.verdicts.detectors:VoidProbability",
            summary="Softmax probability of the last output, of networks trained with a void class.",
        ),
    )


@hookimpl
def ood_backbones() -> tuple[BackboneSpec, ...]:
    """Offer the networks of published weights."""
    return (
        _network("densenet_bc100", "densenet:DenseNetBC100", "DenseNet-BC-100, CIFAR form (CVPR 2017)."),
        _network("cifar_resnet", "resnet:CifarResNet", "ResNet-18, -20, -56: CIFAR forms (CVPR 2016)."),
        _network("bit_resnet", "bit:BigTransferResNet", "BiT ResNet-v2, R50x1, R101x1, ... (ECCV 2020)."),
        _network(
            "outlier_exposure_convnet",
            "convnet:OutlierExposureConvNet",
            "The small ConvNet of the Outlier Exposure study's MNIST part (ICLR 2019).",
        ),
        BackboneSpec(
            name="enet",
            target="energy_plugin_bench.networks.enet:ENet",
            tasks=SEGMENTATION,
            summary="ENet for segmentation (arXiv 1606.02147).",
        ),
    )


@hookimpl
def ood_datasets() -> tuple[DatasetSpec, ...]:
    """Offer image sets: carried, under a data root, or generated."""
    return (
        _images("mnist_test", "MNIST test, 10,000 images; carried."),
        _images("fashion_mnist_test", "Fashion-MNIST test, 10,000 images; carried."),
        _images("omniglot_safe5", "Omniglot, 5 alphabets, 3,260 images; carried."),
        _images("notmnist_small_10k", "notMNIST, 10,000 images; needs a data root."),
        _images("icons50_grey28", "Icons-50, grey, 10,000 images; needs a data root."),
        _images("cifar10_test", "CIFAR-10 test, 10,000 images; needs a data root."),
        _images("cifar_binary", "CIFAR-10 or -100 test images of the binary archive."),
        _images("svhn", "SVHN test images of the .mat file; needs SciPy."),
        _images("gaussian_noise", "Normal noise clipped to [0, 1]; generated."),
        _images("bernoulli_noise", "Zeros and ones with equal chance; generated."),
        _images("blobs", "Blurred random pixels, thresholded; generated, needs SciPy."),
        _pairs("image_mask_folders", "folders", "Images of one folder with the masks of another."),
        _pairs("image_mask_archive", "archive", "Images and masks of a zip archive."),
        _pairs("image_mask_list", "listed", "Images and masks that a text file lists."),
        _pairs("image_mask_arrays", "Arrays", "Images and masks of an npz archive."),
        _local("image_folder", "image_folder", "Images of a folder, one class a subfolder or none."),
        _local("image_list", "image_list", "Images and labels that a text file lists."),
        _local("openood_list", "openood_list", "Images of a list of OpenOOD's benchmarks."),
        _local("image_arrays", "Arrays", "Images and labels of an npz archive."),
    )


@hookimpl
def ood_published() -> tuple[PublishedSpec, ...]:
    """Offer published values, and the recipes to measure them."""
    return (
        PublishedSpec(
            name="published",
            target="energy_plugin_bench.values.folders:PUBLISHED",
            summary="Published energy figures.",
        ),
        PublishedSpec(
            name="recipes",
            target="energy_plugin_bench.values.folders:RECIPES",
            summary="How they are measured.",
        ),
    )


@hookimpl
def ood_commands() -> tuple[CommandSpec, ...]:
    """Offer to measure published values, to fine-tune, and to score images."""
    return (
        CommandSpec(
            name="reproduce",
            target="energy_plugin_bench.command:configure",
            summary="Measure published values again: each is reproduced, differs, or is not run and why.",
            requires=("numpy", "PIL", "pydantic", "rich", "safetensors"),
            extra=_EXTRA,
        ),
        CommandSpec(
            name="report",
            target="energy_plugin_bench.report_command:configure",
            summary="Write published against measured as one HTML file, Markdown, JSON or CSV.",
            requires=("jinja2", "matplotlib", "numpy", "PIL", "pydantic", "rich", "safetensors"),
            extra=_EXTRA,
        ),
        CommandSpec(
            name="evaluate",
            target="energy_plugin_bench.segmentation.command:configure",
            tasks=SEGMENTATION,
            summary="Evaluate anomaly segmentation on a folder of images and one of masks.",
            requires=("numpy", "PIL", "safetensors"),
            extra=_EXTRA,
        ),
        CommandSpec(
            name="retrain",
            target="energy_plugin_bench.retrain.command:configure",
            summary="Fine-tune as published and judge the published figures by the spread over seeds.",
            requires=("numpy", "PIL", "pydantic", "safetensors"),
            extra=_EXTRA,
        ),
        _applied("finetune", "Fine-tune any backbone with the energy-regularised loss on your images."),
        _applied("score", "Say which images of a folder are out-of-distribution for a network."),
    )


def _applied(name: str, summary: str) -> CommandSpec:
    return CommandSpec(
        name=name,
        target=f"energy_plugin_bench.apply.{name}:configure",
        summary=summary,
        requires=("numpy", "PIL", "rich", "safetensors"),
        extra=_EXTRA,
    )


def _network(name: str, target: str, summary: str) -> BackboneSpec:
    target = f"energy_plugin_bench.networks.{target}"
    return BackboneSpec(name=name, target=target, tasks=CLASSIFICATION, summary=summary)


def _images(name: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target=f"energy_plugin_bench.inputs.imagesets:{name}",
        tasks=CLASSIFICATION,
        summary=summary,
        requires=("numpy", "pydantic"),
        extra=_EXTRA,
    )


def _pairs(name: str, target: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target=f"energy_plugin_bench.inputs.pairs:{target}",
        tasks=SEGMENTATION,
        void=(-100,),
        summary=summary,
        requires=("numpy", "PIL"),
        extra=_EXTRA,
    )


def _local(name: str, target: str, summary: str) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target=f"energy_plugin_bench.inputs.local:{target}",
        tasks=CLASSIFICATION,
        summary=summary,
        requires=("numpy", "PIL"),
        extra=_EXTRA,
    )
