"""What a selection promises, on drawn pools and on pools made for one promise each."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds import Budget, Choice, Pool, Settings, make_pool, select
from ofds.method import selection
from ofds.method.room import Room
from ofds.method.selection import Selector


def names(pool: Pool, choices: list[Choice]) -> list[str]:
    return [pool.images[choice.image] for choice in choices]


def shuffled(given_: dict[str, Any], seed: int) -> dict[str, Any]:
    g = np.random.default_rng(seed)
    order = g.permutation(len(given_["image"]))
    return {
        **given_,
        "images": list(g.permutation(given_["images"])),
        "image": [given_["image"][i] for i in order],
        **{name: np.asarray(given_[name])[order] for name in ("label", "score", "box")},
        "row": order,
    }


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), amount=st.integers(5, 120))
def test_order_of_the_input_and_threads_do_not_matter(columns: Any, seed: int, amount: int) -> None:
    pool, other = make_pool(**columns(seed)), make_pool(**shuffled(columns(seed), seed))
    costs = Budget(amount).costs(pool)
    found = select(pool, costs, amount)
    assert names(pool, found) == names(other, select(other, Budget(amount).costs(other), amount))
    assert found == select(pool, costs, amount, Settings(threads=3))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    unit=st.sampled_from(["images", "objects", "pixels", "seconds"]),
    share=st.floats(0.05, 1.2),
)
def test_the_budget_is_kept_in_every_unit(columns: Any, seed: int, unit: Any, share: float) -> None:
    pool = make_pool(**columns(seed))
    costs = Budget(1, unit).costs(pool)
    amount = share * costs.sum()
    found = select(pool, costs, amount)
    assert sum(choice.cost for choice in found) <= amount + 1e-6
    assert len({choice.image for choice in found}) == len(found)
    if share >= 1:  # all that holds an object is bought
        assert len(found) == len(np.unique(pool.image))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), tail=st.floats(0, 2))
def test_every_prefix_keeps_the_shares(columns: Any, seed: int, tail: float) -> None:
    pool = make_pool(**columns(seed, tail=tail))
    costs = Budget(80).costs(pool)
    selector = Selector(pool, costs, 80, Settings(seed=seed), Room(pool, costs, 80, 80))
    for _ in selector:
        if not selector.turns.active.all():
            break  # a class has nothing left
        spent = selector.turns.spent
        apart = spent - selector.turns.share * spent.sum()
        assert np.abs(apart).max() <= costs.max() + 1e-9


def test_a_longer_list_begins_like_the_list(columns: Any) -> None:
    pool = make_pool(**columns())
    costs = Budget(30).costs(pool)
    short, long = select(pool, costs, 30), select(pool, costs, 30, limit=np.inf)
    assert long[: len(short) - 2] == short[:-2]  # until the first that did not fit
    assert len(long) > 2 * len(short)


def test_choices_say_why(columns: Any) -> None:
    pool = make_pool(**columns())
    costs = Budget(40).costs(pool)
    for choice in select(pool, costs, 40):
        assert pool.image[choice.object] == choice.image
        assert pool.label[choice.object] == choice.label
        assert (choice.label, choice.cluster) in choice.covers
        assert choice.cost == costs[choice.image]


def test_credit_for_what_chosen_images_cover() -> None:
    # Image 0 holds both looks of both classes; with credit nothing else is worth a turn.
    g = np.random.default_rng(0)
    looks = 10 * np.eye(4, dtype=np.float32)
    where = ["0", "0", "0", "0", *map(str, range(1, 13))]
    look = np.array([0, 1, 2, 3, *np.tile(np.arange(4), 3)])
    given_ = {
        "images": [str(index) for index in range(13)],
        "classes": ["a", "b"],
        "image": where,
        "label": look // 2,
        "score": np.ones(16),
        "box": np.tile([0.0, 0, 9, 9], (16, 1)),
        "features": looks[look] + 0.01 * g.normal(size=(16, 4)).astype(np.float32),
    }
    pool = make_pool(**given_)
    costs = np.ones(13)
    first = select(pool, costs, 2)[0]
    assert pool.images[first.image] == "0"  # it covers most for its cost
    assert len(first.covers) >= 2
    without = select(pool, costs, 4, Settings(credit="none", cost_aware=False))
    assert len({(c.label, c.cluster, c.level) for c in without}) == 4


def looks(where: list[str], look: list[int]) -> Pool:
    """Objects of one class, on images by name, with clearly different looks."""
    g, n = np.random.default_rng(0), len(where)
    features = 10 * np.eye(4)[look] + 0.01 * g.normal(size=(n, 4))
    return make_pool(
        sorted(set(where)), ["a"], where, np.zeros(n), np.ones(n), np.tile([0.0, 0, 9, 9], (n, 1)),
        features=features.astype(np.float32),
    )  # fmt: skip


def test_shares_of_turns_by_the_rule_of_d_hondt() -> None:
    # Twelve objects of one look and three of another; four of the first are annotated on one image.
    where = ["x"] * 4 + [f"a{n:02d}" for n in range(8)] + [f"b{n:02d}" for n in range(3)]
    pool = looks(where, [0] * 12 + [1] * 3)
    x = pool.images.index("x")

    def first(credit: Any, annotated: list[int]) -> str:
        made = select(pool, np.ones(12), 2, Settings(credit=credit), annotated=annotated)
        return pool.images[made[0].image][0]

    # 12 / (1 + 4) is less than 3 / 1: the look that nothing shows yet goes first.
    assert first("shared", [x]) == "b"
    assert first("any", [x]) == "b"
    assert first("none", [x]) == "a"  # what is annotated is not looked at
    assert first("shared", []) in "ax"
    # With three of the second look annotated, too, the larger one is next: 12 / 5 to 3 / 4.
    b = [pool.images.index(f"b{n:02d}") for n in range(2)]
    assert first("shared", [x, *b]) == "a"


@pytest.mark.parametrize(
    ("credit", "expected"),
    [("shared", "fae0"), ("any", "57c5"), ("none", "2b56")],
)
def test_the_same_selection_as_ever(columns: Any, credit: Any, expected: str) -> None:
    # Whoever changes this on purpose raises METHOD_VERSION.
    pool = make_pool(**columns(images=200))
    costs = Budget(60).costs(pool)
    found = names(pool, select(pool, costs, 60, Settings(credit=credit)))
    assert hashlib.sha256(" ".join(found).encode()).hexdigest()[:4] == expected


def test_near_equal_images_and_two_identical_rare_ones() -> None:
    g = np.random.default_rng(0)
    dogs, trees = 40, 2
    x = np.concatenate([1 + 1e-3 * g.normal(size=(dogs, 6)), np.full((trees, 6), -1.0)])
    images = [f"{index:03d}" for index in range(dogs + trees)]
    pool = make_pool(
        images, ["thing"], images, np.zeros(42, int), np.ones(42), np.tile([0, 0, 5, 5], (42, 1)),
        features=x.astype(np.float32), content=[*images[:40], "tree", "tree"],
    )  # fmt: skip
    for settings_ in (Settings(), Settings(cost_aware=False), Settings(credit="none")):
        chosen = names(pool, select(pool, np.ones(42), 2, settings_))
        assert len(chosen) == 2
        assert len({"040", "041"} & set(chosen)) <= 1


def test_an_image_is_never_bought_twice(columns: Any) -> None:
    given_ = columns(images=40, classes=2)
    content = ["same" if index < 20 else name for index, name in enumerate(given_["images"])]
    pool = make_pool(**given_, content=content)
    chosen = [choice.image for choice in select(pool, np.ones(40), 40)]
    assert len(chosen) == len({*pool.twin[chosen].tolist()}) == 21
    # What is required is taken all the same.
    must = np.flatnonzero(pool.twin == pool.twin[chosen[0]])[:3].tolist()
    same = [choice.image for choice in select(pool, np.ones(40), 40, required=must)]
    assert {*must} <= {*same}
    assert len(same) == 23


@pytest.mark.parametrize("free", ["all", "a class"])
def test_images_that_cost_nothing_have_their_turn(columns: Any, free: str) -> None:
    pool = make_pool(**columns(images=30, classes=2))
    costs = np.ones(30)
    costs[np.unique(pool.image[pool.label == 1])] = 0
    if free == "all":
        costs[:] = 0
    found = select(pool, costs, 3)
    assert {choice.label for choice in found} >= {1}
    assert sum(choice.cost for choice in found) <= 3
    assert {choice.image for choice in found} >= {*np.flatnonzero(costs == 0).tolist()}


def test_required_annotated_and_excluded_images(columns: Any) -> None:
    pool = make_pool(**columns())
    costs = Budget(30).costs(pool)
    plain = select(pool, costs, 30)
    first, must = plain[0].image, int(np.setdiff1d(np.arange(60), [c.image for c in plain])[0])
    found = select(pool, costs, 30, required=[must], annotated=[first], excluded=[plain[1].image])
    chosen = {choice.image for choice in found}
    assert must in chosen
    assert not {first, plain[1].image} & chosen
    assert sum(choice.cost for choice in found) <= 30
    with pytest.raises(ValueError, match="required images cost"):
        select(pool, costs, 1, required=range(5))


def test_more_budget_goes_on_from_what_is_annotated(columns: Any) -> None:
    pool = make_pool(**columns())
    costs = Budget(30).costs(pool)
    before = [choice.image for choice in select(pool, costs, 30)]
    after = select(pool, costs, 30, annotated=before)
    assert not {choice.image for choice in after} & set(before)


def test_no_features_no_selection(columns: Any) -> None:
    pool = replace(make_pool(**columns()), features=None)
    with pytest.raises(ValueError, match="needs their features"):
        select(pool, Budget(3).costs(pool), 3)


def test_an_empty_pool_gives_an_empty_selection() -> None:
    pool = make_pool(["a"], ["x"], [], [], [], [], features=np.zeros((0, 4), np.float32))
    assert select(pool, Budget(3).costs(pool), 3) == []


def test_what_cannot_be_paid_is_not_clustered_finer(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, cluster = list[int](), selection.kmeans

    def counted(features: Any, rows: Any, k: int, *more: Any) -> Any:
        sizes.append(k)
        return cluster(features, rows, k, *more)

    monkeypatch.setattr(selection, "kmeans", counted)
    g = np.random.default_rng(0)
    listed = [f"{index:03d}" for index in range(100)]
    pool = make_pool(
        listed, ["a", "b"], listed * 3, g.integers(0, 2, 300), np.ones(300),
        np.tile([0.0, 0, 4, 4], (300, 1)), features=g.normal(size=(300, 4)).astype(np.float32),
    )  # fmt: skip
    assert len(select(pool, Budget(7).costs(pool), 7)) == 2  # three each, and one is left
    assert max(sizes) < 10
