"""The plan of a run is a pure function of its seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from chaos.kinds import FAULTS
from chaos.schedule import SECONDS_OF_KIND, plan_faults, plan_tasks


@given(seed=st.integers(), count=st.integers(0, 100))
def test_the_same_seed_makes_the_same_plan(seed: int, count: int) -> None:
    assert plan_faults(seed, count) == plan_faults(seed, count)
    assert plan_tasks(seed, count, 0.01) == plan_tasks(seed, count, 0.01)


def test_another_seed_makes_another_plan() -> None:
    assert plan_faults(1, 40) != plan_faults(2, 40)
    assert plan_tasks(1, 40, 0.01) != plan_tasks(2, 40, 0.01)


@given(seed=st.integers())
def test_every_kind_comes_before_any_comes_again(seed: int) -> None:
    kinds = [step.kind for step in plan_faults(seed, 2 * len(SECONDS_OF_KIND))]
    assert set(Counter(kinds[: len(SECONDS_OF_KIND)]).values()) == {1}
    assert set(Counter(kinds).values()) == {2}


@given(seed=st.integers())
def test_faults_are_in_order_and_last_as_long_as_their_kind(seed: int) -> None:
    steps = plan_faults(seed, 40)
    assert [step.share for step in steps] == sorted(step.share for step in steps)
    for step in steps:
        least, most = SECONDS_OF_KIND[step.kind]
        assert least <= step.seconds <= most


def test_every_kind_is_a_fault_and_can_be_chosen() -> None:
    assert FAULTS.keys() == SECONDS_OF_KIND.keys()
    assert {step.kind for step in plan_faults(3, 5, ["broker_forgot"])} == {"broker_forgot"}
