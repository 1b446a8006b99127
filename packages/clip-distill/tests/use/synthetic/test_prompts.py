"""From class names to prompts: messy answers, caps, checks, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_distill.cli import PAPER
from clip_distill.use.prompts import TEMPLATES
from clip_distill.use.synthetic import language_model
from clip_distill.use.synthetic.answers import kind_in, listed
from clip_distill.use.synthetic.domains import DOMAINS, domain_of
from clip_distill.use.synthetic.language_model import Asker, load
from clip_distill.use.synthetic.prompt_list import Prompt, folders_of, plain, read_prompts
from repro_shared.runtime.errors import UserError
from repro_shared.study.command import main


def run(*words: object) -> int:
    return main(PAPER, [str(word) for word in words])


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Sure! Here are 6 places:\n\n1. In a garden\n2. On a sofa\n\nAnything else?",
         ["in a garden", "on a sofa"]),
        ("1) **In a garden**: dogs love it\n2) “On a sofa” \u2013 cosy\n3) by a window (at home)",
         ["in a garden", "on a sofa", "by a window"]),
        ("- at dawn.\n* At Noon!\n• at night,\n\u2013 AT NIGHT",
         ["at dawn", "at Noon", "at night"]),
        ("1. a garden 2. a beach 3. a wood", ["a garden", "a beach", "a wood"]),
        ("(1) BBQ sauce\n[2] red++\n3: 42\n4. ½ cup", ["BBQ sauce", "red", "1\u20442 cup"]),
        ("1. " + "very " * 11 + "long\n2. short", ["short"]),
        ("I cannot help with that.", []),
        ("", []),
    ],
)  # fmt: skip
def test_lists_as_models_write_them(text: str, items: list[str]) -> None:
    assert listed(text) == items


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Dog", "dog"), ("\n\n1. A **dog**.\nmore", "dog"), ("an ice cream", "ice cream"),
     ("beagle", ""), ("It is a very good boy", ""), ("", ""), ("42", "")],
)  # fmt: skip
def test_a_super_class(text: str, kind: str) -> None:
    assert kind_in(text, "Beagle") == kind


def test_the_domains_are_those_of_the_evaluation() -> None:
    assert set(DOMAINS) == set(TEMPLATES)
    for domain in DOMAINS.values():
        assert len(domain.dimensions) == 4
        assert all(len(set(each.options)) == 15 for each in domain.dimensions)


def test_a_language_model_is_asked_until_there_are_enough(
    speaker_folder: Path, tmp_path: Path
) -> None:
    asker = Asker(load(str(speaker_folder)), 0, 20, tmp_path / "answers.jsonl")
    found = asker.options("Name 6 places.", 7)
    assert len(set(found)) == 7
    assert {"at the **beach**", "on a sofa: cats love it"}.isdisjoint(found)  # cleaned
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert len(lines) > 1
    assert json.loads(lines[0])["answer"].startswith("Sure! Here you are:\n1. ")
    again = Asker(load(str(speaker_folder)), 0, 20, tmp_path / "other.jsonl")
    assert again.options("Name 6 places.", 7) == found  # a function of question and seed
    again.model.model.generate = None  # those that are kept are not asked again
    assert again.options("Name 6 places.", 7) == found
    other = Asker(load(str(speaker_folder)), 1, 20, tmp_path / "answers.jsonl")
    other.options("Name 6 places.", 7)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["seed"] == 1


def test_a_killed_run_asks_only_what_is_missing(speaker_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    found = Asker(load(str(speaker_folder)), 0, 20, file).options("Name 6 places.", 7)
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    file.write_bytes(whole[: first + 40])  # torn in the second line
    assert Asker(load(str(speaker_folder)), 0, 20, file).options("Name 6 places.", 7) == found
    assert file.read_bytes() == whole
    file.write_bytes(b"no JSON\n" + whole)
    with pytest.raises(UserError, match="line 1 is damaged"):
        Asker(load(str(speaker_folder)), 0, 20, file).options("Name 6 places.", 7)


def test_the_cap_and_a_last_item_that_is_cut_off(
    speaker_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(speaker_folder))
    with pytest.raises(UserError, match=r"gave \d of 30 options in 3 answers to 'Name"):
        Asker(model, 0, 3, tmp_path / "a.jsonl").options("Name 6 places.", 30)
    with pytest.raises(UserError, match="lists-1 named no kind of 'beagle' in 2 answers"):
        Asker(model, 0, 2, tmp_path / "a.jsonl").kind("beagle", "pet")
    monkeypatch.setitem(language_model.SAMPLING, "max_new_tokens", 4)
    text, whole = model.answer("Name 6 places.", 0)
    assert not whole
    assert text.startswith("Sure! Here you are:\n1. ")
    assert text.endswith("\n2. ")
    kept = {"model": model.sha256, "seed": 0, "question": "Where?", "attempt": 0,
            "answer": "1. in a garden\n2. on a so", "whole": False}  # fmt: skip
    (tmp_path / "b.jsonl").write_text(json.dumps(kept) + "\n")
    assert Asker(model, 0, 1, tmp_path / "b.jsonl").options("Where?", 1) == ("in a garden",)
    with pytest.raises(UserError, match="gave 1 of 2 options in 1 answers"):
        Asker(model, 0, 1, tmp_path / "b.jsonl").options("Where?", 2)


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load(str(tmp_path / "none"))
    with pytest.raises(UserError, match="no causal language model"):
        load(str(tmp_path))


def test_folders_of_classes() -> None:
    found = folders_of(["F/A-18", "fire engine", "red\tRed Baron"], "f")
    assert found == {"F-A-18": "F/A-18", "fire_engine": "fire engine", "red": "Red Baron"}
    for lines, said in ((["a b", "a_b"], "share the folder"), (["Cat", "cat"], "share the folder"),
                        (["x\t ", "y"], "gives no class"), (["a/b\tc", "d"], "gives no class"),
                        (["cat"], "one class only")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            folders_of(lines, "f")


def test_c11_weights_go_and_names_stay(capsys: pytest.CaptureFixture[str]) -> None:
    given = [Prompt("b", "beagle", 0, "a beagle++++ (dog++, pet), at dawn"),
             Prompt("c", "C++", 0, "a book on C++, in a garden")]  # fmt: skip
    assert [each.prompt for each in plain(given)] == [
        "a beagle dog, pet, at dawn", "a book on C++, in a garden",
    ]  # fmt: skip
    assert capsys.readouterr().err == "weights such as ++ were taken out of 1 of 2 prompts\n"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("# pets\nbeagle\nMaine Coon\n")
    out = tmp_path / "out"
    assert run("prompts", names, "--domain", "pets", "--options", 5, "--out", out) == 0
    assert "2 classes x 25 prompts = 50; 5 options of 4 dimensions: 150 of 150" in (
        capsys.readouterr().out
    )
    prompts, _ = read_prompts(out)
    assert len(prompts) == 50
    assert {each.folder for each in prompts} == {"beagle", "Maine_Coon"}
    assert prompts[0].prompt.startswith("a photo of a beagle, a pet, ")
    assert all(each in prompts[0].prompt for each in prompts[0].properties.values())
    # Both classes stand in the same contexts: a student cannot learn the class from them.
    contexts = [[tuple(each.properties.items()) for each in prompts if each.folder == folder]
                for folder in ("beagle", "Maine_Coon")]  # fmt: skip
    assert contexts[0] == contexts[1]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run("prompts", names, "--domain", "pets", "--options", 5, "--out", out) == 0
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert run("prompts", names, "--domain", "cars", "--options", 5, "--out", out) == 2
    assert "holds other prompts" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert run("prompts", names, "--rows", 30, "--options", 5, "--plan") == 0
    assert "2 classes x 30 prompts = 60" in capsys.readouterr().out
    long = tmp_path / "long.txt"
    long.write_text("beagle\n" + "very " * 70 + "old dog\n")
    assert run("prompts", long, "--options", 5, "--out", tmp_path / "long") == 2
    error = capsys.readouterr().err
    assert "prompts have more than the 77 tokens of CLIP: '" in error
    assert "would be cut from 'a photo of a very" in error
    assert not list((tmp_path / "long").iterdir())


def test_the_command_with_a_language_model_and_a_domain_of_ones_own(
    speaker_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("beagle\nMaine Coon\n")
    domain = tmp_path / "sheds.json"
    form = {"kind": "animal", "template": "a {name}++ {place}, {time}", "dimensions": {
        "place": {"question": "Name {count} places for a {name}."},
        "time": {"options": ["at dawn", "at noon", "at night"]}}}  # fmt: skip
    domain.write_text(json.dumps(form))
    assert not domain_of(str(domain)).dimensions[1].by_class
    command = ["prompts", names, "--domain", domain, "--options", 3, "--language-model",
               speaker_folder]  # fmt: skip
    assert run(*command, "--plan", "--rate", 0.001) == 0
    said = capsys.readouterr().out
    assert "at least 2 answers" in said
    assert "at 0.001 answers a second: 0.6 hours" in said
    out = tmp_path / "out"
    assert run(*command, "--out", out) == 0
    prompts, digest = read_prompts(out)
    assert len(prompts) == 18
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sha256"] == digest
    assert manifest["language_model"]["name"] == "lists-1"
    assert manifest["template"] == "a {name} {place}, {time}"
    assert len(manifest["classes"]["beagle"]["options"]["place"]) == 3
    assert run(*command, "--options", 4, "--out", tmp_path / "more") == 2
    assert "sheds has 3 of time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "a"}, "kind, template and dimensions are needed"),
        ({"kind": "a", "template": "a {name}", "dimensions": {"x": {"options": ["y"]}}},
         "must hold {x}"),
        ({"kind": "a", "template": "a {x}", "dimensions": {"x": {"options": ["y"]}}},
         "needs {name} once"),
        ({"kind": "a", "template": "a {name} {x}", "dimensions": {"x": {"options": "y"}}},
         "options are a list"),
        ({"kind": "a", "template": "a {name:d} {x}", "dimensions": {"x": {"options": ["y"]}}},
         "without a format"),
        ({"kind": "a", "template": "a {name} {x}", "dimensions": {"x": {}}}, "neither options nor"),
        ({"kind": "a", "template": "a {name} {x}", "dimensions": {"x": {"question": "{y}?"}}},
         "the question of x holds"),
        ({"kind": "a", "template": "a {name} {x", "dimensions": {"x": {"options": ["y"]}}}, "{x"),
    ],
)  # fmt: skip
def test_domains_that_are_none(form: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(form))
    with pytest.raises(UserError) as error:
        domain_of(str(path))
    assert said in str(error.value)
    with pytest.raises(UserError, match="give one of photo"):
        domain_of("birds")


def test_prompt_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    good = {"folder": "a", "name": "a", "row": 0, "prompt": "a"}
    other = {**good, "folder": "b", "name": "b"}
    for lines, said in (
        (["{"], "line 1 is no prompt"), ([json.dumps({**good, "row": "0"})], "line 1 is no prompt"),
        ([json.dumps(good)] * 2, "row 0 of a twice"), ([], "no prompts"),
        ([json.dumps(good)], "one class only"),
        ([json.dumps(good), json.dumps({**good, "row": 1, "name": "x"}), json.dumps(other)],
         "a is 'a' and 'x'"),
        ([json.dumps(good), json.dumps({**other, "name": "a"})], "same class name"),
        ([json.dumps(good), json.dumps({**other, "folder": "../b"})], "gives no class"),
    ):  # fmt: skip
        path.write_text("\n".join(lines))
        with pytest.raises(UserError, match=said):
            read_prompts(path)
