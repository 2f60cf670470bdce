"""The way back: our targets in the codes of a host."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_plugin.errors import LabelError
from energy_plugin.labels import CONVENTIONS, OOD, VOID, convention, to_host, translate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pytorch_ood", [0, 2, -1]),
        ("openood", [0, 2, -1]),
        ("oodeel", [0, 0, 1]),
        ("pebal", [0, 2, 254]),
        ("street_hazards", [1, 3, 14]),
        ("torch_uncertainty_train", [0, 2, -1]),
        ("torch_uncertainty_test", [0, 2, 5]),
    ],
)
def test_to_host_writes_the_hosts_codes(name, expected):
    assert to_host([0, 2, -1], name, num_classes=5).tolist() == expected


def test_to_host_writes_every_negative_but_void_as_ood():
    assert to_host([-7, -1, VOID], "segment_me_if_you_can").tolist() == [1, 1, 255]
    assert to_host([-7, VOID], "pytorch_ood", void=None).tolist() == [-1, -1]


def test_to_host_refuses_what_the_host_cannot_say():
    with pytest.raises(LabelError, match=r"OOD targets occur.*has no code"):
        to_host([0, -1], "mmsegmentation")
    with pytest.raises(LabelError, match=r"void targets occur.*Leave them out"):
        to_host([0, VOID], "openood")
    with pytest.raises(LabelError, match=r"class 13 occurs.*13 classes"):
        to_host([13], "street_hazards")
    with pytest.raises(LabelError, match=r"class 5 occurs.*5 classes"):
        to_host([5], "openood", num_classes=5)
    with pytest.raises(LabelError, match="class 255 is no class"):
        to_host([255], "mmsegmentation")
    with pytest.raises(LabelError, match="no code"):  # 255 classes: the first OOD index is the void code
        to_host([-1], "torch_uncertainty_test", num_classes=255)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(CONVENTIONS)),
    kinds=st.lists(st.sampled_from(["id", "ood", "void"]), max_size=12),
    data=st.data(),
)
def test_there_and_back_again(name, kinds, data):
    rules = convention(name)
    classes = len(rules.classes) if rules.classes else 7
    codes = {"ood": OOD, "void": VOID}
    ours = [codes[kind] if kind in codes else data.draw(st.integers(0, classes - 1)) for kind in kinds]
    if ("ood" in kinds and not rules.ood) or ("void" in kinds and not rules.void):
        with pytest.raises(LabelError):
            to_host(ours, name, num_classes=classes)
        return
    host = to_host(torch.tensor(ours, dtype=torch.int64), name, num_classes=classes)
    assert translate(host, name, num_classes=classes).tolist() == ours
