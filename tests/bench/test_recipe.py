"""Recipes say what they need, and contradictions in them are found when they are read."""

import tomllib

import bench_fakes
import pytest

from energy_plugin_bench.values.files import parse_files
from energy_plugin_bench.values.reading import parse_recipe, parse_shared
from energy_plugin_bench.values.recipe import Protocol


def parsed(*changes):
    text = bench_fakes.RECIPE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    faults = []
    return parse_recipe(tomllib.loads(text), "recipe.toml", faults), faults


def test_a_good_recipe_has_no_faults():
    (recipe,), faults = parsed()
    assert not faults
    assert recipe.obstacles("bright", "ends", "middle") == ()
    assert recipe.obstacles("bright", "ends", "nowhere") == ("needs pictures that nobody has",)
    assert recipe.obstacles("dark", "ends", None) == ("the recipe does not know the network 'dark'",)
    assert recipe.obstacles("bright", "top", None) == ("the recipe does not know the set 'top'",)


def test_a_network_that_cannot_be_run_may_be_a_pattern():
    (recipe,), _ = parsed(("[inputs.ends]", '[networks."dark*"]\nmissing = "never trained"\n\n[inputs.ends]'))
    assert recipe.obstacles("dark_7", "ends", None) == ("never trained",)


def test_a_network_of_its_own_goes_before_a_pattern():
    (recipe,), _ = parsed(
        ("[networks.bright]", '[networks."b*"]\nmissing = "never trained"\n\n[networks.bright]')
    )
    assert recipe.obstacles("bright", "ends", None) == ()


def test_error_detection_needs_the_id_set_alone():
    (recipe,), _ = parsed()
    assert recipe.needs("ends", "error_detection") == ("ends",)
    assert recipe.needs("ends", "middle") == ("ends", "middle")
    assert recipe.obstacles("bright", "ends", "error_detection") == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('backbone = "brightness"', "", "a network needs a backbone"),
        ('backbone = "brightness"', 'backbone = "brightness"\nmean = [0.5]', "mean has 1 channels and std 0"),
        ('dataset = "shades"\noptions = { low = 0.9, high = 1.0 }', "", "an input needs a dataset"),
        ('backbone = "brightness"', 'backbone = "brightness"\nmean = [0.5]\nstd = [0.0]', "std.0"),
        ("errors = 3.0", "errors = -3.0", "protocols 1: errors: Input should be greater than 0"),
        ("errors = 3.0", "errors = 0", "protocols 1: errors: Input should be greater than 0"),
        ("errors = 3.0", "errors = 10.5", "protocols 1: errors: Input should be less than or equal to 10"),
        ('ood_sets = ["all"]', 'metrics = ["aurok"]', "unknown metric 'aurok'. Did you mean 'auroc'"),
        ('metrics = ["auroc"]', 'metrics = ["f1"]', "extras 1: the harness does not measure the best F1"),
        ('convention = "outlier_exposure"', 'convention = "odin"', "extras 1: unknown convention 'odin'"),
        (
            'metrics = ["auroc"]\nconvention = "outlier_exposure"',
            'metrics = ["aupr"]\nconvention = "ninco"',
            "extras 1: aupr",
        ),
        ("[networks.bright]", '[networks."b*"]', "network 'b*' is a shell pattern"),
        ("[[extras]]", "[[extra]]", "unknown table 'extra'. Did you mean 'extras'"),
        ("size = 100", "", "draws go with either a size or a ratio"),
        ("size = 100", "size = 100\nratio = 5", "draws go with either a size or a ratio"),
        ('[[protocols]]\nreason = "rounding"', "[[protocols]]", "reason"),
        ("[inputs.nowhere]", '[sets.lost]\ninput = "gone"\n[inputs.nowhere]', "takes the input 'gone'"),
        ("[inputs.nowhere]", "[inputs.nowhere]\ndatset = 1", "inputs.nowhere: unknown field"),
    ],
)
def test_faults(old, new, said):
    _, faults = parsed((old, new))
    assert len(faults) == 1
    assert said in faults[0]


def test_the_first_protocol_that_matches_counts():
    (recipe,), _ = parsed()
    assert recipe.protocol("auroc", "all").draws == 20
    assert recipe.protocol("auroc", "middle").draws == 0


