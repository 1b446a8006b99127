"""What is generated in the package's README and in results/README.md: verdicts, findings, index.

No sentence in bold is fixed: each follows from a verdict, or says that there is none yet.
"""

from __future__ import annotations

from collections.abc import Mapping

from repro_shared.evidence.claims import Claim
from repro_shared.study.pages import index, short_verdicts
from repro_shared.study.results import Results
from seg_kd.study.regime_claims import data_of

TITLES = {"camvid": "CamVid", "digits": "digit scenes"}
SAYS = {
    "supported": "{claim}",
    "contradicted": "it does not hold that {claim}",
    "inconclusive": "it is not settled whether {claim}",
    "suspended": "no verdict is given on whether {claim}",
}
UNTESTED = "it has not been tested whether {claim}"


def blocks(found: Mapping[str, Results]) -> dict[str, dict[str, str]]:
    """The blocks of each document."""
    claimed = {name: results for name, results in found.items() if results.study.claims}
    return {
        "README.md": {
            "verdicts": short_verdicts(claimed, headlines=True),
            "findings": "\n\n".join(findings(claimed)) + "\n",
        },
        "results/README.md": {"index": index(found)},
    }


def findings(claimed: Mapping[str, Results]) -> list[str]:
    """One finding a paragraph, the answer first; every number comes from the records."""
    said = list[str]()
    for results in claimed.values():
        place = results.place(TITLES[data_of(results.study)])
        if not results.records:
            said.append(f"**On {place} the comparison has not been run.**")
            continue
        said += [judged(results, claim, place) for claim in results.study.claims if claim.headline]
    return said or ["No evidence has been committed yet."]


def judged(results: Results, claim: Claim, place: str) -> str:
    """What the verdict on a claim says, the effect, and why it is withheld."""
    verdict = results.verdict(claim)
    statement = claim.statement.partition(": ")[2] or claim.statement
    words = SAYS.get(verdict.verdict, UNTESTED).format(claim=statement)
    effect = ""
    if verdict.mean is not None:
        ends = "" if verdict.low is None else f" [{verdict.low:+.1f}, {verdict.high:+.1f}]"
        effect = f" The difference is {verdict.mean:+.1f}{ends} {claim.unit}."
    reason = f", since {verdict.reason}" if verdict.reason else ""
    return f"**On {place}, {words}.**{effect} Verdict: {verdict.verdict}{reason}."
