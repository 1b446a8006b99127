"""Names of images as annotation tools give them back."""

from __future__ import annotations

import pytest

from ofds.use.result_names import ResultNames
from repro_shared.runtime.errors import UserError

POOL = ["a/1.jpg", "b/1.jpg", "c/IMG 1.png", "ä/x (2).jpg", "deadbeef-3.jpg", "3.jpg", "1.png"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/1.jpg", 0),
        ("a\\1.jpg", 0),
        ("images/train/b/1.jpg", 1),  # folders in front
        ("IMG 1.png", 2),  # folders left out
        ("..\\..\\label-studio\\media\\upload\\4\\cb0618f6-IMG 1.png", 2),
        ("/data/upload/4/cb0618f6-IMG_1.png", 2),
        ("cb0618f6-x_2.jpg", 3),
        ("deadbeef-3.jpg", 4),  # its own name, no prefix
        ("cb0618f6-deadbeef-3.jpg", 4),
        ("upload/cb0618f6-3.jpg", 5),
        ("1.png", 6),
        ("c/1.jpg", -1),  # another folder is another image
        ("z.jpg", -1),
        ("CB0618F6-3.jpg", -1),  # the prefix is in small letters
        ("cb0618f-3.jpg", -1),  # seven digits
    ],
)
def test_names(name: str, place: int) -> None:
    assert ResultNames(POOL).find(name, "results") == place


@pytest.mark.parametrize("name", ["1.jpg", "upload/4/cb0618f6-1.jpg"])
def test_two_that_may_be_meant(name: str) -> None:
    with pytest.raises(UserError, match=rf"results: '{name}' may be 'a/1.jpg' or 'b/1.jpg'"):
        ResultNames(POOL).find(name, "results")


def test_the_longer_of_two_that_fit() -> None:
    assert ResultNames(["1.jpg", "a/1.jpg"]).find("x/a/1.jpg", "results") == 1
    assert ResultNames(["1.jpg", "a/1.jpg"]).find("x/1.jpg", "results") == 0
    with pytest.raises(UserError, match=r"may be 'IMG_1.png' or 'IMG 1.png'"):
        ResultNames(["IMG_1.png", "IMG 1.png"]).find("cb0618f6-IMG_(1).png", "results")
    assert ResultNames(["IMG_1.png", "IMG 1.png"]).find("cb0618f6-IMG_1.png", "results") == 0
