"""The generated findings: an answer cannot contradict the verdict that it stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amod.cli import PAPER
from amod.study.flop_table import agreements, computed, reported
from amod.study.readme import QUESTIONS, claim_found, findings, flops_found, oracles_found
from repro_shared.evidence.claims import Claim, Verdict
from repro_shared.study.results import Results, load_results


@pytest.fixture(scope="module")
def studies() -> dict[str, Results]:
    """The committed evidence."""
    names = {"routing_digits": "the digits", "routing_cifar10": "CIFAR-10"}
    made = {study.name: study for _, study in PAPER.every_study()}
    return {where: load_results(PAPER, made[name], PAPER.results) for name, where in names.items()}


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        ("supported", "beats the linear router on the digits and on CIFAR-10.**"),
        ("contradicted", "loses to the linear router on the digits and on CIFAR-10.**"),
        ("inconclusive", "cannot be told apart on the digits and on CIFAR-10.**"),
        (
            "no verdict (n < 5)",
            "no verdict on attention against the linear router on the digits and",
        ),
    ],
)
def test_the_answer_follows_the_verdict(
    verdict: str, answer: str, studies: dict[str, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Results.verdict

    def swapped(self: Results, claim: Claim) -> Verdict:
        return replace(right(self, claim), verdict=verdict)  # type: ignore[arg-type]

    monkeypatch.setattr(Results, "verdict", swapped)
    found = claim_found(studies, *QUESTIONS[0])
    assert answer in found
    assert found.count(f"({verdict})") == 2


def test_every_headline_has_an_answer_with_its_verdict(studies: dict[str, Results]) -> None:
    digits, cifar = studies.values()
    text = "\n".join(findings(digits, cifar))
    headlines = [(r, c) for r in studies.values() for c in r.study.claims if c.headline]
    named = {f"{name}-{tag}" for name, *_ in QUESTIONS for tag in ("digits", "cifar10")}
    assert {claim.id for _, claim in headlines} <= named
    for verdict in ("supported", "contradicted", "inconclusive"):
        expected = sum(r.verdict(claim).verdict == verdict for r, claim in headlines)
        assert text.count(f"({verdict})") == expected


def test_what_has_no_claim_follows_its_interval(studies: dict[str, Results]) -> None:
    (found,) = oracles_found(studies)
    assert found.startswith("**A ranking that knows the labels keeps more.**")
    one = {where: replace(r, records=[x for x in r.records if x.seed == 0])
           for where, r in studies.items()}  # fmt: skip
    assert "does not surely keep more" in oracles_found(one)[0]
    none = {where: replace(r, records=[]) for where, r in studies.items()}
    assert oracles_found(none) == []


def test_all_flop_cells_count() -> None:
    counts = agreements()
    assert sum(counts.values()) == sum(cell.unit == "GFLOPs" for cell in reported())
    assert flops_found(counts).startswith("**Most of the paper's FLOP cells come out.**")
    assert flops_found({"equal": 2}).startswith("**All of")
    assert flops_found({"equal": 1, "differs": 2}).startswith("**Less than half of")
    cells = {cell.id: cell for cell in reported()}
    assert computed(cells["table5/deit-small-a-mod/gflops"]).startswith("3.4200 GMAC")
    assert computed(cells["table9/detr/gflops/coco"]).startswith("not reproduced: DETR")
    assert computed(cells["table3/deit-small-a-mod/top-1-at-50/imagenet-1k"]) == ""
