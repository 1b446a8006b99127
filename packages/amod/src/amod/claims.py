"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claims in our words, on our data. A claim about a router names every variant of its
rival: it holds for "the standard router" only where it holds against all three.
"""

from __future__ import annotations

from amod.baselines import isoflop_layers
from amod.flop_table import reported
from amod.recipes import LINEAR, Recipe, routing_cifar10, routing_digits
from repro_shared.evidence.claims import Claim

SEEDS = (0, 1, 2, 3, 4)


def cells_of(table: str, column: str = "") -> tuple[str, ...]:
    """Ids of A-MoD's accuracy cells of a table of the paper."""
    return tuple(
        cell.id
        for cell in reported()
        if cell.table == table
        and "A-MoD" in f"{cell.row} {cell.column}"
        and cell.unit != "GFLOPs"
        and column in cell.column
    )


def accuracy_claims(recipe: Recipe, tag: str) -> list[Claim]:
    """Conversion, fine-tuning, transfer, from scratch, one ablation: in accuracy points."""
    found = []

    def claim(name: str, statement: str, arm: str, rival: str, metric: str, family: str,
              cells: tuple[str, ...] = (), control: bool = False) -> None:  # fmt: skip
        found.append(
            Claim(
                id=f"{name}-{tag}",
                statement=statement,
                cells=cells,
                recipe=recipe.name,
                metric=metric,
                arm=arm,
                rival=rival,
                kind="superiority",
                seeds=SEEDS,
                family=f"{family}-{tag}" if family else None,
                negative_control=control,
                unit="accuracy points",
            )
        )

    table3 = cells_of("table3", "at 50 %")
    for rival in ("random", "l2norm", "linear"):
        claim(
            f"converted-attention-beats-{rival}",
            f"without training, at half of the tokens, attention keeps more accuracy than {rival}",
            "convert-attention",
            f"convert-{rival}",
            "accuracy/0.5",
            "conversion",
            table3,
        )
    for capacity in recipe.finetuned:
        label = f"{100 * capacity:g} %"
        table1 = cells_of("table1", label)
        ours = f"finetune-attention-{capacity:g}"
        for rival in LINEAR:
            claim(
                f"attention-beats-{rival}-{capacity:g}",
                f"fine-tuned at {label}, attention beats the router {rival}",
                ours,
                f"finetune-{rival}-{capacity:g}",
                "accuracy",
                f"routers-{capacity:g}",
                table1,
            )
        layers = isoflop_layers(recipe.network.shape, capacity)[0]
        for keep in ("first", "even"):
            claim(
                f"attention-beats-isoflop-{keep}-{capacity:g}",
                f"fine-tuned at {label}, attention beats {layers} layers ({keep})",
                ours,
                f"finetune-isoflop-{keep}-{layers}-{capacity:g}",
                "accuracy",
                f"isoflop-{capacity:g}",
                table1,
            )
    least = min(recipe.finetuned)
    if recipe.transfer is not None:
        for rival in LINEAR:
            claim(
                f"transfer-attention-beats-{rival}",
                f"in transfer, accuracy averaged over training is higher than with {rival}",
                f"transfer-attention-{least:g}",
                f"transfer-{rival}-{least:g}",
                "area",
                "transfer",
            )
    if recipe.ablated:
        most = max(recipe.finetuned)
        for rival in LINEAR:
            claim(
                f"scratch-attention-beats-{rival}",
                f"trained from scratch at {100 * most:g} %, attention beats the router {rival}",
                f"scratch-attention-{most:g}",
                f"scratch-{rival}-{most:g}",
                "accuracy",
                "scratch",
                cells_of("table8"),
            )
        claim(
            "no-product-beats-product",
            "not multiplying by the score beats multiplying",
            f"finetune-attention-{recipe.ablated:g}",
            f"finetune-multiplied-{recipe.ablated:g}",
            "accuracy",
            "",
        )
    claim(
        "random-again",
        "random tokens beat other random tokens",
        f"finetune-random-again-{least:g}",
        f"finetune-random-{least:g}",
        "accuracy",
        "",
        control=True,
    )
    return found


def importance_claims(recipe: Recipe, tag: str) -> list[Claim]:
    """Which rankings agree with leave-one-out importance (figure 7), in rank correlation."""
    pairs = [("importance-attention", f"importance-{r}", r) for r in ("random", "l2norm")]
    most = max(recipe.finetuned)
    pairs += [
        (f"finetune-attention-{most:g}", f"finetune-{r}-{most:g}", f"fine-tuned-{r}")
        for r in LINEAR
    ]
    return [
        Claim(
            id=f"importance-attention-beats-{name}-{tag}",
            statement=f"attention ranks tokens more like their importance than {name}",
            cells=(),
            recipe=recipe.name,
            metric="spearman",
            arm=arm,
            rival=rival,
            kind="superiority",
            seeds=SEEDS,
            family=f"importance-{tag}",
            unit="rank correlation",
        )
        for arm, rival, name in pairs
    ]


CLAIMS = {
    recipe.name: (accuracy_claims(recipe, tag), importance_claims(recipe, tag))
    for recipe, tag in ((routing_digits("cpu"), "digits"), (routing_cifar10("cpu"), "cifar10"))
}
"""By recipe: claims in accuracy points, and in rank correlation."""
