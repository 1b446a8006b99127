"""`clip-distill prompts`: from class names to prompts, by templates or a local language model."""

from __future__ import annotations

from typing import Any, Literal

from clip_distill.method.covering import Rows, covering_array, pairs_covered, with_rows
from clip_distill.use.prompts import read_names
from clip_distill.use.synthetic.domains import Dimension, Domain, domain_of
from clip_distill.use.synthetic.language_model import ASKED, KEPT, SAMPLING, Asker, load
from clip_distill.use.synthetic.prompt_list import (
    ANSWERS,
    Prompt,
    check_tokens,
    folders_of,
    prompts_of,
    write_prompts,
)
from clip_distill.use.teachers import versions
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir
from repro_shared.runtime.progress import Progress

CONTEXT = 77  # tokens of CLIP's text encoders, special ones included


def prompts(
    classes: str,
    *,
    out: str = "",
    domain: str = "photo",
    options: int = 15,
    rows: int = 0,
    kind: str | None = None,
    language_model: str | None = None,
    attempts: int = 30,
    seed: int = 0,
    plan: bool = False,
    rate: float | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Write prompts in which every two options of two contextual dimensions meet.

    Args:
        classes: file of class names, a name a line, or folder, tab and name.
        out: folder for the prompts; a run that was interrupted goes on there.
        domain: photo, pets, food, flowers, cars, aircraft, textures, or a .json file of your own.
        options: of each dimension; the paper's are 5, 10 and 15.
        rows: prompts of each class; 0 is what the pairs need.
        kind: super-class of all classes, such as dog; without it the language model is asked, or
            the domain's is taken.
        language_model: folder of a causal model of transformers; without it options are built in.
        attempts: answers to one question at most.
        seed: of the order of the prompts and of the model's answers.
        plan: print counts, and hours at --rate, and stop.
        rate: answers a second, as measured.
        device: of the language model: cpu or cuda.
    """
    require(options >= 1, "--options", "at least 1", options)
    require(rows >= 0, "--rows", "0 or more", rows)
    require(attempts >= 1, "--attempts", "at least 1", attempts)
    require(rate is None or rate > 0, "--rate", "positive", rate)
    chosen = domain_of(domain)
    named = folders_of(read_names(classes), classes)
    for dimension in chosen.dimensions:
        if language_model is None or not dimension.question:
            _check_options(chosen, dimension, options)
    levels = [options] * len(chosen.dimensions)
    array = covering_array(levels, seed)
    needed = len(array)
    array = with_rows(array, levels, rows or needed, seed)
    covered, pairs = pairs_covered(array, levels)
    print(
        f"{len(named)} classes x {len(array)} prompts = {len(named) * len(array)}; {options} "
        f"options of {len(levels)} dimensions: {covered} of {pairs} pairs covered, {needed} rows "
        "cover all"
    )
    asks_kind = kind is None and chosen.asks_kind
    questions = _questions(chosen, asks_kind, len(named), options) if language_model else 0
    if language_model:
        print(f"at least {questions} answers of {language_model}")
    if plan:
        if rate and questions:
            print(f"at {rate:g} answers a second: {questions / rate / 3600:.1f} hours")
        return
    require(bool(out), "--out", "a folder for the prompts", "nothing")
    check_device(device)
    folder = ensure_output_dir(out)
    asker = None
    if language_model is not None:
        asker = Asker(load(language_model, device), seed, attempts, folder / ANSWERS)
    made, by_class = _all_prompts(chosen, named, array, options, kind, asker)
    import open_clip

    from clip_distill.use.open_clip_teachers import lost

    tokenizer = open_clip.tokenizer.SimpleTokenizer()  # the vocabulary of SD's text encoders too
    check_tokens(made, lambda text: lost(tokenizer, text, CONTEXT), "CLIP", CONTEXT)
    about: dict[str, Any] = {
        "domain": chosen.name,
        "template": chosen.template,
        "options": options,
        "rows": len(array),
        "pairs": {"covered": covered, "all": pairs},
        "seed": seed,
        "source": "built in" if asker is None else "language model",
        "language_model": None if asker is None else {
            "name": asker.model.name, "sha256": asker.model.sha256, "asked": ASKED, "kept": KEPT,
            **SAMPLING, "versions": versions(["transformers"]),
        },
        "classes": by_class,
    }  # fmt: skip
    write_prompts(folder, made, about)
    print(f"written: {folder}, {len(made)} prompts, such as {made[0].prompt!r}")


def _all_prompts(
    domain: Domain, named: dict[str, str], array: Rows, count: int, kind: str | None,
    asker: Asker | None,
) -> tuple[list[Prompt], dict[str, Any]]:  # fmt: skip
    """Prompts of all classes, and kind and options of each class for the manifest."""
    made, by_class = list[Prompt](), dict[str, Any]()
    with Progress(len(named), "classes") as progress:
        for done, (folder, name) in enumerate(named.items(), start=1):
            close = kind or domain.kind
            if kind is None and domain.asks_kind and asker is not None:
                close = asker.kind(name, domain.kind)
            found = {
                each.name: _options(each, count, name, close, asker) for each in domain.dimensions
            }
            made += prompts_of(folder, name, domain, close, found, array)
            by_class[folder] = {"name": name, "kind": close, "options": found}
            progress.update(done)
    return made, by_class


def _options(
    dimension: Dimension, count: int, name: str, kind: str, asker: Asker | None
) -> tuple[str, ...]:
    if asker is None or not dimension.question:
        return dimension.options[:count]
    return asker.options(dimension.question.format(count=ASKED, name=name, kind=kind), count)


def _questions(domain: Domain, asks_kind: bool, classes: int, options: int) -> int:
    """The least number of answers: five options come of one."""
    asked = [each for each in domain.dimensions if each.question]
    lists = sum(classes if each.by_class else 1 for each in asked)
    return -(-options // KEPT) * lists + (classes if asks_kind else 0)


def _check_options(domain: Domain, dimension: Dimension, options: int) -> None:
    distinct = len({each.casefold() for each in dimension.options})
    if distinct < len(dimension.options):
        raise UserError(f"{domain.name}: {dimension.name} has an option twice")
    if distinct < options:
        raise UserError(
            f"--options {options}: {domain.name} has {distinct} of {dimension.name}; give "
            "--language-model, fewer --options, or a domain of your own"
        )
