"""Recipes say what they need, and contradictions in them are found when they are read."""

import tomllib

import bench_fakes
import pytest

from energy_plugin_bench.values.recipe import Protocol, parse_recipe


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
        ("size = 100", "", "draws go with either a size or a ratio"),
        ("size = 100", "size = 100\nratio = 5", "draws go with either a size or a ratio"),
        ('[[protocols]]\nreason = "rounding"', "[[protocols]]", "reason"),
        ("[inputs.nowhere]", '[sets.lost]\ninput = "gone"\n[inputs.nowhere]', "takes the input 'gone'"),
        ("[inputs.nowhere]", "[inputs.nowhere]\ndatset = 1", "unknown field"),
    ],
)
def test_faults(old, new, said):
    recipes, faults = parsed((old, new))
    assert recipes == []
    assert said in "\n".join(faults)


def test_the_first_protocol_that_matches_counts():
    (recipe,), _ = parsed()
    assert recipe.protocol("auroc", "all").draws == 20
    assert recipe.protocol("auroc", "middle").draws == 0


def test_a_draw_has_a_size_or_follows_the_ratio():
    assert Protocol(draws=1, size=2000, reason="r").draw_size(8017) == 2000
    assert Protocol(draws=1, ratio=5, reason="r").draw_size(8017) == 1603


def test_what_several_recipes_share_is_taken_in_and_their_own_goes_before():
    head = {"source": "x", "include": ["common"]}
    common = {"inputs": {"a": {"missing": "theirs"}, "b": {"missing": "theirs"}}}
    faults = []
    data = {"recipe": head, "inputs": {"b": {"missing": "ours"}}}
    (recipe,) = parse_recipe(data, "r.toml", faults, {"common": common})
    assert {name: chosen.missing for name, chosen in recipe.inputs.items()} == {"a": "theirs", "b": "ours"}
    parse_recipe({"recipe": head}, "r.toml", faults, {"comon": common})
    assert faults == ["r.toml: no shared file is named 'common'. Did you mean 'comon'?"]


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
    assert parse_recipe(tomllib.loads(MEANS.replace(gone, '"gone"')), "r.toml", faults) == []
    assert "is a mean of 'gone', which is not defined" in faults[0]
