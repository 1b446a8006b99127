"""The regime: common starts, kept outputs, few labels, the screen's rule, and withheld verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from repro_shared.evidence.claims import Claim
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.weights import save_weights
from repro_shared.study.paper import Arm, Study
from repro_shared.study.results import Results, load_results, reported
from repro_shared.study.run import run_missing
from repro_shared.study.session import Session
from seg_kd.cli import PAPER
from seg_kd.rivals.attention import attention_transfer
from seg_kd.rivals.generation import generation
from seg_kd.rivals.presets import NAMED, at_this_size
from seg_kd.study import (
    break_even,
    freeze,
    places,
    regime,
    regime_claims,
    screen,
    settled,
    stages,
)
from seg_kd.study.configs import Student
from seg_kd.study.stages import SCORE, with_best_rate
from seg_kd.train import aside
from seg_kd.use.data import Samples, Scenes, Views
from seg_kd.use.fixed import FixedViews, few_labels
from seg_kd.use.kept import LISTING, Kept, keep
from seg_kd.use.outputs import feature_channels

STUDIES = {name: getattr(regime, name) for name in (
    "rivals_digits", "rivals_camvid", "screen_digits", "screen_camvid",
    "imagenet_student_camvid",
)}  # fmt: skip


def samples(count: int) -> Samples:
    rng = np.random.default_rng(0)
    found = [
        (rng.integers(0, 255, (8, 8, 3), np.uint8), np.full((8, 8), n % 3, np.uint8))
        for n in range(count)
    ]
    return Samples(found, "print", [(8, 8)] * count)


def test_what_is_drawn_aside_leaves_the_stream_as_it_was() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    with aside(torch.device("cpu")):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), wanted)
    assert not torch.equal(inside, wanted)


def test_few_labels_are_the_same_images_whether_the_others_are_hidden_or_left_out() -> None:
    whole = samples(20)
    hidden, left = few_labels(whole, 0.1, hide=True), few_labels(whole, 0.1, hide=False)
    assert (len(hidden), len(left)) == (20, 2)
    shown = [i for i in range(20) if (hidden[i][1] != 255).any()]
    assert len(shown) == 2
    for place, index in enumerate(shown):
        assert np.array_equal(left[place][0], whole[index][0])
        assert np.array_equal(left[place][1], whole[index][1])


class Doubles(torch.nn.Module):
    """Stands in for a network whose backbone gives what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.decode_head: Any = torch.nn.Conv2d(3, 2, 1)
        self.decode_head.in_index = 0

    def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return (inputs,)

    def data_preprocessor(self, batch: Any, training: bool) -> Any:
        return {"inputs": torch.stack(batch["inputs"]).float()}


class Sample(SimpleNamespace):
    def set_metainfo(self, info: dict[str, int]) -> None:
        self.__dict__.update(info)


