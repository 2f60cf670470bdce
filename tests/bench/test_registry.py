"""Files of all plug-ins are read together; what no file shows alone is found here."""

import bench_fakes
import pytest

from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.checking import RowsError


def test_the_package_has_its_rows_under_their_published_ids(registry):
    counts = {name: len(source.rows) for name, source in registry.sources.items()}
    read = {"outlier_exposure_mnist": 93, "song_energy_ood": 245, "akamaster_resnet": 2, "dice_issue_2": 21}
    assert {name: counts.get(name) for name in read} == read
    ids = [row.id for _, row in registry.rows()]
    assert len(set(ids)) == len(ids) == sum(counts.values())
    assert "oe_mnist_oe_scratch_negative_mnist_fpr95" in ids
    assert "song_mnist_energyft32_tnr99" in ids


def test_every_row_has_a_recipe_that_knows_its_network_and_sets_or_says_why_there_is_none(registry):
    for name, source in registry.sources.items():
        for row in (row for row in source.rows if not row.obstacle):
            obstacles = registry.recipes[name].obstacles(row.network, row.id_set, row.ood_set)
            assert not any("does not know" in obstacle for obstacle in obstacles), row.id


def faults_of(folder):
    with pytest.raises(RowsError) as caught:
        registries.read([folder / "published"])
    return list(caught.value.faults)


def test_faults_of_several_files_come_together(tmp_path):
    source = bench_fakes.SOURCE.replace('"auroc", ood_set = "middle"', '"auroc", ood_sett = "middle"')
    recipe = bench_fakes.RECIPE.replace("shades/bright.safetensors", "shades/brigth.safetensors").replace(
        "draws = 20", "draws = -20"
    )
    bench_fakes.write_world(tmp_path, source=source, recipe=recipe)
    (tmp_path / "published" / "odd.toml").write_text("[surce]\n")
    (tmp_path / "published" / "both.toml").write_text("[source]\n[recipe]\n")
    (tmp_path / "published" / "cut.toml").write_text("[source")
    (tmp_path / "published" / "folder.toml").mkdir()
    (tmp_path / "published" / "more.toml").write_text("[files]\n[networks.x]\nmissing = 'x'\n")
    heads = "source, recipe, files, shared"
    text = "\n".join(faults_of(tmp_path))
    assert "unknown field 'ood_sett'" in text
    assert "protocols 1: draws" in text
    assert "recipe.toml: no file list has 'shades/brigth.safetensors'" in text
    assert f"odd.toml: expected one of the heads {heads}, not ['surce']" in text
    assert f"both.toml: expected one of the heads {heads}, not ['recipe', 'source']" in text
    assert "cut.toml: not a TOML file" in text
    assert "folder.toml: cannot be read" in text
    assert "more.toml: unknown table 'networks'" in text


def test_a_row_with_faults_still_has_its_name(tmp_path):
    """What points at it, or claims it too, hears of what is wrong and not that there is nothing."""
    source = bench_fakes.SOURCE.replace("value = 100.0 },", "valeu = 100.0 },").replace(
        'id = "shades_none"', 'same_as = "shades_auroc", id = "shades_none"'
    )
    recipe = bench_fakes.RECIPE + '\n[[explained]]\nids = ["shades_auroc"]\nreason = "why"\n'
    bench_fakes.write_world(tmp_path, source=source, recipe=recipe)
    assert [fault.partition(". ")[0] for fault in faults_of(tmp_path)] == [
        "source.toml: shades_auroc: field 'value' is missing",
        "source.toml: shades_auroc: unknown field 'valeu'",
    ]
    (tmp_path / "published" / "source.toml").write_text(source.replace("shades_fpr95", "shades_auroc"))
    said = "the id 'shades_auroc' stands twice: in table 1, row 2 and table 1, row 3 of source.toml"
    assert f"source.toml: {said}" in faults_of(tmp_path)


def test_a_recipe_that_names_an_unlisted_file_is_a_fault(tmp_path):
    recipe = bench_fakes.RECIPE.replace("shades/bright.safetensors", "shades/brigth.safetensors")
    bench_fakes.write_world(tmp_path, recipe=recipe)
    with pytest.raises(RowsError, match=r"Did you mean 'shades/bright\.safetensors'"):
        registries.read([tmp_path / "published"])


