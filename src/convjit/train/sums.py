"""Sums over images: what reports and tests are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convjit.layers import Cost

__all__ = ["NO_SUMS", "CostSums", "Sums", "listed"]


@dataclass(frozen=True)
class Sums:
    """Loss and errors of some images, not yet divided by the number of those that count."""

    loss: float = 0.0
    error: float = 0.0
    images: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.loss + other.loss, self.error + other.error, self.images + other.images)

    @property
    def mean_loss(self) -> float:
        """Loss per image."""
        return self.loss / max(self.images, 1)

    @property
    def mean_error(self) -> float:
        """Share of images with an error."""
        return self.error / max(self.images, 1)


NO_SUMS = Sums()


@dataclass(frozen=True)
class CostSums:
    """What a net's reported costs came to over some images, the first one being the net's main cost.

    `values` are the numbers of each cost, its children's added, that add up over images: its columns, then what its
    `rates` are made of. `labelled` is how many of the `images` have a label: costs that go by labels are means over
    these.
    """

    costs: tuple[Cost, ...]
    values: tuple[tuple[float, ...], ...]
    images: int
    labelled: int

    def __add__(self, other: CostSums) -> CostSums:
        pairs = zip(self.values, other.values, strict=True)
        values = tuple(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pairs)
        return CostSums(self.costs, values, self.images + other.images, self.labelled + other.labelled)

    def counted(self, cost: Cost) -> int:
        """How many images a cost is about."""
        return self.labelled if cost.of_labels else self.images

    @property
    def finite(self) -> bool:
        """Whether every cost is a number."""
        return all(math.isfinite(values[0]) for values in self.values)

    @property
    def main(self) -> Sums:
        """Loss and error of the main cost; its loss stands for the error if it has none."""
        cost, values = self.costs[0], self.values[0]
        error = values[cost.columns.index("error") if "error" in cost.columns else 0]
        return Sums(values[0], error, self.counted(cost))

    def means(self) -> dict[str, tuple[float, ...]]:
        """By cost: the mean of every column."""
        pairs = zip(self.costs, self.values, strict=True)
        return {
            cost.name: tuple(v / max(self.counted(cost), 1) for v in values[: len(cost.columns)])
            for cost, values in pairs
        }

    def rates(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """By cost and name: shares for every class, for costs that have some; nan where a class has none."""
        pairs = zip(self.costs, self.values, strict=True)
        found = {cost.name: cost.rates(values) for cost, values in pairs}
        return {name: rates for name, rates in found.items() if rates}

    @property
    def class_rates(self) -> dict[str, tuple[float, ...]]:
        """Those of the first cost that has some."""
        return next(iter(self.rates().values()), {})


def listed(shares: Sequence[float]) -> list[float | None]:
    """Shares for JSON, which has null for none, and no nan."""
    return [None if math.isnan(share) else share for share in shares]