def test_a_draw_has_a_size_or_follows_the_ratio():
    assert Protocol(draws=1, size=2000, reason="r").draw_size(8017) == 2000
    assert Protocol(draws=1, ratio=5, reason="r").draw_size(8017) == 1603


def shared_of(data):
    faults = []
    return parse_shared(data, "s.toml", faults), faults


def test_what_several_recipes_share_is_taken_in_and_their_own_goes_before():
    head = {"source": "x", "include": ["common"]}
    common = {"inputs": {"a": {"missing": "theirs"}, "b": {"missing": "theirs"}}}
    shared, faults = shared_of({"shared": {"name": "common"}, **common})
    data = {"recipe": head, "inputs": {"b": {"missing": "ours"}}}
    (recipe,) = parse_recipe(data, "r.toml", faults, shared)
    assert {name: chosen.missing for name, chosen in recipe.inputs.items()} == {"a": "theirs", "b": "ours"}
    assert not faults
    parse_recipe({"recipe": {**head, "include": ["comon"]}}, "r.toml", faults, shared)
    assert faults == ["r.toml: no shared file is named 'comon'. Did you mean 'common'?"]


def test_a_typo_in_a_shared_file_is_told_once_however_many_take_it_in():
    shared, faults = shared_of({"shared": {"name": "s"}, "inputs": {"a": {"datset": "d", "missing": "m"}}})
    assert len(faults) == 1
    assert faults[0].startswith("s.toml: inputs.a: unknown field 'datset'. Did you mean 'dataset'")
    for name in ("one", "two"):
        data = {"recipe": {"source": name, "include": ["s"]}, "sets": {"b": {"input": "a"}}}
        assert parse_recipe(data, f"{name}.toml", faults, shared)
    assert len(faults) == 1


HEAD = {"source": "x"}
SHAPES = [
    ({"recipe": "x"}, "recipe: expected a table, got 'x'"),
    ({"recipe": {**HEAD, "include": 5}}, "recipe: include: expected an array of names, got 5"),
    ({"recipe": {**HEAD, "include": "small"}}, "recipe: include: expected an array of names, got 'small'"),
    ({"recipe": {**HEAD, "include": [["a"]]}}, "recipe: include: expected an array of names, got [['a']]"),
    ({"recipe": {**HEAD, "include": ["s"]}, "inputs": [1]}, "inputs: expected a table, got [1]"),
    ({"recipe": HEAD, "networks": {"a": "x"}}, "networks.a: expected a table, got 'x'"),
    ({"recipe": HEAD, "protocols": 1}, "protocols: expected an array of tables, got 1"),
    ({"recipe": HEAD, "extras": [1]}, "extras 1: expected a table, got 1"),
    ({"recipe": {"sorce": "x", "source": "x"}}, "recipe: unknown field 'sorce'. Did you mean 'source'?"),
]


@pytest.mark.parametrize(("data", "said"), SHAPES)
def test_toml_of_another_shape_is_one_fault_with_its_place(data, said):
    shared, faults = shared_of({"shared": {"name": "s"}, "inputs": {"b": {"missing": "m"}}})
    parse_recipe(data, "r.toml", faults, shared)
    assert faults == [f"r.toml: {said}"]


def test_shared_files_of_another_shape_are_faults():
    assert shared_of({"shared": "x"}) == ({}, ["s.toml: shared: expected a table, got 'x'"])
    assert shared_of({"shared": {"name": 5}})[1] == [
        "s.toml: shared: name: Input should be a valid string, got 5"
    ]
    assert "unknown table 'protocols'" in shared_of({"shared": {"name": "s"}, "protocols": []})[1][0]


FILE = {"licence": "l", "origin": "o", "get": "g"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([1], "files: expected a table, got [1]"),
        ({"a": "b"}, "a: expected a table, got 'b'"),
        ({"a": {**FILE, "path": "b"}}, "a: unknown field 'path': it is the table's name"),
        ({"a": {**FILE, "carry": True}}, "a: what is carried has its whole sha256"),
        ({"a": {**FILE, "url": "ftp://x"}}, "a: url 'ftp://x' is no http(s) address"),
    ],
)
def test_file_lists_of_another_shape_are_one_fault_with_its_place(files, said):
    faults = []
    parse_files({"files": files}, "f.toml", faults)
    assert faults == [f"f.toml: {said}"]