def test_a_recipe_that_explains_a_row_of_nobody_is_a_fault(tmp_path):
    recipe = bench_fakes.RECIPE + '\n[[explained]]\nids = ["shades_aurok"]\nreason = "why"\n'
    bench_fakes.write_world(tmp_path, recipe=recipe)
    wanted = r"explains 'shades_aurok', no row of shades\. Did you mean 'shades_auroc'"
    with pytest.raises(RowsError, match=wanted):
        registries.read([tmp_path / "published"])


def test_what_two_files_claim_is_a_fault_that_names_both(tmp_path):
    bench_fakes.write_world(tmp_path)
    for name in ("source", "recipe", "files"):
        text = (tmp_path / "published" / f"{name}.toml").read_text()
        (tmp_path / "published" / f"z_{name}.toml").write_text(text)
    for name in ("y", "z"):
        (tmp_path / "published" / f"{name}.toml").write_text("[shared]\nname = 's'\n")
    said = faults_of(tmp_path)
    assert "z_source.toml: the source 'shades' stands twice: in source.toml and in z_source.toml" in said
    assert "z_source.toml: the id 'shades_auroc' stands twice: in source.toml and in z_source.toml" in said
    again = "a recipe for the source 'shades' stands twice: in recipe.toml and in z_recipe.toml"
    assert f"z_recipe.toml: {again}" in said
    assert any("the file 'shades/bright.safetensors' stands twice: in files.toml and" in one for one in said)
    assert any("the name 's' stands twice: in y.toml and" in one for one in said)
    assert len(said) == 1 + 5 + 1 + 1 + 1


def test_a_typo_in_a_shared_file_that_nobody_takes_in_is_a_fault(tmp_path):
    bench_fakes.write_world(tmp_path)
    text = "[shared]\nname = 's'\n[networks.a]\nmissing = 'm'\nweihgts = 'w'\n"
    (tmp_path / "published" / "s.toml").write_text(text)
    assert faults_of(tmp_path) == ["s.toml: networks.a: unknown field 'weihgts'. Did you mean 'weights'?"]


DRAWN = [
    (
        "count = 400, seed = 1",
        "count = 99, seed = 1",
        "",
        "shades_drawn: a draw of 100 images does not fit into",
    ),
    ("count = 400, seed = 1", "count = 100, seed = 1", "", ""),
    ("count = 400, seed = 1", "count = 99, seed = 1", "classes = [0]", ""),
    (
        "count = 400, seed = 1",
        "count = 100, seed = 1",
        "fresh = true",
        "a draw takes all 100 images of 'all'",
    ),
    ("", "", "fresh = true", ""),
    ("", "", "fresh = true\npublished_size = 99", "of which the source had 99"),
    ("", "", "fresh = true\npublished_size = 100", "a draw takes all 100 images"),
    ("", "", "fresh = true\npublished_size = 101", ""),
    ("", "", "fresh = true\npublished_size = -1", "published_size: Input should be greater"),
]


@pytest.mark.parametrize(("old", "new", "more", "said"), DRAWN)
def test_draws_that_a_set_has_not_the_images_for_are_found_when_they_are_read(tmp_path, old, new, more, said):
    drawn = '[inputs.all]\ndataset = "shades"'
    recipe = bench_fakes.RECIPE.replace(drawn, '[inputs.all]\ndataset = "gaussian_noise"').replace(old, new)
    bench_fakes.write_world(tmp_path, recipe=f"{recipe}\n[sets.all]\n{more}\n")
    if said:
        (fault,) = faults_of(tmp_path)
        assert said in fault
    else:
        registries.read([tmp_path / "published"])


@pytest.mark.parametrize(("ratio", "ok"), [(2, True), (1, False)])
def test_a_draw_by_ratio_counts_where_the_set_is_generated(tmp_path, ratio, ok):
    recipe = bench_fakes.RECIPE.replace('dataset = "shades"', 'dataset = "blobs"').replace(
        "low = 0.9, high = 1.0", "count = 600"
    )
    bench_fakes.write_world(tmp_path, recipe=recipe.replace("size = 100", f"ratio = {ratio}"))
    if ok:
        registries.read([tmp_path / "published"])
    else:
        assert (
            "a draw of 600 images does not fit into 'all', of which there are 400" in faults_of(tmp_path)[0]
        )


