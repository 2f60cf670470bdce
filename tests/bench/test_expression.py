"""Expressions choose ids as pytest's -k does, and one that cannot be read says why."""

import pytest

from energy_plugin_bench.values import registry as registries


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("", {"a_mnist", "a_fashion", "b_mnist"}),
        ("mnist", {"a_mnist", "b_mnist"}),
        ("mnist and not b_", {"a_mnist"}),
        ("fashion or b_", {"a_fashion", "b_mnist"}),
        ("a_*", {"a_mnist", "a_fashion"}),
        ("MNIST", {"a_mnist", "b_mnist"}),
        ("not (fashion or b_)", {"a_mnist"}),
        ("(b_ or fashion) and not (a_ or c_)", {"b_mnist"}),
        ("not not b_", {"b_mnist"}),
        ("or_mnist or and_fashion", set()),
        ("not mnist", {"a_fashion"}),
    ],
)
def test_expressions(expression, chosen):
    holds = registries.matcher(expression)
    assert {name for name in ("a_mnist", "a_fashion", "b_mnist") if holds(name)} == chosen


def test_words_are_not_split_at_hyphens():
    holds = registries.matcher("in-or-out")
    assert holds("st-in-or-out-x")
    assert not holds("st-out-y")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("mnist fashion", "before 'fashion', `and` or `or` is missing"),
        ("mnist (fashion)", "before '(', `and` or `or` is missing"),
        ("mnist)", "before ')', `and` or `or` is missing"),
        ("and", "a part of an id is missing before 'and'"),
        ("a or or b", "a part of an id is missing before 'or'"),
        ("()", "a part of an id is missing before ')'"),
        ("mnist and", "something is missing at the end"),
        ("not", "something is missing at the end"),
        ("(mnist", "a bracket is not closed"),
        ("[a", "'[a' is no part of an id"),
        ("'mnist'", "is no part of an id"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused(expression, said):
    with pytest.raises(ValueError, match="cannot read") as caught:
        registries.matcher(expression)
    assert said in str(caught.value)
    assert "Join parts of ids by `and`, `or`, `not` and brackets" in str(caught.value)
