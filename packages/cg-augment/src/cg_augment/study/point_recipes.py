"""The study on the exact mixture with students that are trained: arms, table, figure and claims."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cg_augment.method.objectives import Objective
from cg_augment.method.select import Select
from cg_augment.study.generation import Worlds
from cg_augment.study.mixture import Mixture
from cg_augment.study.point_claims import (
    AS_STEPWISE,
    SAMPLED,
    SEVERAL,
    claims,
    named,
    suspended,
)
from cg_augment.study.points import Further, Lesson, begin, go_on
from cg_augment.study.recipes import LOG, ROUNDS, SHARES, STEPS
from repro_shared.evidence.claims import verdict_table
from repro_shared.evidence.figures import caption, line_styles, new_figure
from repro_shared.evidence.statistics import interval
from repro_shared.evidence.tables import Column, Table
from repro_shared.study.paper import Arm, Scale, Study, ids
from repro_shared.study.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = ("unguided", f"best of {AS_STEPWISE}", "best of 8", "stepwise", "chain")  # in the figure


def ways() -> dict[str, Further]:
    """How points are made, by name; lesson and share are filled in by arms."""
    own = Further(Lesson(1), sampling=SAMPLED)
    return {
        "SDEdit": replace(own, engine=Select(1), strength=0.5),
        "unguided": replace(own, engine=Select(1)),
        **{f"best of {k}": replace(own, engine=Select(k)) for k in SEVERAL},
        "stepwise": replace(own, engine=STEPS),
        "stepwise, twice the scale": replace(own, engine=replace(STEPS, scale=2.0)),
        "stepwise, all steps": replace(own, engine=replace(STEPS, share=1.0)),
        "stepwise, not through the network": replace(own, engine=replace(STEPS, jacobian=False)),
        "stepwise, teacher alone": replace(
            own, engine=STEPS, objective=replace(LOG, parts="teacher")
        ),
        "stepwise, student alone": replace(
            own, engine=STEPS, objective=replace(LOG, parts="student")
        ),
        "chain": replace(own, engine=ROUNDS),
        "chain, squares": replace(own, engine=ROUNDS, objective=Objective("pow", 2.0)),
    }


def students_of_the_mixture(scale: Scale) -> Study:
    """What students learn from points of each engine, by how rare the minority is in the pool.

    Cells: none that could be read. Cost: about 3 minutes of a core a seed. Deviations: points and
    not images, a teacher and a diffusion model in closed form; half of each batch is generated;
    the paper's engine could not be read (`chain` is that of its authors' earlier DiG-IN).
    """
    smoke = scale == "smoke"
    first = Lesson(4 if smoke else 1500)
    kd = Arm("KD", first, begin)
    whole = replace(first, steps=2 * first.steps)
    arms = [
        kd,
        Arm("KD, longer", Further(first), go_on, (kd,)),
        Arm("mixup, relabelled", Further(replace(whole, kind="mixup")), go_on),
        Arm("oracle", Further(replace(whole, kind="oracle")), go_on),
    ]
    for share in (0.9,) if smoke else SHARES:
        for name, way in ways().items():
            own = replace(way, lesson=first, share=share)
            own = replace(own, per_class=6, sampling=4) if smoke else own
            arms.append(Arm(named(name, share), own, go_on, (kd,)))
    made = tuple(arms)
    return Study(
        "students_of_the_mixture" + "_smoke" * smoke, scale, Worlds(Mixture()), made, (0,),
        tables=(by_way, *(() if smoke else (verdicts,))),
        figures=() if smoke else (by_share,),
        claims=() if smoke else claims(made),
        suspended=suspended,
    )  # fmt: skip


MEASURES = (
    ("worst-group", Column("worst-group accuracy", "%", 1)),
    ("mean-group", Column("mean-group accuracy", "%", 1)),
    ("minority", Column("points of the minority", "%", 1)),
    ("valid", Column("points the judge believes", "%", 1)),
    ("test-risk", Column("risk in the test", "nats", 3)),
    ("omega", Column("difference of distributions", "nats", 3)),
    ("psi", Column("teacher's fit", "nats", 4)),
    ("forward", Column("network, forward", "", 0)),
    ("backward", Column("network, backward", "", 0)),
    ("generation", Column("generation", "s", 2)),
)


def by_way(results: Results) -> Table:
    """Every arm."""
    arms = results.study.arms
    rows = tuple(
        (arm.name, *(interval(results.values(arm, metric)) for metric, _ in MEASURES))
        for arm in arms
    )
    return Table(
        results.study.name.replace("_", "-"),
        "What students learn in the exact mixture",
        (Column("points"), *(column for _, column in MEASURES)),
        rows,
        (
            "Risk in the test = risk in training + difference of the distributions + the teacher's "
            "fit, with the true conditional in closed form; the training distribution is that of "
            "the points which were drawn from. Equal: steps of the student, and generated points. "
            "The judge believes points that lie in a cluster of their class.",
            *results.notes,
        ),
        ids(arms),
    )


def verdicts(results: Results) -> Table:
    """What follows for each claim."""
    made = verdict_table(
        results.study.claims, results.verdicts, "students-of-the-mixture-verdicts",
        "students_of_the_mixture: verdicts", results.sentence,
    )  # fmt: skip
    note = (
        "The ends of the sweep are controls. The pool without a minority must not support its "
        "claim; of the balanced one neither bound may be contradicted. One that is inconclusive "
        "does not suspend the claims on guidance, and shows less than one that is decided."
    )
    return replace(made, notes=(*made.notes, note))


def by_share(results: Results) -> tuple[str, Figure]:
    """Worst-group accuracy against the share, a line an engine."""
    figure = new_figure()
    axes, styles = figure.add_subplot(), dict[str, Any](line_styles(DRAWN))
    known = {arm.name: arm for arm in results.study.arms}
    for number, name in enumerate(DRAWN):
        places, means = list[float](), list[float]()
        for index, share in enumerate(SHARES):
            values = results.values(known[named(name, share)], "worst-group")
            found, place = interval(values), index + 0.08 * (number - 2)
            if found is None:
                continue
            colour = styles[name]["color"]
            axes.plot([place] * len(values), values, ".", color=colour, markersize=3, alpha=0.5)
            if found.low is not None and found.high is not None:
                axes.plot([place] * 2, [found.low, found.high], color=colour, linewidth=1)
            places.append(place)
            means.append(found.mean)
        if places:
            axes.plot(places, means, **styles[name], markersize=4)
    for name, dashes in (("KD, longer", "--"), ("oracle", ":")):
        found = interval(results.values(known[name], "worst-group"))
        if found is not None:
            axes.axhline(found.mean, color="0.4", linewidth=0.8, linestyle=dashes, label=name)
    axes.set_xticks(range(len(SHARES)), [f"{100 * share:g}" for share in SHARES])
    axes.set_xlabel("points of the generator's pool on their class's side (%)")
    axes.set_ylabel("worst-group accuracy (%)")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7)
    figure.suptitle("Worst-group accuracy by the share of the minority in the generator's pool")
    seeds = " ".join(map(str, results.seeds)) or "none"
    caption(figure, f"Data: {results.sentence}. Seeds {seeds}; means with 95 % t intervals.")
    return "students-of-the-mixture", figure