def test_the_files_of_a_folder_are_its_images(tmp_path):
    recipe = bench_fakes.RECIPE.replace(
        'dataset = "shades"\noptions = { count = 400, seed = 1 }', 'dataset = "image_folder"\nasset = "all"'
    )
    bench_fakes.write_world(tmp_path, recipe=recipe)
    text = "[files.all]\nlicence = 'l'\norigin = 'o'\nget = 'g'\ncount = 99\n"
    (tmp_path / "published" / "more.toml").write_text(text)
    assert "a draw of 100 images does not fit into 'all', of which there are 99" in faults_of(tmp_path)[0]


def test_a_mean_as_the_in_distribution_set_is_a_fault_of_every_row_that_has_it(tmp_path):
    source = bench_fakes.SOURCE.replace('id_set = "ends"', 'id_set = "both"')
    recipe = bench_fakes.RECIPE + '\n[sets.both]\nmean_of = ["ends", "all"]\n'
    bench_fakes.write_world(tmp_path, source=source, recipe=recipe)
    said = faults_of(tmp_path)
    assert len(said) == 5
    assert (
        "recipe.toml: shades_auroc: its id_set 'both' is a mean of sets: only an ood_set may be one" in said
    )


def test_select_takes_the_ids_that_match(registry):
    chosen = registry.select(source="dice_issue_2", expression="svhn")
    assert 0 < len(chosen) < 21
    assert all("svhn" in row.id for _, row in chosen)


def test_select_knows_sources_by_name(registry):
    assert len(registry.select(source="dice_issue_2")) == 21
    with pytest.raises(LookupError, match="Did you mean 'song_energy_ood'"):
        registry.select(source="song_energy")


def test_brackets_choose_as_their_content_does(registry):
    assert registry.select(expression="(akamaster)") == registry.select(expression="akamaster") != []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("shades_aurok", "there is no row 'shades_aurok'. Did you mean 'shades_auroc'"),
        ("shades_auroc", "shades_auroc is auroc 100.0 percent, not auroc 75.0 percent"),
        ("shades_none", "it names itself"),
    ],
)
def test_a_row_that_is_no_other_one_is_a_fault(tmp_path, other, said):
    source = bench_fakes.SOURCE.replace('id = "shades_none"', f'same_as = "{other}", id = "shades_none"')
    bench_fakes.write_world(tmp_path, source=source)
    with pytest.raises(RowsError, match=said):
        registries.read([tmp_path / "published"])


@pytest.mark.parametrize(("value", "ok"), [("1.0", True), ("0.9", False), ("0.01", False)])
def test_one_figure_may_stand_in_two_units(tmp_path, value, ok):
    source = bench_fakes.SOURCE.replace(
        'id = "shades_none"', 'same_as = "shades_auroc", unit = "fraction", id = "shades_none"'
    ).replace("value = 75.0", f"value = {value}")
    bench_fakes.write_world(tmp_path, source=source)
    if ok:
        registries.read([tmp_path / "published"])
    else:
        assert f"shades_auroc is auroc 100.0 percent, not auroc {value} fraction" in faults_of(tmp_path)[0]


def test_rows_that_ask_for_a_mean_of_means_hear_of_the_mean_alone(tmp_path):
    source = bench_fakes.SOURCE.replace('"middle"', '"two"')
    recipe = bench_fakes.RECIPE + '\n[sets.one]\nmean_of = ["all"]\n[sets.two]\nmean_of = ["one"]\n'
    bench_fakes.write_world(tmp_path, source=source, recipe=recipe)
    (fault,) = faults_of(tmp_path)
    assert fault.startswith("recipe.toml: set 'two' is a mean of 'one', a mean itself")


def test_a_recipe_for_a_source_of_nobody_is_a_fault(tmp_path):
    bench_fakes.write_world(tmp_path, recipe=bench_fakes.RECIPE.replace('"shades"', '"shadez"', 1))
    assert faults_of(tmp_path) == ["recipe.toml: there is no source 'shadez'. Did you mean 'shades'?"]


def test_rows_of_one_figure_count_once(registry):
    rows = {row.id: row for _, row in registry.rows()}
    assert len(rows) == 5207
    same = {name: row for name, row in rows.items() if row.same_as}
    assert len(same) == 311
    assert len({row.same_as for row in same.values()}) == 282  # the table of MOS was copied twice
