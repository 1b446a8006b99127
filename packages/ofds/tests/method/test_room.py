"""Caps of groups, shares of values, near duplicates: kept in every prefix of a selection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds import Budget, Limits, Settings, make_pool, select, select_covering
from ofds.method.duplicates import image_vectors, unit
from ofds.method.room import Room
from ofds.method.selection import Selector


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500), cap=st.integers(1, 4), groups=st.integers(3, 20))
def test_a_cap_is_never_exceeded(columns: Any, seed: int, cap: int, groups: int) -> None:
    pool = make_pool(**columns(seed))
    costs, g = Budget(60).costs(pool), np.random.default_rng(seed)
    group = g.integers(-1, groups, len(pool.images))
    annotated = g.choice(60, 5, replace=False).tolist()
    limits = Limits(group=group, cap=cap)
    found = select(pool, costs, 90, annotated=annotated, limits=limits)
    before = np.bincount(group[annotated] + 1, minlength=groups + 1)[1:]
    after = np.bincount(group[[c.image for c in found]] + 1, minlength=groups + 1)[1:]
    assert (after <= np.maximum(cap - before, 0)).all()
    assert sum(c.cost for c in found) <= 90
    # A longer list begins alike: the cap is kept in every prefix.
    longer = select(pool, costs, 90, annotated=annotated, limits=limits, limit=np.inf)
    shared = [c.image for c in found][: len(found) - 5]
    assert [c.image for c in longer][: len(shared)] == shared


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 500), share=st.floats(0.02, 1.0))
def test_given_costs_are_never_exceeded(columns: Any, seed: int, share: float) -> None:
    pool = make_pool(**columns(seed))
    g = np.random.default_rng(seed)
    costs = g.uniform(0, 9, 60) * (g.random(60) < 0.9)  # some cost nothing
    amount = share * costs.sum()
    must = g.choice(60, 3, replace=False)
    must = must[np.cumsum(costs[must]) <= amount].tolist()
    group = g.integers(0, 12, 60)
    limits = Limits(group, 4, g.integers(0, 2, 60), (0.4, 0.6), image_vectors(pool), 0.9)
    for made in (
        select(pool, costs, amount, required=must, limits=limits),
        select_covering(pool, costs, amount, np.ones(4, int), required=must, limits=limits)[0],
    ):
        chosen = [choice.image for choice in made]
        assert costs[chosen].sum() <= amount + 1e-6
        assert set(must) <= set(chosen)
        assert len(set(chosen)) == len(chosen)
        assert np.bincount(group[chosen]).max(initial=0) <= 4


def test_required_images_have_a_place_in_their_group(columns: Any) -> None:
    pool = make_pool(**columns())
    costs, group = Budget(60).costs(pool), np.arange(60) % 3
    plain = [c.image for c in select(pool, costs, 60, limits=Limits(group=group, cap=2))]
    must = [i for i in range(60) if i not in plain][:2]
    found = select(pool, costs, 60, required=must, limits=Limits(group=group, cap=2))
    assert set(must) <= {c.image for c in found}
    assert np.bincount(group[[c.image for c in found]]).max() <= 2
    with pytest.raises(ValueError, match="is required, and its group has more than 1"):
        select(pool, costs, 60, required=[0, 3], limits=Limits(group=group, cap=1))


def test_caps_count_in_the_contract(columns: Any) -> None:
    pool = make_pool(**columns())
    costs = Budget(400).costs(pool)
    one = Limits(group=np.zeros(60, np.int64), cap=2)
    rare = int(pool.counts.sum(axis=0).argmin())
    minimum = np.zeros(4, np.int64)
    minimum[rare] = np.sort(pool.counts[:, rare])[-2:].sum()
    _, contract = select_covering(pool, costs, 400, minimum, limits=one)
    assert contract.status == "met"  # by the two images that hold most
    minimum[rare] += 1
    choices, contract = select_covering(pool, costs, 400, minimum, limits=one)
    assert contract.status == "infeasible"
    assert contract.reasons == ("no images with at most 2 of a group meet the minima",)
    assert len(choices) == 2


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 500),
    share=st.lists(st.floats(0.1, 1), min_size=2, max_size=3),
    unit=st.sampled_from(["images", "objects"]),
)
def test_shares_of_values_are_kept_in_every_prefix(
    columns: Any, seed: int, share: list[float], unit: Any
) -> None:
    pool = make_pool(**columns(seed, images=90, classes=2, tail=0.0))
    costs = Budget(1, unit).costs(pool)
    g = np.random.default_rng(seed)
    value = g.integers(0, len(share), 90)
    wanted = np.array(share) / sum(share)
    limits = Limits(value=value, share=tuple(wanted))
    amount = costs.sum() / 6
    left = {(c, v): set(pool.image[(pool.label == c) & (value[pool.image] == v)].tolist())
            for c in range(2) for v in range(len(share))}  # fmt: skip
    spent = np.zeros(len(share))
    for choice in select(pool, costs, amount, limits=limits):
        spent[value[choice.image]] += choice.cost
        for each in left.values():
            each.discard(choice.image)
        if not all(left.values()):
            break  # some class has no image of some value any more
        if amount - spent.sum() < costs.max():
            break  # an image may not fit
        assert np.abs(spent - wanted * spent.sum()).max() <= costs.max() + 1e-9


def test_a_value_that_no_image_of_the_class_has_does_not_stop_the_class(columns: Any) -> None:
    pool = make_pool(**columns(classes=2, tail=0.0))
    costs = np.ones(60)
    has = np.isin(np.arange(60), pool.image[pool.label == 1])
    value = has.astype(np.int64)  # value 0 means no object of class 1
    found = select(pool, costs, 30, limits=Limits(value=value, share=(0.9, 0.1)))
    assert len(found) == 30
    labels = [c.label for c in found[:10]]
    assert labels.count(1) == 5  # classes come before values


def test_near_duplicates_wait_for_all_others_of_their_cluster(columns: Any) -> None:
    pool = make_pool(**columns(images=40, classes=2))
    g = np.random.default_rng(0)
    x = unit(g.normal(size=(40, 8)))
    x[:20] = unit(x[0] + 0.05 * g.normal(size=(20, 8)))
    limits = Limits(vectors=x.astype(np.float16), alike=0.95)
    room = Room(pool, np.ones(40), 40, 40, annotated=[3], limits=limits)
    selector, again = Selector(pool, np.ones(40), 40, Settings(), room), 0
    chosen = [3]
    for choice in selector:
        if (x[chosen] @ x[choice.image]).max() > 0.951:
            again += 1
            cluster = selector.classes[choice.label].order[choice.cluster]
            others = pool.image[cluster][~room.done[pool.image[cluster]]]
            assert all((x[chosen] @ x[other]).max() > 0.949 for other in others)
        chosen.append(choice.image)
    assert again >= 19
    assert len(chosen) == 40  # in the end nothing else was left


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 300))
def test_order_of_the_input_does_not_matter(columns: Any, seed: int) -> None:
    given_ = columns(seed)
    g = np.random.default_rng(seed)
    group = dict(zip(given_["images"], g.integers(0, 9, 60).tolist(), strict=True))
    value = dict(zip(given_["images"], g.integers(0, 2, 60).tolist(), strict=True))
    order = g.permutation(len(given_["image"]))
    other = {
        **given_,
        "images": list(g.permutation(given_["images"])),
        "image": [given_["image"][i] for i in order],
        **{name: np.asarray(given_[name])[order] for name in ("label", "score", "box")},
        "row": order,
    }
    found = []
    for columns_, threads in ((given_, 1), (other, 3)):
        pool = make_pool(**columns_)
        limits = Limits(
            np.array([group[n] for n in pool.images]), 3,
            np.array([value[n] for n in pool.images]), (0.3, 0.7), image_vectors(pool), 0.9,
        )  # fmt: skip
        made = select(pool, Budget(1).costs(pool), 70, Settings(threads=threads), limits=limits)
        found.append([pool.images[c.image] for c in made])
    assert found[0] == found[1]
