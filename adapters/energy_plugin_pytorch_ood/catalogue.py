"""The data sets of pytorch-ood by name, for the front door: no import of the host is needed to list them."""

from __future__ import annotations

SEGMENTATION = (
    "FishyScapes",
    "LostAndFound",
    "MVTechAD",
    "RoadAnomaly",
    "SegmentMeIfYouCan",
    "StreetHazards",
)
"""Sets of images and masks."""

IMAGES = (
    "CIFAR100C", "CIFAR100GAN", "CIFAR10C", "Chars74k", "FeatureVisDataset", "FoolingImages",
    "FractalDataset",
    "GaussianNoise", "ImageListDataset", "ImageNet200", "ImageNet800", "ImageNetA", "ImageNetC", "ImageNetES",
    "ImageNetO", "ImageNetR", "ImageNetV2", "LSUNCrop", "LSUNResize", "MNISTC", "NINCO", "OpenImagesO",
    "Places365", "SSBHard", "SuMNIST", "Textures", "TinyImageNet", "TinyImageNetCrop", "TinyImageNetResize",
    "TinyImages", "TinyImages300k", "UniformNoise", "iNaturalist",
)  # fmt: skip
"""Sets of images and labels."""

OTHERS = (
    "FSDD", "Multi30k", "NewsGroup20", "Reuters52", "Reuters8", "WMT16Sentences", "WikiText103", "WikiText2",
)  # fmt: skip
"""Sets of texts and sounds."""

CLASSIFICATION = IMAGES + OTHERS
