"""Sums over images: what reports and tests are made of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NO_SUMS", "Sums"]


@dataclass(frozen=True)
class Sums:
    """Loss and errors of some images, not yet divided by their number."""

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
