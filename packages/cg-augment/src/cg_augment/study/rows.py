"""The rows of a table, each a recipe: how the student is trained, and where images come from.

What is equal is named with each row. All rows but the first make the same number of steps of the
scored student, in the same phases; rows with a generator add the same number of images. The best of
several has three rows: as many candidates as cost what `stepwise` costs, eight, and as many as cost
what `chain` costs, each cost in passes forward of the diffusion network (`Passes.forwards`).
Helpers (TAB) and generation cost extra and are counted apart: `Distilled.helper_steps`,
`Distilled.helper_seconds` and `Distilled.ledgers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from cg_augment.method import cost
from cg_augment.method.chain import Chain
from cg_augment.method.guided import Engine
from cg_augment.method.losses import FEATURE_WEIGHT
from cg_augment.method.objectives import Objective
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.rivals.adversarial import Adversarial
from cg_augment.rivals.balancing import balanced
from cg_augment.rivals.generating import DiffAug, FromImages, Generator, Guiding, SamplerOf
from cg_augment.study.rounds import Distilled, Place, Plan, distil, distil_balanced
from cg_augment.train import Trained
from cg_augment.use.classifiers import Classifier
from cg_augment.use.distillation import Distillation
from cg_augment.use.grouped import Grouped
from cg_augment.use.pictures import Chosen, Pictures
from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed

LOG = Objective("log")
STEPS = "steps of the student"
IMAGES = "steps of the student and generated images"
PASSES = "steps of the student, generated images and cost of generation"
AS_STEPWISE = f"{PASSES} (stepwise)"
AS_CHAIN = f"{PASSES} (chain)"


@dataclass(frozen=True)
class Way:
    """Where a row's images come from.

    Attributes:
        engine: `Stepwise`, `Chain` or `Select`, from noise; None for the other two ways.
        objective: of the engine; elsewhere it decides which confidences are recorded alone.
        images: starts from training images instead: `sdedit` or `diffaug`.
        strength: of `sdedit`.
    """

    engine: Engine | None = None
    objective: Objective = field(default_factory=lambda: LOG)
    images: Literal["", "sdedit", "diffaug"] = ""
    strength: float = 0.5

    def generator(self, sampler: SamplerOf) -> Generator:
        """With a diffusion model."""
        if self.images == "sdedit":
            return FromImages(sampler, self.strength, self.objective)
        if self.images == "diffaug":
            return DiffAug(sampler, self.objective)
        assert self.engine is not None
        return Guiding(sampler, self.engine, self.objective)


@dataclass(frozen=True)
class Row:
    """One row. Its words are in no key: the same row under another name is the same run.

    Attributes:
        name: in words.
        plan: phases of the training.
        way: of generation; None without.
        sampling: all pictures alike, in balance over guessed groups (TAB), or over true groups of
            a training set that lacks none (the oracle, the only one that reads group labels).
        equal: the budget that is equal to the method's.
    """

    name: str = field(metadata=UNRECORDED)
    plan: Plan
    way: Way | None = None
    sampling: Literal["all", "guessed groups", "true groups"] = "all"
    equal: str = field(default=STEPS, metadata=UNRECORDED)


@dataclass(frozen=True)
class Budget:
    """What the rows of one table have in common.

    Attributes:
        first: steps of the student that images are made for.
        further: steps that follow in each round.
        rounds: how many.
        per_class: images of each class in each round.
        share: of each batch that generated images have then.
        sampler_steps: of the diffusion model, for the number of candidates.
        blind: of these, the first ones that cannot be guided (`Schedule.blind`).
        backward: passes forward of the diffusion network that one backward costs.
        judged: passes forward of it that teacher and student together cost on one image.
        keep: least confidence of the teacher in an image's class.
        side: of the images, where a row starts from training images.
        batch: images of one call of the generator.
    """

    first: int
    further: int
    rounds: int = 1
    per_class: int = 200
    share: float = 0.5
    sampler_steps: int = 25
    blind: int = 0
    backward: float = cost.SMALL_BACKWARD
    judged: float = 0.0
    keep: float = 0.0
    side: int = 32
    batch: int = 64

    def plan(self, base: Distillation, made: bool = False, start: bool = False) -> Plan:
        """Phases of a row that trains like `base`, with generated images or without."""
        share = self.share if made else 0.0
        return Plan(
            replace(base, steps=self.first), replace(base, steps=self.further, generated=share),
            self.rounds, self.per_class if made else 0, self.keep if made else 0.0, self.batch,
            self.side if start else 0,
        )  # fmt: skip

    def candidates(self, engine: Stepwise | Chain) -> int:
        """Of `Select`, for what an image of the engine costs at most, in whole candidates."""
        own, one = (
            cost.of_engine(each, self.sampler_steps, self.blind).forwards(
                self.backward, self.judged
            )
            for each in (engine, Select(1))
        )
        return max(1, round(own / one))


def rows(
    base: Distillation,
    budget: Budget,
    stepwise: Stepwise | None = None,
    chain: Chain | None = None,
) -> tuple[Row, ...]:
    """All rows of a table.

    Args:
        base: how every student is distilled; its steps are replaced by the budget's.
        budget: what the rows share.
        stepwise, chain: the engines' settings. What guided images score without guidance is left
            out here, so that it costs no passes.
    """
    guided, through = stepwise or Stepwise(unguided=False), chain or Chain()
    made = budget.plan(base, made=True)
    begun = budget.plan(base, made=True, start=True)
    few = replace(budget, rounds=0).plan(base)

    def trained(name: str, **changes: object) -> Row:
        return Row(name, budget.plan(replace(base, **changes)))  # type: ignore[arg-type]

    return (
        # The biased student itself, with fewer steps than all others.
        Row("KD", few, equal="none: the student that the method starts from"),
        trained("KD, longer"),
        # Distance of unit features, through a linear map (CLIP-KD's weight).
        trained("feature KD", features=FEATURE_WEIGHT),
        # 2 operations of magnitude 9 (arXiv 1909.13719), before the usual view.
        trained("RandAugment", view=replace(base.view, augment="randaugment")),
        # Weight from Beta(1, 1), the teacher labels the mixed image (arXiv 2106.05237).
        trained("mixup, relabelled", mixing="mixup", alpha=1.0),
        trained("CutMix, relabelled", mixing="cutmix", alpha=1.0),
        # Half of each batch ascends the teacher's loss; no VQGAN (arXiv 2311.01441).
        trained("adversarial images", attack=Adversarial()),
        # Its helper costs the first phase once more.
        Row("TAB", budget.plan(base), sampling="guessed groups"),
        Row("DiffAug", begun, Way(images="diffaug"), equal=IMAGES),
        # As DA-Fusion: strength 0.5, half of each batch.
        Row("SDEdit", begun, Way(images="sdedit"), equal=IMAGES),
        Row("unguided", made, Way(Select(1)), equal=IMAGES),
        *(
            Row(f"best of {count}", made, Way(Select(count)), equal=equal)
            for count, equal in several(budget, guided, through).items()
        ),
        Row("teacher alone", made, Way(guided, replace(LOG, parts="teacher")), equal=AS_STEPWISE),
        Row("student alone", made, Way(guided, replace(LOG, parts="student")), equal=AS_STEPWISE),
        Row("ConfiG, stepwise", made, Way(guided), equal="the method (stepwise)"),
        Row("ConfiG, chain", made, Way(through), equal="the method (chain)"),
        # Trained on real pictures of all groups, in balance: what group labels would give.
        Row("oracle", budget.plan(base), sampling="true groups"),
    )


def several(budget: Budget, stepwise: Stepwise, chain: Chain) -> dict[int, str]:
    """Candidates of each row of the best of several, and what it equals; each number once."""
    found = {1: IMAGES, 8: IMAGES}  # the best of one is the unguided row
    found[budget.candidates(chain)] = AS_CHAIN
    found[budget.candidates(stepwise)] = AS_STEPWISE
    return {count: equal for count, equal in sorted(found.items()) if count > 1}


def run_row(
    row: Row,
    make: Callable[[], Classifier],
    teacher: Classifier,
    pictures: Pictures,
    seed: int,
    sampler: SamplerOf | None = None,
    whole: Grouped | None = None,
    place: Place | None = None,
    begun: Trained | None = None,
) -> Distilled:
    """Train a row's student.

    Args:
        row: which.
        make: the student as it begins, the same at every call.
        teacher: frozen.
        pictures: the training set, without any group label.
        seed: of everything.
        sampler: the diffusion model, for rows with a generator.
        whole: the training set with all groups, which the oracle alone reads.
        place: where.
        begun: the first phase, where another row has made it in the same way: its student goes on.
            Only for rows that see all pictures alike.

    Raises:
        UserError: the row needs a diffusion model, or the oracle the whole set.
    """
    if begun is not None and row.sampling != "all":
        raise ValueError(f"{row.name} sees pictures in its own way from the first phase on")
    if row.sampling == "guessed groups":
        return distil_balanced(make(), make(), teacher, pictures, row.plan, seed, place)
    if row.sampling == "true groups":
        if whole is None:
            raise UserError(f"{row.name} needs the training set with all of its groups")
        chosen = balanced(whole.groups, derive_seed(seed, "balance"))
        pictures = Chosen(whole.pictures, chosen)
    generator = None
    if row.way is not None:
        if sampler is None:
            raise UserError(f"{row.name} needs a diffusion model")
        generator = row.way.generator(sampler)
    student = make() if begun is None else begun.student
    return distil(student, teacher, pictures, row.plan, seed, generator, place, begun)
