"""Captions say what is drawn; the teacher that comes along is its recipe's and knows classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_distill import METHOD_VERSION
from clip_distill.study import caption_teacher
from clip_distill.study.caption_teacher import CaptionTeacher, TwoTowers
from clip_distill.study.captioned import Captioned
from clip_distill.study.captions import (
    CONTEXT,
    NAMES,
    NUMBERS,
    TRAITS,
    WORDS,
    WordTokenizer,
    captions,
)
from clip_distill.study.contrastive import Contrast, contrast
from clip_distill.study.objects import World, draw, render
from clip_distill.study.recipes import confounded_objects, teacher_training
from clip_distill.study.rendered import Objects
from clip_distill.use.teachers import encode_pixels
from clip_distill.use.zero_shot import similarities
from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file


def test_every_caption_is_in_the_vocabulary_and_says_what_is_drawn() -> None:
    world = World()
    scenes = draw(world, "real", 400, 100)
    texts = captions(scenes, world.classes, 5)
    tokens = WordTokenizer()(texts)
    assert tokens.shape == (400, CONTEXT)
    assert texts == captions(scenes, world.classes, 5) != captions(scenes, world.classes, 6)
    assert len(set(WORDS)) == len(WORDS)
    named = 0
    for text, label, content in zip(texts, scenes.label, scenes.content, strict=True):
        words = set(text.split())
        named += NAMES[label] in words
        assert not words & (set(NAMES) - {NAMES[label]})
        for place, (low, high) in enumerate(TRAITS):
            assert low not in words or content[place] < 0
            assert high not in words or content[place] > 0
    assert 300 < named < 380


def test_the_end_is_the_largest_token_and_unknown_words_are_named() -> None:
    (row,) = WordTokenizer()("a photo of a Baren.").tolist()
    said = [WORDS[token] for token in row if token]
    assert said == ["<start>", "a", "photo", "of", "a", "baren", "<end>"]
    assert max(NUMBERS.values()) == NUMBERS["<end>"]
    with pytest.raises(UserError, match="'zebra' is none that this teacher knows"):
        WordTokenizer()("a photo of a zebra")
    with pytest.raises(UserError, match="24 tokens, of 20 that fit"):
        WordTokenizer()("a " * 22)


def test_the_contrastive_training_learns_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    kinds = np.arange(64) % 4
    pixels = (60 * kinds[:, None, None, None] + g.integers(0, 30, (64, 48, 48, 3))).astype(np.uint8)
    tokens = WordTokenizer()([f"a {NAMES[kind]}" for kind in kinds])[None]
    config = Contrast(12, batch_size=16, warmup=2)

    def run(store: CheckpointStore, steps: int) -> tuple[CaptionTeacher, list[float]]:
        torch.manual_seed(0)
        network = CaptionTeacher(TwoTowers(width=8))
        _, losses = contrast(network, torch.from_numpy(pixels), tokens,
                             config if steps == 12 else Contrast(steps, 16, warmup=2), 0, store,
                             "a", "t")  # fmt: skip
        return network, losses

    whole, losses = run(CheckpointStore(tmp_path / "a"), 12)
    assert losses[-1] < losses[0] - 0.2

    class Broken(CheckpointStore):
        def save(self, step, state):  # type: ignore[no-untyped-def, override]
            super().save(step, state)
            raise KeyboardInterrupt

    import clip_distill.study.contrastive as module

    before, module.CHECKPOINT_SECONDS = module.CHECKPOINT_SECONDS, 0.0
    try:
        with pytest.raises(KeyboardInterrupt):
            run(Broken(tmp_path / "b"), 12)
    finally:
        module.CHECKPOINT_SECONDS = before
    again, resumed = run(CheckpointStore(tmp_path / "b"), 12)
    assert resumed == losses
    for one, two in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_recipe_record_and_weights_belong_together() -> None:
    beside = json.loads(caption_teacher.FILE.with_suffix(".json").read_text())
    record, study = RunRecord.model_validate(beside["record"]), teacher_training("cpu")
    config = study.arms[0].config
    assert record.config == recipe_hash(config)[:12]
    assert beside["config"] == json.loads(json.dumps(resolved_config(config)))
    assert record.origin.data_fingerprint == Captioned().open(None).fingerprint
    assert record.notes == f"weights sha256 {caption_teacher.OBJECTS}"
    assert sha256_file(caption_teacher.FILE) == caption_teacher.OBJECTS
    assert caption_teacher.FILE.stat().st_size < 7e6
    assert record.seed == 0
    assert record.origin.method_version <= METHOD_VERSION


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "objects.safetensors"
    other.write_bytes(caption_teacher.FILE.read_bytes()[:-1])
    monkeypatch.setattr(caption_teacher, "FILE", other)
    with pytest.raises(UserError, match="missing or damaged: restore it, or use --retrain"):
        caption_teacher.committed()


def test_the_teacher_knows_fine_grained_classes_well_and_not_perfectly() -> None:
    world = World()
    opened = Objects(world, "a").open(None)
    for domain in ("real", "synthetic"):
        scenes = draw(world, domain, 360, 100)  # type: ignore[arg-type]
        rows = encode_pixels(opened.teacher, render(world, scenes), 120)
        guess = similarities(rows, opened.texts.vectors).argmax(axis=1)
        assert 60 < 100 * (guess == scenes.label).mean() < 97


def test_a_retrained_teacher_is_another_start_of_every_arm() -> None:
    here = confounded_objects("cpu")
    there = here.retrain(here) if here.retrain else here
    assert there.arms[0].name == "teacher"
    assert all(there.arms[0] in arm.starts_from for arm in there.arms[1:])
    assert [arm.name for arm in there.arms[1:]] == [arm.name for arm in here.arms]
