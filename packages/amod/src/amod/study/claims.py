"""What is claimed, written down before the final runs (protocol: results/protocol.md).

The paper's claims in our words, on our data. A claim about a router names every variant of its
rival: it holds for "the standard router" only where it holds against all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amod.rivals.baselines import isoflop_layers
from amod.study.flop_table import reported
from amod.study.recipes import LINEAR, Recipe, routing_cifar10, routing_digits
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


@dataclass(frozen=True)
class Author:
    """Writes the claims of one recipe, each of them that an arm is better than its rival."""

    recipe: Recipe

    def claim(self, name: str, statement: str, arm: str, rival: str, metric: str,
              family: str = "", cells: tuple[str, ...] = (), **others: Any) -> Claim:  # fmt: skip
        """A claim of superiority; ids and families end in the recipe's tag."""
        return Claim(
            id=f"{name}-{self.recipe.tag}",
            statement=statement,
            cells=cells,
            study=self.recipe.name,
            metric=metric,
            arm=arm,
            rival=rival,
            kind="superiority",
            seeds=SEEDS,
            family=f"{family}-{self.recipe.tag}" if family else None,
            **{"unit": "accuracy points", **others},
        )

    def accuracy(self) -> list[Claim]:
        """In accuracy points: conversion, fine-tuning, transfer, from scratch, one ablation."""
        recipe, least = self.recipe, min(self.recipe.finetuned)
        found = self.conversion()
        for capacity in recipe.finetuned:
            found += self.finetuning(capacity)
        if recipe.transfer is not None:
            found += self.transfer(least)
        if recipe.ablated:
            found += self.scratch(max(recipe.finetuned))
            found.append(
                self.claim(
                    "no-product-beats-product",
                    "not multiplying by the score beats multiplying",
                    f"finetune-attention-{recipe.ablated:g}",
                    f"finetune-multiplied-{recipe.ablated:g}",
                    "accuracy",
                )
            )
        control = self.claim(
            "random-again",
            "random tokens beat other random tokens",
            f"finetune-random-again-{least:g}",
            f"finetune-random-{least:g}",
            "accuracy",
            negative_control=True,
        )
        return [*found, control]

    def conversion(self) -> list[Claim]:
        """Right after conversion, at half of the tokens (table 3)."""
        return [
            self.claim(
                f"converted-attention-beats-{rival}",
                "without training, at half of the tokens, attention keeps more accuracy than "
                f"{rival}",
                "convert-attention",
                f"convert-{rival}",
                "accuracy/0.5",
                "conversion",
                cells_of("table3", "at 50 %") if rival == "linear" else (),  # its one router
            )
            for rival in ("random", "l2norm", "linear")
        ]

    def finetuning(self, capacity: float) -> list[Claim]:
        """Against the linear routers and the nearest depth-cut models (table 1)."""
        label = f"{100 * capacity:g} %"
        layers = isoflop_layers(self.recipe.network.shape, capacity)[0]
        rivals = {f"{r}-{capacity:g}": (r, f"the router {r}", "routers") for r in LINEAR} | {
            f"isoflop-{keep}-{layers}-{capacity:g}": (
                f"isoflop-{keep}", f"{layers} layers ({keep})", "isoflop"
            )
            for keep in ("first", "even")
        }  # fmt: skip
        return [
            self.claim(
                f"attention-beats-{name}-{capacity:g}",
                f"fine-tuned at {label}, attention beats {words}",
                f"finetune-attention-{capacity:g}",
                f"finetune-{arm}",
                "accuracy",
                f"{family}-{capacity:g}",
                cells_of("table1", label),
            )
            for arm, (name, words, family) in rivals.items()
        ]

    def transfer(self, capacity: float) -> list[Claim]:
        """How fast other classes are learned (figure 4)."""
        return [
            self.claim(
                f"transfer-attention-beats-{rival}",
                f"in transfer, accuracy averaged over training is higher than with {rival}",
                f"transfer-attention-{capacity:g}",
                f"transfer-{rival}-{capacity:g}",
                "area",
                "transfer",
            )
            for rival in LINEAR
        ]

    def scratch(self, capacity: float) -> list[Claim]:
        """Routed from the first step on (table 8)."""
        return [
            self.claim(
                f"scratch-attention-beats-{rival}",
                f"trained from scratch at {100 * capacity:g} %, attention beats the router {rival}",
                f"scratch-attention-{capacity:g}",
                f"scratch-{rival}-{capacity:g}",
                "accuracy",
                "scratch",
                cells_of("table8"),
            )
            for rival in LINEAR
        ]

    def importance(self) -> list[Claim]:
        """In rank correlation: which rankings agree with leave-one-out importance (figure 7)."""
        most = max(self.recipe.finetuned)
        pairs = [("importance-attention", f"importance-{r}", r) for r in ("random", "l2norm")]
        pairs += [
            (f"finetune-attention-{most:g}", f"finetune-{r}-{most:g}", f"fine-tuned-{r}")
            for r in LINEAR
        ]
        return [
            self.claim(
                f"importance-attention-beats-{name}",
                f"attention ranks tokens more like their importance than {name}",
                arm,
                rival,
                "spearman",
                "importance",
                unit="rank correlation",
            )
            for arm, rival, name in pairs
        ]


CLAIMS = {
    author.recipe.name: {
        "verdicts": author.accuracy(),
        "verdicts-importance": author.importance(),
    }
    for author in (Author(routing_digits("cpu")), Author(routing_cifar10("cpu")))
}
"""By recipe and by table of verdicts, each of one unit."""


def claims_of(recipe: str) -> list[Claim]:
    """All claims of a recipe; none for a tuning."""
    return [claim for group in CLAIMS.get(recipe, {}).values() for claim in group]
