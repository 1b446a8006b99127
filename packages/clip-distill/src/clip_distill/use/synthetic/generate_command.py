"""`clip-distill generate`: from prompts to class folders of images, by a local pipeline."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from clip_distill.use.prompts import TEMPLATES, class_texts, templates_of
from clip_distill.use.synthetic.attempts import Attempts, Item, Log, items_of, read_logs
from clip_distill.use.synthetic.generate import IMAGES, LOGS, Judge, Maker, missing
from clip_distill.use.synthetic.manifest import account, pack, settle, write_account
from clip_distill.use.synthetic.painters import Painter, Sampling, Scheduler, load_painter
from clip_distill.use.synthetic.prompt_list import (
    CLASSES,
    MANIFEST,
    check_tokens,
    plain,
    read_prompts,
)
from clip_distill.use.teachers import Compute, load_teacher, versions
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.distributed import part_of
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir

NAMED = 5  # failures that are printed; the manifest has all


def generate(
    prompts: str,
    *,
    out: str = "",
    pipeline: str = "",
    adapter: str | None = None,
    scheduler: Scheduler = "lcm",
    steps: int = 6,
    guidance: float = 0.5,
    size: int = 0,
    compute: Compute | None = None,
    copies: int = 1,
    teacher: str | None = None,
    template: tuple[str, ...] = (),
    attempts: int = 10,
    no_teacher_check: bool = False,
    keep_rejected: bool = False,
    batch: int = 8,
    seed: int = 0,
    shard: str = "",
    tar: int = 0,
    plan: bool = False,
    rate: float | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> int | None:
    """Paint prompts with Stable Diffusion 1.5 or XL; goes on where it was interrupted.

    Args:
        prompts: folder of `prompts`, or such a .jsonl file.
        out: folder for images, class names and manifest.
        pipeline: folder of a pipeline of diffusers, with safetensors.
        adapter: LoRA for the pipeline, such as LCM's: a file or its folder.
        scheduler: LCM's, or the pipeline's own.
        steps: of the scheduler.
        guidance: classifier-free; 1 or less is none.
        size: pixels; 0 is the pipeline's own.
        compute: precision; float16 on a GPU and float32 on the CPU unless given.
        copies: images of each prompt.
        teacher: see `cache`; an image is kept if its class is the teacher's first choice.
        template: prompts of the classes for the teacher; the domain's unless given.
        attempts: at an image, until it is given up.
        no_teacher_check: go on with a teacher that accepts no more than guessing would.
        keep_rejected: write rejected images, too, into a folder of their own.
        batch: images of a pass; halved where memory is short.
        seed: of the set; an image's noise depends on it, class, row, copy and attempt.
        shard: i/n makes the i-th of n parts, from 0; under torchrun every process makes its own.
        tar: images of a WebDataset shard, written at the end; 0 writes none.
        plan: print counts, and hours at --rate, and stop.
        rate: images a second of one process, as measured.
        device: cpu or cuda.
    """
    counts = {"--steps": steps, "--copies": copies, "--batch": batch, "--attempts": attempts}
    for flag, value in counts.items():
        require(value >= 1, flag, "at least 1", value)
    for flag, value in (("--size", size), ("--tar", tar)):
        require(value >= 0, flag, "0 or more", value)
    require(rate is None or rate > 0, "--rate", "positive", rate)
    require(guidance >= 0, "--guidance", "0 or more", guidance)
    require(bool(out), "--out", "a folder for the images", "nothing")
    rank, world = part_of(shard)
    found, digest = read_prompts(prompts)
    found = plain(found)
    items = items_of(found, copies)
    mine = items[rank::world]
    folder, sampling = Path(out), Sampling(steps, guidance, size, scheduler)
    if plan:
        _print_plan(folder, items, mine, world, sampling, attempts, rate, pipeline)
        return None
    if template and teacher is None:
        raise UserError("--template is read by --teacher: give both or neither")
    check_device(device)
    compute = compute or ("float16" if device == "cuda" else "float32")
    if device == "cpu" and compute == "float16":
        raise UserError("--compute float16 needs --device cuda; on the CPU take float32")
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    painter = load_painter(pipeline, sampling, adapter, compute, place)
    check_tokens(found, painter.lost, painter.name, painter.context)
    names = {each.folder: each.name for each in found}
    judge = None
    if teacher is not None:
        used = template or _domain_template(prompts)
        judge = _judge(teacher, names, used, prompts, batch, not no_teacher_check, place)
    ensure_output_dir(folder / LOGS)
    planned = _planned(painter, judge, digest, copies, seed)
    settle(folder, planned, names)
    log, began = Log(folder / LOGS / f"{rank}-of-{world}.jsonl"), time.monotonic()
    maker = Maker(folder, painter.paint, seed, attempts, batch, judge, keep_rejected)
    try:
        painted = maker.make(mine, read_logs(folder / LOGS), log)
    finally:
        log.close()
    seconds = time.monotonic() - began
    if painted:
        print(f"{painted} images painted in {seconds:.0f} s: {painted / seconds:.3g} a second")
    return _finish(folder, items, planned, attempts, seed, tar)


def _domain_template(prompts: str) -> tuple[str, ...]:
    """The evaluation template of the domain that the prompts were made for."""
    try:
        given = Path(prompts)
        folder = given.parent if given.is_file() else given
        form = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        domain = str(form["domain"])
    except (OSError, ValueError, KeyError, TypeError):
        domain = ""
    return (domain,) if domain in TEMPLATES else ()


def _judge(
    teacher: str, names: dict[str, str], template: tuple[str, ...], source: str, batch: int,
    check: bool, device: str,
) -> Judge:  # fmt: skip
    frozen = load_teacher(teacher, device)
    texts = class_texts(frozen, list(names.values()), templates_of(template), source)
    return Judge(frozen, texts, tuple(names), batch, check)


def _planned(
    painter: Painter, judge: Judge | None, digest: str, copies: int, seed: int
) -> dict[str, Any]:
    """All that decides the images."""
    return {
        "version": 1,
        "pipeline": painter.form(),
        "filter": None if judge is None else {
            "teacher": judge.teacher.name, "sha256": judge.teacher.sha256,
            "accepted": "first choice among the classes", "templates": list(judge.texts.templates),
        },
        "prompts": digest,
        "copies": copies,
        "seed": seed,
        "versions": versions(["diffusers", "transformers", "peft"]),
    }  # fmt: skip


def _print_plan(
    out: Path, items: Sequence[Item], mine: Sequence[Item], world: int, sampling: Sampling,
    cap: int, rate: float | None, pipeline: str,
) -> None:  # fmt: skip
    known: Attempts = read_logs(out / LOGS) if (out / LOGS).is_dir() else {}
    left = len(missing(out, mine, known, cap))
    tried = sum(map(len, known.values()))
    taken = sum(each.verdict == "accepted" for tries in known.values() for each in tries)
    each = tried / taken if taken else 1.0
    classes = len({item.prompt.folder for item in items})
    print(f"{len(items)} images of {classes} classes, {sampling.passes} passes of the network each")
    part = f"of this process (1 of {world})" if world > 1 else "in all"
    print(f"still to make {part}: {left}")
    if taken:
        print(f"so far {each:.2f} images were painted for one that was accepted")
    if rate:
        print(f"at {rate:g} images a second: {left * each / rate / 3600:.1f} hours a process")
    there = "there" if (Path(pipeline) / "model_index.json").is_file() else "missing"
    print(f"needs the pipeline {pipeline or '(--pipeline)'}: {there if pipeline else 'missing'}")


def _finish(
    out: Path, items: Sequence[Item], planned: dict[str, Any], cap: int, seed: int, tar: int
) -> int:
    """Manifest and shards by whoever finds the set complete; 1 where images are damaged."""
    known = read_logs(out / LOGS)
    if left := missing(out, items, known, cap):
        print(f"{len(items) - len(left)} of {len(items)} images of {out}; other processes make the "
              "rest, and the last one the manifest")  # fmt: skip
        return 0
    form = account(items, known, planned, cap, seed)
    write_account(out, form)
    if tar:
        print(f"written: {pack(out, items, known, tar)} shards of {tar} images at most")
    rate = form["rejection_rate"]
    print(
        f"written: {out / IMAGES}, {form['images']} of {form['wanted']} images of "
        f"{len(form['classes'])} classes; names in {CLASSES}; {form['tried']} painted, "
        f"{rate:.1%} rejected by the filter"
    )
    for each in form["given_up"][:NAMED]:
        print(f"given up: {each['image']}, last {each['last']}, seed {each['seed']}")
    if (more := len(form["given_up"]) - NAMED) > 0:
        print(f"and {more} more, in {MANIFEST}")
    empty = [name for name, mine in form["classes"].items() if not mine["images"]]
    for name in empty:
        print(f"no image of {name}: leave the class out, or raise --attempts")
    damaged = any(each["last"] in ("not finite", "constant") for each in form["given_up"])
    return 1 if damaged or empty else 0
