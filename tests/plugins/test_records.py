"""Records: what is valid, what is refused and how, loading, stand-ins with the right attributes."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from energy_plugin.errors import ExtraMissingError, HostMissingError
from energy_plugin.manager import default_manager
from energy_plugin.records import (
    KINDS,
    CommandSpec,
    DatasetSpec,
    DetectorSpec,
    HostSpec,
    LossSpec,
    PublishedSpec,
    Record,
)

FOLDER = str(Path(__file__).parent)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_needs_only_a_name_and_a_target(kind: type[Record]) -> None:
    record = kind(name="thing", target="json:dumps")
    assert record.tasks == ("classification", "segmentation")
    assert kind.hook.startswith("ood_")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "other"  # type: ignore[misc]
    assert kind.of(record) is record
    assert hash(record) == hash(kind(name="thing", target="json:dumps"))


@pytest.mark.parametrize("name", ["", " ", "two words", " padded", "line\nbreak"])
def test_a_name_is_text_without_white_space(name: str) -> None:
    with pytest.raises(ValueError, match="white space"):
        LossSpec(name=name, target="json:dumps")


@pytest.mark.parametrize(
    "target", ["", "json", "json.dumps", "json:", ":dumps", "json:dumps()", "a b:c", "1:2"]
)
def test_a_target_is_module_and_attribute(target: str) -> None:
    with pytest.raises(ValueError, match="module:attribute"):
        LossSpec(name="thing", target=target)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 1), ("target", None), ("summary", b"x"), ("tasks", "classification"), ("requires", [1])],
)
def test_fields_of_another_kind_are_refused_by_name(field: str, value: object) -> None:
    values = {"name": "thing", "target": "json:dumps", field: value}
    with pytest.raises(TypeError, match=field):
        LossSpec(**values)  # type: ignore[arg-type]


def test_an_unknown_task_gets_its_near_miss() -> None:
    with pytest.raises(ValueError, match="Did you mean 'segmentation'"):
        LossSpec(name="thing", target="json:dumps", tasks=("segmentaton",))


def test_orientation_of_a_detector_is_ood_or_id() -> None:
    assert DetectorSpec(name="thing", target="json:dumps").higher_is == "ood"
    with pytest.raises(ValueError, match="higher_is is 'in'"):
        DetectorSpec(name="thing", target="json:dumps", higher_is="in")  # type: ignore[arg-type]


def test_codes_of_a_data_set_are_whole_numbers_and_apart() -> None:
    spec = DatasetSpec(name="thing", target="json:dumps", ood=[254], void={255})  # type: ignore[arg-type]
    assert (spec.ood, spec.void) == ((254,), (255,))
    with pytest.raises(TypeError, match="ood is 'positive'"):
        DatasetSpec(name="thing", target="json:dumps", ood="positive")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="void is"):
        DatasetSpec(name="thing", target="json:dumps", void=(True,))
    with pytest.raises(ValueError, match=r"\[255\] are both"):
        DatasetSpec(name="thing", target="json:dumps", ood=(254, 255), void=(255,))


@pytest.mark.parametrize("name", ["Evaluate", "two_words", "-x", "9"])
def test_a_command_is_a_lower_case_word(name: str) -> None:
    assert CommandSpec(name="from-images2", target="json:dumps").name == "from-images2"
    with pytest.raises(ValueError, match="no command"):
        CommandSpec(name=name, target="json:dumps")


def test_any_object_with_the_attributes_will_do() -> None:
    stand_in = SimpleNamespace(name="thing", target="json:dumps", higher_is="id", alien=1)
    assert DetectorSpec.of(stand_in) == DetectorSpec(name="thing", target="json:dumps", higher_is="id")
    with pytest.raises(TypeError, match="lacks name, target"):
        LossSpec.of({"name": "thing"})
    with pytest.raises(TypeError, match="lacks target"):
        LossSpec.of(SimpleNamespace(name="thing"))
    with pytest.raises(ValueError, match="module:attribute"):
        LossSpec.of(SimpleNamespace(name="thing", target="nowhere"))


def test_a_record_of_another_kind_is_sent_to_its_hook() -> None:
    with pytest.raises(TypeError, match=r"came from ood_losses.*use ood_detectors"):
        LossSpec.of(DetectorSpec(name="thing", target="json:dumps"))


def test_load_imports_on_demand_and_says_what_is_wrong() -> None:
    import json

    assert LossSpec(name="thing", target="json:dumps").load() is json.dumps
    assert LossSpec(name="thing", target="pathlib:Path.home").load() == Path.home
    with pytest.raises(AttributeError, match=r"loss 'thing': module 'json' has no 'dump_s'.*'dumps'"):
        LossSpec(name="thing", target="json:dump_s").load()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        LossSpec(name="thing", target="no_such_module:x").load()


def test_a_missing_requirement_names_the_extra() -> None:
    spec = CommandSpec(name="thing", target="json:dumps", requires=("json", "no_such"), extra="suite[bench]")
    assert spec.missing() == ("no_such",)
    with pytest.raises(ExtraMissingError, match=r"needs 'no_such'.*pip install 'suite\[bench\]'"):
        spec.load()
    with pytest.raises(ExtraMissingError, match="names no extra"):
        CommandSpec(name="thing", target="json:dumps", requires=("no_such",)).load()


def test_an_undeclared_missing_import_names_the_extra_too() -> None:
    with pytest.raises(ExtraMissingError, match=r"No module named 'no_such'.*suite\[x\]") as caught:
        CommandSpec(name="thing", target="no_such:main", extra="suite[x]").load()
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_looking_for_requirements_imports_nothing() -> None:
    spec = HostSpec(name="thing", target="json:dumps", requires=("wsgiref.handlers", "wsgiref"))
    sys.modules.pop("wsgiref", None)
    assert spec.missing() == ()
    assert "wsgiref" not in sys.modules


def test_a_missing_host_is_told_with_its_extra() -> None:
    spec = HostSpec(name="suite", target="json:dumps", requires=("no_such",), extra="energy-plugin[suite]")
    with pytest.raises(HostMissingError, match=r"host 'suite' needs 'no_such'.*energy-plugin\[suite\]"):
        spec.load()


def test_a_host_that_breaks_on_import_is_told_with_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_suite.py").write_text("raise ValueError('no source prefix')\n")
    info = tmp_path / "broken_suite-0.1.11.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-suite\nVersion: 0.1.11\n")
    (info / "top_level.txt").write_text("broken_suite\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = HostSpec(name="suite", target="json:dumps", requires=("broken_suite",), extra="broken-suite<0.1")
    with pytest.raises(HostMissingError) as caught:
        spec.load()
    for part in (
        "ValueError: no source prefix",
        "installed: broken-suite 0.1.11",
        "pip install 'broken-suite<0.1'",
    ):
        assert part in str(caught.value)


def test_a_host_that_needs_an_environment_of_its_own_says_so() -> None:
    spec = HostSpec(
        name="suite", target="json:dumps", requires=("no_such",), extra="ours suite==1 timm<2", apart=True
    )
    wanted = "python -m pip install 'ours' 'suite==1' 'timm<2', in an environment of its own"
    assert spec.how_to_install() == wanted
    with pytest.raises(HostMissingError) as caught:
        spec.load()
    assert wanted in str(caught.value)
    assert HostSpec(name="suite", target="json:dumps", apart=True).how_to_install() == ""


def test_detectors_is_told_with_the_timm_it_needs() -> None:
    told = default_manager().get("host", "detectors").how_to_install()
    assert told.endswith("'detectors==0.1.11' 'timm==1.0.15', in an environment of its own")


def test_published_values_are_a_folder() -> None:
    spec = PublishedSpec(name="thing", target=f"{__name__}:FOLDER")
    assert spec.load().path == Path(FOLDER)
    with pytest.raises(TypeError, match="expected a folder"):
        PublishedSpec(name="thing", target=f"{__name__}:GONE").load()
    assert PublishedSpec(name="thing", target=f"{__name__}:WITH_PATH").load().path == Path(FOLDER)


GONE = "/no/such/folder"
WITH_PATH = SimpleNamespace(path=Path(FOLDER))
