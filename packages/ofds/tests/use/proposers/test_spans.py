"""Class scores from tokens, on the class lists that broke the libraries' phrases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofds.use.proposers.spans import captions, class_scores, prompt_text
from repro_shared.runtime.errors import UserError

LISTS = (
    ["melon", "zucchini"],
    ["japanese_fruit", "fruit"],
    ["containernumber", "container"],
    ["shirt", "t-shirt", "undershirt"],
    ["pottedplant", "St. Bernard", "traffic light."],
    ["shirt", "container", "a", "b", "c", "d", "e", "f", "melon", "zucchini", "undershirt"],
)


def said(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Each class under its own name."""
    return {name: (name,) for name in names}


@pytest.mark.parametrize("names", LISTS)
def test_every_class_has_the_tokens_of_its_own_name_and_no_others(
    bert: Any, names: list[str]
) -> None:
    found = captions(bert, said(names), 16)
    seen = set[int]()
    for caption in found:
        ids = bert(caption.text).input_ids
        assert len(ids) <= 16
        assert caption.text.count(".") == len(caption.prompts)
        taken = [place for own in caption.places for place in own]
        assert len(taken) == len(set(taken))
        for prompt, own in zip(caption.prompts, caption.places, strict=True):
            alone = bert(prompt_text(names[prompt.label]), add_special_tokens=False).input_ids
            assert [ids[place] for place in own] == alone
            seen.add(prompt.label)
    assert seen == set(range(len(names)))


def test_places_agree_with_a_search_for_longest_names_first_at_word_boundaries(bert: Any) -> None:
    import re

    names = ["shirt", "t-shirt", "undershirt", "container", "containernumber", "fruit"]
    (caption,) = captions(bert, said(names), 64)
    free, offsets = caption.text, bert(caption.text, return_offsets_mapping=True).offset_mapping
    for name in sorted(names, key=len, reverse=True):
        (match,) = re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", free)
        free = free[: match.start()] + "#" * len(name) + free[match.end() :]
        own = [n for n, (a, b) in enumerate(offsets) if match.start() <= a < b <= match.end()]
        place = [names[prompt.label] for prompt in caption.prompts].index(name)
        assert list(caption.places[place]) == own


def test_a_full_stop_goes_from_the_prompt_and_not_from_the_name(bert: Any) -> None:
    (caption,) = captions(bert, said(["St. Bernard", "traffic light."]), 64)
    assert caption.text == "st bernard. traffic light."
    assert prompt_text("[SEP] U.S.? dog_house") == "sep u s dog house"


def test_scores_are_means_over_tokens_and_the_best_of_several_prompts(bert: Any) -> None:
    given = {"zucchini": ("zucchini",), "shirt": ("shirt", "t-shirt")}
    (caption,) = captions(bert, given, 64)
    tokens = bert.convert_ids_to_tokens(bert(caption.text).input_ids)
    assert tokens == [
        "[CLS]", "shirt", ".", "t", "-", "shirt", ".", "zu", "##cchini", ".", "[SEP]",
    ]  # fmt: skip
    score = np.array([[9, 0.3, 9, 0.9, 0.6, 0.3, 9, 0.2, 0.8, 9, 9]], np.float32)
    assert class_scores(score, caption, 2) == pytest.approx(np.array([[0.5, 0.6]]))


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(LISTS[-1]))
def test_the_order_of_classes_does_not_matter(bert: Any, order: list[str]) -> None:
    first, second = captions(bert, said(LISTS[-1]), 12), captions(bert, said(order), 12)
    assert [caption.text for caption in first] == [caption.text for caption in second]
    assert len(first) > 1


def test_classes_that_cannot_be_told_apart_or_read_are_refused(bert: Any) -> None:
    for names, message in (
        (["St. Bernard", "st bernard"], "read the same"),
        (["Shirt", "shirt"], "read the same"),
        (["☃", "shirt"], "can read nothing"),
        (["...", "shirt"], "can read nothing"),
        (["a b c d e f a b c d e f a b c"], "longer than the 16 tokens"),
    ):
        with pytest.raises(UserError, match=message):
            captions(bert, said(names), 16)


def test_a_prompt_of_ones_own_tells_them_apart(bert: Any) -> None:
    (caption,) = captions(bert, {"St. Bernard": ("bernard",), "st bernard": ("st",)}, 16)
    assert caption.text == "bernard. st."
