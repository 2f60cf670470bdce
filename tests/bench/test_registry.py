"""Files of all plug-ins are read together; what no file shows alone is found here."""

import bench_fakes
import pytest

from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.rows import RowsError


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


def test_faults_of_several_files_come_together(tmp_path):
    source = bench_fakes.SOURCE.replace('"auroc", ood_set = "middle"', '"auroc", ood_sett = "middle"')
    recipe = bench_fakes.RECIPE.replace("shades/bright.safetensors", "shades/brigth.safetensors").replace(
        "draws = 20", "draws = -20"
    )
    bench_fakes.write_world(tmp_path, source=source, recipe=recipe)
    (tmp_path / "published" / "odd.toml").write_text("[surce]\n")
    (tmp_path / "published" / "both.toml").write_text("[source]\n[recipe]\n")
    (tmp_path / "published" / "cut.toml").write_text("[source")
    with pytest.raises(RowsError) as caught:
        registries.read([tmp_path / "published"])
    text = str(caught.value)
    assert "unknown field 'ood_sett'" in text
    assert "protocols.0.draws" in text
    assert "odd.toml: expected one of the heads source, recipe, files, shared, not ['surce']" in text
    assert (
        "both.toml: expected one of the heads source, recipe, files, shared, not ['recipe', 'source']" in text
    )
    assert "cut.toml: not a TOML file" in text


def test_a_recipe_that_names_an_unlisted_file_is_a_fault(tmp_path):
    recipe = bench_fakes.RECIPE.replace("shades/bright.safetensors", "shades/brigth.safetensors")
    bench_fakes.write_world(tmp_path, recipe=recipe)
    with pytest.raises(RowsError, match=r"Did you mean 'shades/bright\.safetensors'"):
        registries.read([tmp_path / "published"])


def test_a_recipe_that_explains_a_row_of_nobody_is_a_fault(tmp_path):
    recipe = bench_fakes.RECIPE + '\n[[explained]]\nids = ["shades_aurok"]\nreason = "why"\n'
    bench_fakes.write_world(tmp_path, recipe=recipe)
    wanted = r"explains 'shades_aurok', no row of it\. Did you mean 'shades_auroc'"
    with pytest.raises(RowsError, match=wanted):
        registries.read([tmp_path / "published"])


def test_an_id_that_stands_twice_is_a_fault(tmp_path):
    bench_fakes.write_world(tmp_path, source=bench_fakes.SOURCE.replace("shades_fpr95", "shades_auroc"))
    with pytest.raises(RowsError, match="the id 'shades_auroc' stands 2 times"):
        registries.read([tmp_path / "published"])


def test_select_takes_the_ids_that_match(registry):
    chosen = registry.select(source="dice_issue_2", expression="svhn")
    assert 0 < len(chosen) < 21
    assert all("svhn" in row.id for _, row in chosen)


def test_select_knows_sources_by_name(registry):
    assert len(registry.select(source="dice_issue_2")) == 21
    with pytest.raises(LookupError, match="Did you mean 'song_energy_ood'"):
        registry.select(source="song_energy")


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("", {"a_mnist", "a_fashion", "b_mnist"}),
        ("mnist", {"a_mnist", "b_mnist"}),
        ("mnist and not b_", {"a_mnist"}),
        ("fashion or b_", {"a_fashion", "b_mnist"}),
        ("a_*", {"a_mnist", "a_fashion"}),
        ("not mnist", {"a_fashion"}),
    ],
)
def test_expressions(expression, chosen):
    holds = registries.matcher(expression)
    assert {name for name in ("a_mnist", "a_fashion", "b_mnist") if holds(name)} == chosen


@pytest.mark.parametrize("expression", ["mnist fashion", "and", "mnist and", "not", "a or or b"])
def test_an_expression_that_cannot_be_read_is_refused(expression):
    with pytest.raises(ValueError, match="cannot read"):
        registries.matcher(expression)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("shades_aurok", "there is no row 'shades_aurok'. Did you mean 'shades_auroc'"),
        ("shades_auroc", "shades_auroc is auroc 100.0, not auroc 75.0"),
    ],
)
def test_a_row_that_is_no_other_one_is_a_fault(tmp_path, other, said):
    source = bench_fakes.SOURCE.replace('id = "shades_none"', f'same_as = "{other}", id = "shades_none"')
    bench_fakes.write_world(tmp_path, source=source)
    with pytest.raises(RowsError, match=said):
        registries.read([tmp_path / "published"])


def test_rows_of_one_figure_count_once(registry):
    rows = {row.id: row for _, row in registry.rows()}
    assert len(rows) == 5207
    same = {name: row for name, row in rows.items() if row.same_as}
    assert len(same) == 311
    assert len({row.same_as for row in same.values()}) == 282  # the table of MOS was copied twice
