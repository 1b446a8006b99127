"""What guided images cost in passes of the networks: arithmetic, no run."""

from __future__ import annotations

from cg_augment.method import cost
from repro_shared.evidence.tables import Column, Table
from repro_shared.study.results import Results

STEPS = 20
LAST = 12  # the last 60 % of the steps
COLUMNS = (
    Column("image"),
    Column("network, forward"),
    Column("network, backward"),
    Column("network, times an unguided image", "", 2),
    Column(f"the same, a backward as {cost.SMALL_BACKWARD:g} forwards", "", 2),
    Column("decodes"),
    Column("decodes, backward"),
)


def passes(results: Results) -> Table:
    """Every engine at the settings that its row names."""
    plain = cost.unguided(STEPS)
    found = {
        "unguided": plain,
        "best of 8": cost.select(STEPS, 8),
        f"stepwise, last {LAST} steps": cost.stepwise(STEPS, LAST),
        f"stepwise, last {LAST} steps, not through the network": cost.stepwise(
            STEPS, LAST, jacobian=False
        ),
        "chain, 10 rounds": cost.chain(STEPS, 10, 3),
        "chain, 20 rounds": cost.chain(STEPS, 20, 3),
    }
    return Table(
        "passes",
        "Passes of the networks for one image",
        COLUMNS,
        tuple(
            (
                name,
                own.forward,
                own.backward,
                own.network / plain.network,
                own.forwards() / plain.forwards(),
                own.decodes,
                own.decodes_backward,
            )
            for name, own in found.items()
        ),
        (
            f"{STEPS} steps of the sampler. A pass backward, with respect to the input alone, "
            "counts as one pass, and in the next column as what it costs in the small networks of "
            "the studies; chain computes each step again before its pass backward. One "
            "decode is the decoder with both classifiers.",
        ),
    )