@pytest.mark.parametrize(
    "path", ["/etc/hosts", "../up", "a/../../up", "C:/x", "a\\..\\..\\up", "\\\\host\\x"]
)
def test_no_path_leads_out_of_a_data_root(path):
    faults = []
    assert parse_files({"files": {path: FILE}}, "f.toml", faults) == []
    assert len(faults) == 1
    assert "leads out of the data root" in faults[0]
    faults.clear()
    fields = {**FILE, "url": "https://x", "unpack": path}
    parse_files({"files": {"good": fields}}, "f.toml", faults)
    assert "leads out of the data root" in faults[0]


def test_dots_within_names_are_well():
    faults = []
    assert len(parse_files({"files": {"a..b/.c/d": FILE}}, "f.toml", faults)) == 1


MEANS = """
[recipe]
source = "x"
[networks.n]
mean_of = ["n1", "n2"]
[networks.n1]
backbone = "b"
[networks.n2]
missing = "was lost"
[inputs.far]
missing = "of the wrong set"
[inputs."id/a"]
dataset = "d"
[inputs.id]
dataset = "d"
[sets."id/far"]
mean_of = ["id/a", "id/a"]
"""


def test_means_and_sets_of_one_in_distribution_set():
    faults = []
    (recipe,) = parse_recipe(tomllib.loads(MEANS), "r.toml", faults)
    assert recipe.parts("n1", "id", "far") == [("n1", "id/a"), ("n1", "id/a")]
    assert recipe.parts("n", "id", None) == [("n1", None), ("n2", None)]
    assert recipe.obstacles("n1", "id", "far") == ()
    assert recipe.obstacles("n", "id", "far") == ("was lost",)
    assert recipe.meant("other", "far") == "far"


@pytest.mark.parametrize("gone", ['"n1", "n2"', '"id/a", "id/a"'])
def test_a_mean_of_something_undefined_is_a_fault(gone):
    faults = []
    parse_recipe(tomllib.loads(MEANS.replace(gone, '"gone"')), "r.toml", faults)
    assert len(faults) == 1
    assert "is a mean of 'gone', which is not defined" in faults[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["n1", "n2"]', '["n1", "n"]', "network 'n' is a mean of 'n', a mean itself"),
        ('["id/a", "id/a"]', '["id/far"]', "set 'id/far' is a mean of 'id/far', a mean itself"),
        ('["id/a", "id/a"]', '["far"]', "set 'id/far' is a mean of 'far', a mean itself"),
        (
            '"id/a", "id/a"]',
            '"id/a", "id/a"]\n[sets.m]\nmean_of = ["id/far"]',
            "set 'm' is a mean of 'id/far', a mean itself",
        ),
        (
            '"id/a", "id/a"]',
            '"id/a"]\n[sets.m]\nmean_of = ["far"]',
            "set 'm' is a mean of 'far', a mean itself",
        ),
        (
            "[networks.n1]",
            '[networks.m]\nmean_of = ["n"]\n[networks.n1]',
            "network 'm' is a mean of 'n', a mean",
        ),
    ],
)
def test_a_mean_of_a_mean_is_a_fault(old, new, said):
    faults = []
    assert old in MEANS
    parse_recipe(tomllib.loads(MEANS.replace(old, new)), "r.toml", faults)
    assert len(faults) == 1
    assert said in faults[0]


def test_a_mean_may_be_of_sets_that_beside_another_set_are_means():
    faults = []
    more = '[inputs.b]\ndataset = "d"\n[sets."other/b"]\nmean_of = ["id"]\n[sets."id/m"]\nmean_of = ["b"]\n'
    parse_recipe(tomllib.loads(MEANS + more), "r.toml", faults)
    assert not faults


def test_all_contradictions_of_a_recipe_are_told_at_once():
    faults = []
    parse_recipe(
        tomllib.loads(MEANS.replace('"n2"]', '"gone"]').replace('"id/a"]', '"lost"]')), "r.toml", faults
    )
    assert len(faults) == 2
