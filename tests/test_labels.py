"""Label conventions: each trap of the suites is a test of its own, with the right behaviour."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from energy_plugin import labels
from energy_plugin.errors import LabelError, UnknownNameError
from energy_plugin.labels import (
    CONVENTIONS,
    OOD,
    VOID,
    LabelConvention,
    convention,
    count_codes,
    to_host,
    translate,
)
from energy_plugin.records import DatasetSpec


def translated(codes, name, **options):
    return translate(torch.tensor(codes), name, **options).tolist()


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codes", "expected"),
    [
        ("energy_plugin", [0, 7, -1, -5, -100], [0, 7, OOD, OOD, VOID]),
        ("zero_one", [0, 1], [0, OOD]),
        ("pytorch_ood", [0, 3, -1, -7], [0, 3, OOD, OOD]),
        ("pytorch_ood_anomaly", [0, -1, 1], [0, OOD, VOID]),
        ("pytorch_ood_street_hazards", [0, 12, -1], [0, 12, OOD]),
        ("openood", [0, 9, -1], [0, 9, OOD]),
        ("oodeel", [0, 1], [0, OOD]),
        ("torch_uncertainty_muad", [0, 14, 15, 20, 255], [0, 14, OOD, OOD, VOID]),
        ("muad", [0, 15, 16, 18, 21, 255], [0, 15, OOD, OOD, VOID, VOID]),
        ("segment_me_if_you_can", [0, 1, 255], [0, OOD, VOID]),
        ("fishyscapes", [0, 1, 255], [0, OOD, VOID]),
        ("road_anomaly", [0, 1, 2], [0, OOD, OOD]),
        ("lost_and_found", [0, 1, 2, 43, 200, 255], [VOID, 0, OOD, OOD, OOD, VOID]),
        ("street_hazards", [0, 1, 13, 14], [VOID, 0, 12, OOD]),
        ("mvtec_ad", [0, 255], [0, OOD]),
        ("pebal", [0, 18, 254, 255], [0, 18, OOD, VOID]),
        ("cityscapes", [0, 18, 255, -1], [0, 18, VOID, VOID]),
        ("mmsegmentation", [0, 18, 255], [0, 18, VOID]),
        ("torch", [0, 5, -100], [0, 5, VOID]),
    ],
)
def test_each_convention_reads_its_own_codes(name, codes, expected):
    assert translated(codes, name) == expected


def test_every_convention_is_in_a_test_and_says_what_to_know():
    assert len(CONVENTIONS) == 24
    for name, entry in CONVENTIONS.items():
        assert entry.name == name
        assert entry.summary.endswith(".")


def test_the_table_is_read_only():
    with pytest.raises(TypeError):
        CONVENTIONS["mine"] = CONVENTIONS["torch"]


def test_a_convention_describes_itself():
    assert convention("pebal").describe() == "ID 0..18; OOD 254; void 255"
    assert (
        convention("torch_uncertainty_train").describe()
        == "ID any y >= 0; OOD any y < 0; void 255, any y >= num_classes"
    )


# --- the traps, one test each ---------------------------------------------------------------------


def test_uint8_255_is_not_read_as_a_class_where_it_may_be_a_wrapped_minus_one():
    mask = torch.tensor([0, 3, -1, -1]).to(torch.uint8)
    assert mask.tolist() == [0, 3, 255, 255]
    with pytest.raises(
        LabelError, match=r"code -1, which torch.uint8 cannot hold: a cast makes it 255.*2 times"
    ):
        translate(mask, "pytorch_ood")
    with pytest.raises(LabelError, match="255"):
        translate(
            mask.to(torch.int64), "pytorch_ood", num_classes=19
        )  # the dtype is gone, the code still strange


def test_uint8_is_fine_while_nothing_has_wrapped():
    assert translate(torch.tensor([0, 3], dtype=torch.uint8), "pytorch_ood").tolist() == [0, 3]
    assert translate(torch.tensor([0, 254, 255], dtype=torch.uint8), "pebal").tolist() == [0, OOD, VOID]


def test_minus_100_is_ood_for_pytorch_ood_and_void_for_torch():
    assert translated([2, -100], "pytorch_ood") == [2, OOD]
    assert translated([2, -100], "torch") == [2, VOID]


def test_unknown_class_99_does_not_become_void_through_its_code_minus_100():
    # pytorch-ood 0.4 maps an unknown class c to -(c + 1): class 99 lands on PyTorch's ignore_index.
    codes = [-(c + 1) for c in (0, 1, 98, 99, 100)]
    assert translated(codes, "pytorch_ood") == [OOD] * 5


def test_torch_has_no_ood_code_so_minus_one_is_refused():
    with pytest.raises(LabelError, match=r"does not know -1 \(2 x\)"):
        translated([0, -1, 4, -1], "torch")


def test_pytorch_ood_void_label_1_is_not_trained_as_class_1():
    mask = torch.tensor([[0, 1], [-1, 1]])
    ours = translate(mask, "pytorch_ood_anomaly")
    assert ours.tolist() == [[0, VOID], [OOD, VOID]]
    assert (ours == 1).sum() == 0
    logits = torch.randn(1, 19, 2, 2)
    trained = functional.cross_entropy(
        logits, ours[None].where(ours[None] != OOD, VOID), ignore_index=VOID, reduction="none"
    )
    assert trained[0, 0, 1] == trained[0, 1, 1] == 0


def test_openood_counts_minus_two_as_id_so_it_is_refused():
    with pytest.raises(LabelError, match=r"-2 \(1 x\)"):
        translated([0, -1, -2], "openood")


def test_oodeel_defaults_do_not_take_0_and_minus_1():
    with pytest.raises(LabelError, match=r"does not know -1 \(2 x\).*ID 0; OOD 1; void none"):
        translated([0, -1, -1], "oodeel")
    assert to_host([3, 0, -1], "oodeel").tolist() == [0, 0, 1]


def test_torch_uncertainty_differs_between_training_and_test():
    codes = [0, 18, 19, 254, 255]
    assert translated([*codes, -1], "torch_uncertainty_train", num_classes=19) == [
        0,
        18,
        VOID,
        VOID,
        VOID,
        OOD,
    ]
    assert translated(codes, "torch_uncertainty_test", num_classes=19) == [0, 18, OOD, OOD, VOID]
    with pytest.raises(LabelError, match=r"-1 \(1 x\)"):
        translated([*codes, -1], "torch_uncertainty_test", num_classes=19)


@pytest.mark.parametrize("name", ["torch_uncertainty_train", "torch_uncertainty_test"])
def test_torch_uncertainty_needs_the_number_of_classes(name):
    with pytest.raises(ValueError, match="needs num_classes"):
        translated([0], name)


def test_mvtec_in_pytorch_ood_has_no_negative_pixel():
    raw = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    wrapped = (-1 * raw.astype(np.int64)).astype(np.uint8)  # what the data set returns: 1, not -1
    assert wrapped.max() == 1
    assert (translate(wrapped, "pytorch_ood") == OOD).sum() == 0  # the wrong name finds no defect
    assert (translate(wrapped, "pytorch_ood_mvtec") == OOD).sum() == 2
    assert torch.equal(translate(raw, "mvtec_ad"), translate(wrapped, "pytorch_ood_mvtec"))


def test_insert_coco_casts_to_int8_where_void_255_is_ood():
    cast = torch.tensor([0, 5, -1, 255]).to(torch.int8)
    assert cast.tolist() == [0, 5, -1, -1]
    with pytest.raises(
        LabelError, match=r"code 255, which torch.int8 cannot hold: a cast makes it -1.*2 times"
    ):
        translate(cast, "pytorch_ood_insert_coco")
    untouched = torch.tensor(
        [0, 5, 255], dtype=torch.uint8
    )  # with probability 1 - p the mask is handed through
    assert translate(untouched, "pytorch_ood_insert_coco").tolist() == [0, 5, VOID]


def test_int8_shows_wrapped_classes_as_unknown_codes():
    with pytest.raises(LabelError, match=r"-56 \(1 x\)"):  # 200 cast to int8
        translate(torch.tensor([0, 200]).to(torch.int8), "pytorch_ood_insert_coco")


def test_road_anomaly_of_pytorch_ood_is_float32():
    mask = torch.tensor([[0.0, -1.0]])
    ours = translate(mask, "pytorch_ood_road_anomaly")
    assert ours.dtype == torch.int64
    assert ours.tolist() == [[0, OOD]]


def test_street_hazards_raw_void_is_kept_apart_from_the_anomaly():
    raw = torch.tensor([0, 14])
    assert translate(raw, "street_hazards").tolist() == [VOID, OOD]
    as_pytorch_ood = torch.where(raw - 1 >= 13, -1, raw - 1)
    assert translate(as_pytorch_ood, "pytorch_ood_street_hazards").tolist() == [OOD, OOD]  # lost there


def test_int32_masks_become_int64():
    assert translate(torch.tensor([1, 2, 255], dtype=torch.int32), "lost_and_found").dtype == torch.int64


def test_cityscapes_minus_one_is_void_not_ood():
    assert translated([-1], "cityscapes") == [VOID]


def test_bool_masks_are_refused_with_the_way_out():
    mask = torch.tensor([True, False])
    with pytest.raises(TypeError, match=r"does not say what is OOD.*zero_one"):
        translate(mask, "pytorch_ood")
    assert translate(mask.long(), "zero_one").tolist() == [OOD, 0]


def test_complex_targets_are_refused():
    with pytest.raises(TypeError, match="complex"):
        translate(torch.tensor([1j]), "torch")


@pytest.mark.parametrize("odd", [0.5, float("nan"), float("inf"), -float("inf")])
def test_fractions_and_nan_are_refused(odd):
    with pytest.raises(LabelError, match=r"1 of 2 are not whole numbers.*resized"):
        translate(torch.tensor([1.0, odd]), "pytorch_ood")


# --- messages, options ----------------------------------------------------------------------------


def test_an_unknown_code_lists_what_was_seen_and_what_is_known():
    with pytest.raises(LabelError) as caught:
        translate(torch.tensor([0] * 5 + [254] * 3 + [255] * 2), "fishyscapes")
    text = str(caught.value)
    assert "does not know 254 (3 x)." in text
    assert "Codes seen: 0 (5 x), 254 (3 x), 255 (2 x)." in text
    assert "It knows: ID 0; OOD 1; void 255." in text
    assert "254 is OOD in 'pebal'." in text


def test_a_long_list_of_codes_is_cut():
    with pytest.raises(LabelError, match=r"19 \(1 x\) and 30 further codes\. It knows"):
        translate(torch.arange(50), "zero_one")


def test_a_class_beyond_num_classes_is_unknown():
    assert translated([0, 18], "mmsegmentation", num_classes=19) == [0, 18]
    with pytest.raises(LabelError, match=r"19 \(1 x\).*with num_classes=19"):
        translated([0, 19], "mmsegmentation", num_classes=19)


def test_not_strict_makes_unknown_codes_void():
    assert translated([0, 7, 1], "zero_one", strict=False) == [0, VOID, OOD]
    assert translated([0, -1], "torch", strict=False) == [0, VOID]


def test_an_unknown_name_is_a_lookup_error_with_near_misses():
    with pytest.raises(UnknownNameError, match="Did you mean 'pytorch_ood'"):
        translate([0], "pytorchood")
    with pytest.raises(LookupError):
        convention("nothing like it")


def test_another_void_code_can_be_chosen():
    assert translated([0, 254, 255], "pebal", void=255) == [0, OOD, 255]


def test_void_must_be_nothing_else():
    with pytest.raises(ValueError, match="is the code of OOD"):
        translated([0], "pebal", void=OOD)
    with pytest.raises(ValueError, match="class indices"):
        translated([0], "mmsegmentation", num_classes=300, void=254)
    with pytest.raises(LabelError, match="class 7 occurs"):
        translated([7, 255], "mmsegmentation", void=7)
    with pytest.raises(ValueError, match="at least 1"):
        translated([0], "mmsegmentation", num_classes=0)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor], ids=["list", "numpy", "torch"])
def test_what_torch_takes_is_taken(make):
    result = translate(make([[0, 254], [255, 3]]), "pebal")
    assert result.tolist() == [[0, OOD], [VOID, 3]]


def test_a_pillow_mask_is_taken_as_an_array():
    image = pytest.importorskip("PIL.Image").fromarray(np.array([[0, 1, 255]], dtype=np.uint8))
    assert translate(np.asarray(image).copy(), "fishyscapes").tolist() == [[0, OOD, VOID]]


def test_empty_and_scalar_targets():
    assert translate(torch.zeros(0, 3, dtype=torch.int64), "pebal").shape == (0, 3)
    assert translate(torch.tensor(254), "pebal").item() == OOD
    assert to_host(torch.zeros(0, dtype=torch.int64), "pebal").shape == (0,)


def test_the_given_tensor_is_left_alone():
    given_codes = torch.tensor([0, 254, 255])
    translate(given_codes, "pebal")
    assert given_codes.tolist() == [0, 254, 255]


def test_count_codes():
    assert count_codes([[3, -1], [3, 3]]) == {-1: 1, 3: 3}


def test_a_convention_of_ones_own():
    mine = dataclasses.replace(convention("mmsegmentation"), name="mine", ood=(254,))
    assert translated([1, 254, 255], mine) == [1, OOD, VOID]
    with pytest.raises(LabelError, match="label convention 'mine'"):
        translated([-1], mine)


def test_a_data_set_record_says_what_its_codes_mean():
    record = DatasetSpec(name="mine", target="somewhere:Mine", ood=(7, 9), void=(255,))
    assert translated([0, 7, 9, 255], record) == [0, OOD, OOD, VOID]
    assert translated([0, -1, -3], DatasetSpec(name="mine", target="somewhere:Mine")) == [0, OOD, OOD]
    assert to_host([4, -1, VOID], record).tolist() == [4, 7, 255]
    with pytest.raises(LabelError, match=r"label convention 'mine' does not know -1"):
        translated([-1], record)
    with pytest.raises(TypeError, match="got int"):
        translated([0], 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ood": ("negativ",)}, "unknown predicate 'negativ'. Did you mean 'negative'"),
        ({"ood": (1,), "void": (1,)}, r"two meanings are given to \[1\]"),
        ({"classes": (0, 1), "void": (1,)}, r"two meanings are given to \[1\]"),
        ({"classes": (0, 1), "ood": (0,)}, r"two meanings are given to \[0\]"),
    ],
)
def test_a_contradictory_convention_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        LabelConvention(name="bad", **fields)


def test_void_is_pytorchs_own_default():
    assert torch.nn.CrossEntropyLoss().ignore_index == labels.VOID


def test_the_page_shows_every_convention_as_it_is():
    page = (Path(__file__).parents[1] / "docs" / "labels.md").read_text(encoding="utf-8")
    shown = page.partition("conventions: begin")[2].partition("<!-- conventions: end")[0]
    rows = ["| name | ID | OOD | void | what to know |", "|---|---|---|---|---|"]
    for name, entry in CONVENTIONS.items():
        kinds = [part.partition(" ")[2] for part in entry.describe().split("; ")]
        rows.append(f"| `{name}` | {' | '.join(kinds)} | {entry.summary} |")
    expected = "\n".join(rows)
    assert expected in shown, f"docs/labels.md should have this table:\n{expected}"
