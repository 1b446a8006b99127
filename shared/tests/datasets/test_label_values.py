"""Which stored value is which class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro_shared.datasets.label_values import LabelValues
from repro_shared.runtime.errors import UserError

PATH = Path("label.png")


def classes(values: LabelValues, *stored: int) -> list[int]:
    return values.classes(np.array([stored], np.uint8), PATH)[0].tolist()


def test_values_are_classes_mapped_or_ignored() -> None:
    assert classes(LabelValues(2), 0, 1, 255) == [0, 1, 255]
    # 255 is ignored unless it is said to be a class.
    assert classes(LabelValues(2, mapped=((255, 1),)), 0, 255) == [0, 1]
    assert classes(LabelValues(2, (7, 255), ((9, 0), (0, 255))), 0, 1, 7, 9, 255) == [
        255, 1, 255, 0, 255,
    ]  # fmt: skip


def test_reduce_zero_is_mmsegs() -> None:
    # mmseg's LoadAnnotations: 0 becomes 255, then all are one less, and 254 becomes 255.
    stored = np.array([[0, 1, 2, 150, 255]], np.uint8)
    reference = stored.copy()
    reference[reference == 0] = 255
    reference = reference - 1
    reference[reference == 254] = 255
    found = LabelValues(150, reduce_zero=True).classes(stored, PATH)
    np.testing.assert_array_equal(found, reference)
    with pytest.raises(UserError, match=r"value 151 \(1 pixels\) is neither a class \(1 to 150\)"):
        classes(LabelValues(150, reduce_zero=True), 151)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 0}, "number of classes must be 1 to 255"),
        ({"num_classes": 256}, "number of classes must be 1 to 255"),
        ({"num_classes": 4, "ignored": (3,)}, "ignore value 3 must be above the classes 0 to 3"),
        ({"num_classes": 4, "ignored": (256,)}, "at most 255"),
        ({"num_classes": 4, "ignored": (4,), "reduce_zero": True}, "above the classes 1 to 4"),
        ({"num_classes": 2, "mapped": ((255, 2),)}, "map 255=2: must be a value 0 to 255, a class"),
        ({"num_classes": 2, "mapped": ((256, 1),)}, "map 256=1"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelValues(**settings)


def test_settings_at_their_default_leave_the_key_alone() -> None:
    assert LabelValues(11, (255, 11, 255)).key() == "classes 11 ignored [11, 255]"
    others = [LabelValues(11, mapped=((99, 1),)), LabelValues(11, reduce_zero=True),
              LabelValues(11, palette=((0, 0, 0),))]  # fmt: skip
    assert len({LabelValues(11).key(), *(each.key() for each in others)}) == 4


def test_colours_are_read_by_the_palette(tmp_path: Path) -> None:
    palette = ((128, 64, 128), (0, 0, 0), (70, 70, 70))
    picture = np.array(palette, np.uint8)[[[2, 0, 1], [1, 1, 0]]]
    Image.fromarray(picture).save(tmp_path / "label.png")
    values = LabelValues(2, (2, 255), palette=palette)
    assert values.read(tmp_path / "label.png").tolist() == [[2, 0, 1], [1, 1, 0]]
    picture[0, 0] = (1, 2, 3)
    Image.fromarray(picture).save(tmp_path / "label.png")
    with pytest.raises(UserError, match=r"colour \(1, 2, 3\) \(1 pixels\) is not in the palette"):
        values.read(tmp_path / "label.png")