def as_view(results: dict[str, Any]) -> dict[str, Any]:
    """A picture whose brightness is drawn anew in every view."""
    noise = np.random.randint(0, 9)  # noqa: NPY002
    image = torch.from_numpy(results["img"].transpose(2, 0, 1).copy() // 2 + noise)
    return {"inputs": image, "data_samples": Sample()}


def test_kept_outputs_are_those_of_the_view_that_a_run_sees(tmp_path: Path) -> None:
    views = FixedViews(samples(5), as_view, seed=7, count=3)
    rows = keep(Doubles(), views, ("stages",), tmp_path, "print")
    assert rows == 15
    kept = Kept.read(tmp_path, "print")
    for position in range(12):
        seen = views[position, position % 5]
        row = seen["data_samples"].row
        assert row // 3 == position % 5
        (stage,) = kept.stages([row], torch.device("cpu"))
        assert torch.equal(stage[0], seen["inputs"].float())  # type: ignore[index]
        again = FixedViews(samples(5), as_view, seed=99, count=3, remember=True).at(row)
        assert torch.equal(again["inputs"], seen["inputs"])  # whatever the run
    assert len({views[p, 0]["data_samples"].row for p in range(0, 100, 5)}) == 3
    # The control takes another image's, of the same view.
    (other,) = kept.shifted().stages([1], torch.device("cpu"))
    assert torch.equal(other[0], views.at(2 * 3 + 1)["inputs"].float())  # type: ignore[index]
    with pytest.raises(UserError, match="kept of other images"):
        Kept.read(tmp_path, "another")
    (tmp_path / LISTING).write_text("{")
    with pytest.raises(UserError, match="missing or damaged"):
        Kept.read(tmp_path, "print")


def test_views_of_a_stream_are_unlike_fixed_ones() -> None:
    fresh = Views(samples(2), as_view, 7)
    assert len({int(fresh[p, 0]["inputs"][0, 0, 0]) for p in range(40)}) > 3


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The main comparison on digits, with controls, at the smoke scale."""
    study = regime.rivals_digits("smoke")
    small = Scenes(study.data.scenes, 8, 4)
    moved = {arm.id: arm for arm in study.arms}

    def smaller(arm: Arm) -> Arm:
        data = None if arm.data is None else small
        return replace(arm, data=data, starts_from=tuple(map(smaller, arm.starts_from)))

    study = replace(study, data=small, arms=tuple(map(smaller, moved.values())))
    out = tmp_path_factory.mktemp("out")
    run_missing(Session(PAPER, study, out), (0,), controls=True)
    return load_results(PAPER, study, out)


def test_the_smoke_recipe_runs_all_arms_and_fills_its_tables(ran: Results) -> None:
    assert {r.arm for r in ran.records} == {arm.id for arm in ran.study.arms}
    assert all(record.status == "complete" for record in ran.records)
    made = {table.id: table for table in (make(ran) for make in ran.study.tables)}
    (equal,) = (table for name, table in made.items() if name.startswith("equal-time"))
    assert [row[0] for row in equal.rows[:3]] == ["the warm start", "plain", "logit"]
    assert all(row[3] is not None for row in equal.rows)
    again = ran.values(ran.study.arm("teacher-scored-again"), "miou")
    assert again == ran.values(ran.study.arm("teacher"), "miou")
    for draw in ran.study.figures:
        draw(ran)


def test_arms_start_from_the_warm_start_and_only_it_sees_other_views(ran: Results) -> None:
    for arm in regime_claims.compared(ran.study):
        assert arm.starts_from[0].config.role == "warm start"
        assert arm.config.views == 2
        assert arm.starts_from[0].config.views == 0


def test_the_best_try_gives_the_rate(tmp_path: Path) -> None:
    study = regime.screen_digits("cpu")
    arm = screen.by_objective(study, "screen: ", "compared")["logit"][0]
    tried = [a for a in arm.starts_from if getattr(a.config, "role", "") == "try"]
    assert [t.config.optimiser.learning_rate for t in tried] == list(settled.TRIED)
    starts = []
    for number, each in enumerate(tried):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / SCORE).write_text(f'{{"miou": {[1, 5, 3, 5][number]}}}')
        starts.append(SimpleNamespace(arm=each, folder=tmp_path / str(number)))
    context: Any = SimpleNamespace(starts=starts)
    assert with_best_rate(arm.config, context).optimiser.learning_rate == settled.TRIED[1]
    (tmp_path / "0" / SCORE).unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        with_best_rate(arm.config, context)


def test_a_try_that_diverges_is_the_worst_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(_: Any) -> None:
        raise DivergedError("not finite: attention")

    monkeypatch.setattr(stages, "train", diverges)
    monkeypatch.setattr(stages, "job_of", lambda *_: None)
    arm = screen.by_objective(regime.screen_digits("cpu"), "screen: ", "try")["at"][3]
    context: Any = SimpleNamespace(device="cpu", data=None, starts=(), folder=tmp_path)
    outcome = stages.student(arm.config, context)
    assert (outcome.metrics["miou"], outcome.notes) == (0.0, "not finite: attention")
    assert stages.read_scores(tmp_path / SCORE) == {"miou": 0.0}
    with pytest.raises(DivergedError):
        stages.student(replace(arm.config, role="compared"), context)


def test_what_is_settled_names_all_that_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dict.fromkeys(("plain", "logit", "feature", "feature+logit"), 0.1)
    whole = {"plateau": 1500, "first": ["at"], "canonical": "logit", "rates": {**own, "at": 0.1}}
    monkeypatch.setattr(settled, "FROZEN", {"digits": whole, "camvid": {**whole, "rates": own}})
    assert settled.placeholders("digits") == ()
    assert settled.placeholders("camvid") == ("rates", "rates of the second pair")
    monkeypatch.setattr(settled, "FROZEN", {})
    assert settled.placeholders("digits") == ("plateau", "first", "canonical", "rates")


@pytest.mark.parametrize("make", STUDIES.values(), ids=STUDIES)
def test_every_arm_of_a_comparison_has_what_it_needs(make: Any) -> None:
    study: Study = make("cpu")
    for arm in study.arms:
        config = arm.config
        if isinstance(config, Student) and config.objective.needs_teacher:
            assert any(start.name == "teacher's outputs" for start in arm.starts_from)
    tried = [a for a in study.arms if getattr(a.config, "role", "") == "try"]
    by_name: dict[tuple[str, str], int] = {}
    for arm in tried:
        key = arm.name.partition(":")[0], arm.config.objective.name
        by_name[key] = by_name.get(key, 0) + 1
    assert set(by_name.values()) <= {4}  # the same for every arm


def records_of(study: Study, scores: dict[str, float], seeds: int, bad: str = "") -> Any:
    def of(role: str, count: int) -> dict[str, list[float]]:
        return {
            arm.id: [scores[arm.config.objective.name]] * count
            for arms in screen.by_objective(study, "screen: ", role).values()
            for arm in arms
        }

    values = of("compared", seeds) | of("try", 1)
    values |= {key: [0.0] if "rate" in key else [] for key in values if bad and bad in key}
    return SimpleNamespace(study=study, values=lambda arm, _: values[arm.id])


def test_the_first_three_are_the_best_elaborate_ones_once_all_have_run() -> None:
    study = regime.screen_camvid("cpu")
    scores = dict.fromkeys(("plain", "logit", "feature", "feature+logit"), 10.0)
    scores |= {name: float(i % 5) for i, name in enumerate(regime.ELABORATE)}
    found = screen.first(records_of(study, scores, 10))
    ranked = sorted(regime.ELABORATE, key=lambda name: (-scores[name], name))
    assert found == tuple(ranked[:3])
    assert screen.first(records_of(study, scores, 9)) == ()
    # An objective that diverged at all of its rates is out, and does not hold up the others.
    out = ranked[0]
    left = tuple(name for name in ranked if name != out)
    assert screen.first(records_of(study, scores, 10, f"screen-{out}")) == left[:3]


def test_what_is_settled_follows_from_the_committed_records() -> None:
    assert freeze.settled_by(PAPER, PAPER.results) == settled.FROZEN
    names = {name for first in settled.FIRST.values() for name in first}
    assert names <= NAMED.keys()


def screened(place: str, miou: dict[str, float]) -> Any:
    """Records of a screen in which every arm has run, with scores by the arm's name or 10."""
    study = STUDIES[f"screen_{place}"]("cpu")
    return SimpleNamespace(
        study=study,
        values=lambda arm, _: [miou.get(arm.name, 10.0)] * (1 if arm.seed is not None else 10),
    )


def test_what_freeze_writes_is_read_off_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    tops = {"screen: mgd": 13.0, "screen: at": 12.0, "screen: ifvd": 11.0}
    grow = {f"plain, {n} iterations": v for n, v in ((1500, 7.0), (3000, 9.0), (6000, 9.9))}
    pair = {"pair: logit, rate 0.1": 11.0}
    once = freeze.found(screened("camvid", {**tops, **grow, **pair}))
    assert once["plateau"] == 3000
    assert once["first"] == ["mgd", "at", "ifvd"]
    assert once["pair_rates"]["logit"] == 0.1
    assert once["pair_rates"]["plain"] == settled.TRIED[0]
    assert "rates" not in once  # the three that came first have had no tries yet
    monkeypatch.setattr(regime, "ranked", lambda _: True)
    monkeypatch.setattr(places, "FIRST", dict.fromkeys(settled.PLACES, ("mgd", "at", "ifvd")))
    tries = {"main: feature, rate 0.3": 12.0, "main: logit, rate 0.01": 11.0,
             "main: mgd, rate 0.03": 15.0}  # fmt: skip
    twice = freeze.found(screened("camvid", {**tops, **grow, **tries}))
    assert twice["canonical"] == "feature"
    assert twice["rates"] == {**dict.fromkeys(twice["rates"], 0.01), "feature": 0.3, "mgd": 0.03}
    assert twice["rates"].keys() == {"plain", "logit", "feature", "feature+logit", *twice["first"]}
    assert freeze.found(SimpleNamespace(study=screened("digits", {}).study,
                                        values=lambda *_: [])) == {}  # fmt: skip


def test_adding_the_rivals_tries_leaves_the_rest_of_a_screen_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = regime.screen_camvid("cpu").arms
    monkeypatch.setattr(regime, "ranked", lambda _: True)
    monkeypatch.setattr(places, "FIRST", {"camvid": ("mgd", "at", "ifvd")})
    after = regime.screen_camvid("cpu").arms
    assert set(before) < set(after)
    (last,) = (arm for arm in after if arm.name == "teacher's last map")
    for arm in after:
        reads = arm.name.startswith("main: mgd")
        assert (last in arm.starts_from) == reads


@pytest.mark.parametrize(
    ("scores", "length"),
    [
        ({1: 5.0, 2: 5.5, 4: 9.0}, 1),
        ({1: 5.0, 2: 6.0, 4: 6.9}, 2),
        ({1: 5.0, 2: 6.0, 4: 7.0}, 4),
    ],
)
def test_a_plateau_is_where_twice_the_length_gains_little(
    scores: dict[int, float], length: int
) -> None:
    assert stages.plateau_of(scores) == length


def test_the_student_at_its_plateau_is_taken_over(tmp_path: Path) -> None:
    (arm,) = (a for a in regime.screen_camvid("cpu").arms if a.run is stages.at_plateau)
    starts = []
    for each, score in zip(arm.starts_from, (1.0, 5.0, 5.5, 10.0), strict=True):
        folder = tmp_path / each.id
        folder.mkdir()
        (folder / SCORE).write_text(f'{{"miou": {score}, "iou/sky": {score}, "scored/sky": 1}}')
        (folder / stages.WEIGHTS).write_text(each.id)
        starts.append(SimpleNamespace(arm=each, folder=folder))
    context: Any = SimpleNamespace(starts=starts, folder=tmp_path)
    outcome = arm.run(arm.config, context)
    assert outcome.metrics == {"miou": 5.0, "iou/sky": 5.0, "scored/sky": 1.0}
    assert (tmp_path / stages.WEIGHTS).read_text() == "plain-3000-iterations"

    def closed(place: int, scores: str) -> str:
        before = (starts[place].folder / SCORE).read_text()
        (starts[place].folder / SCORE).write_text(scores)
        with pytest.raises(UserError, match="the gate is closed: ") as caught:
            arm.run(arm.config, context)
        (starts[place].folder / SCORE).write_text(before)
        return str(caught.value)

    assert "the teacher is 4.9 mIoU above" in closed(-1, '{"miou": 9.9}')
    assert "worse than plain training at sky" in closed(
        -1, '{"miou": 20, "iou/sky": 4.9, "scored/sky": 1}'
    )
    assert "still gains 1 mIoU after 6000" in closed(-2, '{"miou": 6.0}')


def test_the_trained_teacher_is_taken_into_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = regime.screen_camvid("smoke")
    arm = regime_claims.teacher(study)
    folder, into = tmp_path / "work" / study.name / arm.id / "seed-0-abc", tmp_path / "into"
    for path in (folder, into):
        path.mkdir(parents=True)
    sha256 = save_weights(stages.untrained(arm.config, 0), folder / stages.WEIGHTS, half=True)
    record = SimpleNamespace(notes=stages.SHA256 + sha256,
                             model_dump=lambda **_: {"notes": stages.SHA256 + sha256})  # fmt: skip
    results: Any = SimpleNamespace(study=study, runs=lambda _: [record])
    assert "weights and record" in freeze.take_teacher(results, tmp_path, into)
    monkeypatch.setattr(stages, "COMMITTED", into)
    taken = stages.shipped(arm.config, places.TEACHER)
    assert (taken.sha256, taken.steps) == (sha256, 0)
    assert stages.committed(taken) is not None
    assert stages.shipped(arm.config, "none") == arm.config
    (folder / stages.WEIGHTS).unlink()
    assert "is there already" in freeze.take_teacher(results, tmp_path, into)
    (into / f"{places.TEACHER}.safetensors").unlink()
    with pytest.raises(UserError, match="teacher's weights are neither below"):
        freeze.take_teacher(results, tmp_path, into)
    results.runs = lambda _: []
    assert "nothing is copied" in freeze.take_teacher(results, tmp_path, into)


def test_freezing_one_place_keeps_the_other_and_forgets_nothing(tmp_path: Path) -> None:
    before = {"camvid": {"plateau": 3000, "first": ["at"]}}
    digits = {"digits": {"plateau": 1500}}
    assert freeze.merged(before, digits, tmp_path) == {**before, **digits}
    more = {"camvid": {"plateau": 1500, "first": ["mgd"], "rates": {}}}
    assert freeze.merged(before, more, tmp_path) == more
    with pytest.raises(UserError, match="camvid: first had been settled, and the records"):
        freeze.merged(before, {"camvid": {"plateau": 3000}}, tmp_path)


@pytest.mark.parametrize(
    "place", [places.camvid("cpu"), places.digits("cpu")], ids=lambda p: p.name
)
def test_weights_do_on_small_maps_what_they_do_on_the_papers(place: places.Place) -> None:
    network = stages.untrained(place.teacher, 0)
    for layer, channels in zip(("c4", "pre-classifier"), place.teacher_channels, strict=True):
        assert feature_channels(network, layer) == channels
    g = torch.Generator().manual_seed(0)

    def error(channels: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (2, channels, height, width)
        teacher = torch.randn(shape, generator=g)
        return teacher + 0.5 * torch.randn(shape, generator=g), teacher

    (small,), (large,) = (o.terms for o in (place.objective("mgd"), NAMED["mgd"]))
    parts = [term.weight * float(generation(*error(c, h, w)))
             for term, (c, h, w) in ((small, (place.teacher_channels[0], *place.grid)),
                                     (large, (64, 64, 128)))]  # fmt: skip
    assert parts[0] == pytest.approx(parts[1] * 2048 / 64, rel=0.03)
    (small,), (large,) = (o.terms for o in (place.objective("at"), NAMED["at"]))
    parts = [term.weight * float(attention_transfer(*error(16, h, w)))
             for term, (h, w) in ((small, place.grid), (large, (64, 128)))]  # fmt: skip
    assert parts[0] == pytest.approx(parts[1], rel=0.2)
    at_head = place.objective("mgd", at_head=True).terms[0]
    assert at_head.weight / place.objective("mgd").terms[0].weight == pytest.approx(
        place.teacher_channels[0] / place.teacher_channels[1]
    )
    assert place.objective("cirkd") == NAMED["cirkd"]
    # The authors' weight for CamVid at 360 x 360 follows the rule.
    crop = at_this_size(NAMED["af-dcd"], {"c4": 2048}, (45, 45))
    assert crop.terms[0].weight == pytest.approx(8e-6, rel=0.02)
    protocol = (PAPER.results / "protocol.md").read_text(encoding="utf-8")
    assert f"{place.objective('at').terms[0].weight:.3g}" in protocol
    assert f"{place.objective('af-dcd').terms[0].weight:.1e}".replace("e-0", "e-") in protocol


def test_the_margin_of_recovery_is_the_distance_of_the_abstracts_cells() -> None:
    cells = {cell.id: cell.value for cell in reported(PAPER)}
    distance = cells["abstract/r101-teacher/miou/cityscapes"] - cells[regime_claims.REPORTED]
    assert pytest.approx(distance) == regime_claims.RECOVERY


def test_break_even_is_read_off_the_rising_curve() -> None:
    points = [(100, 10.0), (200, 20.0), (400, 18.0), (800, 30.0)]
    assert break_even.reaches(points, 5.0) == 100
    assert break_even.reaches(points, 15.0) == pytest.approx(100 * 2**0.5)
    assert break_even.reaches(points, 25.0) == pytest.approx(400 * 2**0.5)
    assert break_even.reaches(points, 31.0) == 800


def test_a_verdict_is_withheld_where_the_teacher_or_the_assay_is_poor(
    ran: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim("s2", "says", (), ran.study.name, "miou", "a", "b", "superiority")
    best = next(r for r in ran.records if r.arm == "teacher-scored-again")
    low = best.model_copy(update={"metrics": {**best.metrics, "miou": -1.0}})
    poor = replace(ran, records=[low, *(r for r in ran.records if r.arm != best.arm)])
    poor.facts = {}
    monkeypatch.setattr(regime_claims, "placeholders", lambda _: ())
    assert "above plain training at its plateau, not 5" in regime_claims.unsound(poor, claim)
    assert regime_claims.unsound(poor, replace(claim, negative_control=True)) == ""
    start = regime_claims.warm(ran.study)
    assert start
    weak = {k: v - 50 if k == "miou" or k.startswith("iou/") else v
            for k, v in ran.runs(start)[0].metrics.items()}  # fmt: skip
    records = [r.model_copy(update={"metrics": weak}) if r.arm == start.id else r
               for r in ran.records]  # fmt: skip
    good = replace(ran, records=records)
    good.facts = {}
    monkeypatch.setattr(regime_claims, "placeholders", lambda _: ("plateau", "rates"))
    assert regime_claims.unsound(good, claim) == "not chosen on tuning data yet: plateau, rates"
    monkeypatch.setattr(regime_claims, "placeholders", lambda _: ())
    assert regime_claims.unsound(good, claim) == ""
    control = replace(claim, id=f"{regime_claims.CONTROL}-digits", rival="c")
    wrong = replace(claim, id=f"{regime_claims.NEGATIVE}-digits", negative_control=True)
    good.study = replace(good.study, claims=(control, wrong))

    def says(positive: str, negative: str) -> str:
        def judged(claims: Any, _: Any) -> Any:
            word = negative if claims[0].negative_control else positive
            return [SimpleNamespace(verdict=word)]

        monkeypatch.setattr(regime_claims, "judge", judged)
        assert regime_claims.unsound(good, wrong) == ""
        return regime_claims.unsound(good, claim)

    assert says("not run", "not run") == "the controls have not been run"
    assert says("supported", "not run") == "the controls have not been run"
    assert "positive control is not supported" in says("inconclusive", "inconclusive")
    assert "negative control is supported" in says("supported", "supported")
    assert says("supported", "inconclusive") == ""
