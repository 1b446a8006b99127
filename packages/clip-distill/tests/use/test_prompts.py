"""Prompts: nothing is cut away in silence, weights of other tools go, texts are encoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_distill.use.prompts import (
    captions_of,
    check_lengths,
    chosen_texts,
    class_texts,
    encode_texts,
    read_names,
    templates_of,
    unweighted,
    without_weights,
)
from clip_distill.use.teachers import Teacher
from repro_shared.runtime.errors import UserError


def test_c11_a_long_prompt_is_refused_with_the_words_that_it_would_lose(teacher: Teacher) -> None:
    long = " ".join(["very"] * 100) + " {}"
    with pytest.raises(UserError, match=r"77 tokens of open_clip:tiny: '.*axolotl'"):
        class_texts(teacher, ["axolotl"], [long], "a test")
    exact = " ".join(["very"] * 74)
    check_lengths([f"{exact} cat"], teacher)  # 75 tokens and two special ones
    with pytest.raises(UserError, match="'cat' would be cut"):
        check_lengths([f"{exact} very cat"], teacher)


def test_c11_weights_are_taken_out_once_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["photo of a beagle++++ (dog++, pet), at dawn", "a (small dog)1.3 in C++", "plain"]
    plain = unweighted(texts, "prompt")
    assert plain == ["photo of a beagle dog, pet, at dawn", "a small dog in C", "plain"]
    assert capsys.readouterr().err == ("weights such as ++ were taken out of 2 of 3 prompts\n")
    assert without_weights("a well-known half-timbered house - by night") == (
        "a well-known half-timbered house - by night"
    )
    assert without_weights("a crane (bird), a Boeing 737 (2010)") == (
        "a crane (bird), a Boeing 737 (2010)"
    )


def test_c11_captions_lose_weights_and_long_ones_are_counted(
    teacher: Teacher, capsys: pytest.CaptureFixture[str]
) -> None:
    long = " ".join(["very"] * 90)
    assert captions_of(["a beagle++++", long, long], teacher) == ["a beagle", long, long]
    said = capsys.readouterr().err
    assert "weights such as ++ were taken out of 1 of 3 captions" in said
    assert "2 of 3 captions are cut to 77 tokens" in said


def test_names_come_into_prompts_as_they_are(teacher: Teacher) -> None:
    seen: list[str] = []
    assert teacher.texts is not None
    real = teacher.texts.encode

    def noting(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return real(texts)

    noted = replace(teacher, texts=replace(teacher.texts, encode=noting))
    class_texts(noted, ["C++", "crane (bird)"], ["{}++++ {x}"], "a list")
    assert seen == ["C++ {x}", "crane (bird) {x}"]


def test_one_vector_a_class(teacher: Teacher) -> None:
    found = class_texts(teacher, ["cat", "dog"], ["a photo of a {}.", "a {}"], "a list")
    assert teacher.texts is not None
    with torch.no_grad():
        rows = torch.nn.functional.normalize(
            teacher.texts.encode(["a photo of a cat.", "a cat"]), dim=1
        )
    mean = torch.nn.functional.normalize(rows.mean(0), dim=0)
    assert np.allclose(found.vectors[0], mean.numpy(), atol=1e-6)
    assert str(found) == "2 classes from a list, 2 prompts a class"


def test_each_text_is_encoded_once(teacher: Teacher) -> None:
    seen: list[str] = []
    assert teacher.texts is not None
    real = teacher.texts.encode

    def counting(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return real(texts)

    counted = replace(teacher, texts=replace(teacher.texts, encode=counting))
    rows = encode_texts(counted, ["cat", "dog", "cat", "cat"])
    assert seen == ["cat", "dog"]
    assert np.array_equal(rows[0], rows[3])


def test_refusals(teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'cat' twice"):
        class_texts(teacher, ["cat", "cat"], ["{}"], "a list")
    with pytest.raises(UserError, match="once, where the name goes"):
        class_texts(teacher, ["cat"], ["a photo"], "a list")
    with pytest.raises(UserError, match="no text encoder"):
        class_texts(replace(teacher, texts=None), ["cat"], ["{}"], "a list")
    names = tmp_path / "names.txt"
    names.write_text("# animals\ncat\n\n Dog \n")
    assert read_names(names) == ("cat", "Dog")
    names.write_text("cat\ndog\n", encoding="utf-8-sig")  # as Windows' Notepad writes it
    assert read_names(names) == ("cat", "dog")
    names.write_text("# animals\ncat\n\n Dog \n")
    with pytest.raises(UserError, match="names: 'cat' twice"):
        chosen_texts(class_texts(teacher, ["cat"], ["{}"], "x"), ["cat", "cat"], "it", "names")
    assert templates_of(["pets", "a {}", f"@{names}"])[:2] == (
        "a photo of a {}, a type of pet.", "a {}",
    )  # fmt: skip
    with pytest.raises(UserError, match="--template 'x'"):
        templates_of(["x"])
    with pytest.raises(UserError, match="cannot be read"):
        read_names(tmp_path / "none.txt")
