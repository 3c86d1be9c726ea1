"""How far a prediction goes towards the kind of flower that a row is told, and beyond: classifier-free guidance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Self

from model.diffusion import Network

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How strongly a bundle is guided (Ho and Salimans 2022, eq. 6), less strongly in the noisiest images.

    The network's prediction is taken so many times as far from what it predicts for no class at all: 0 is that of no
    class, 1 that of the class; above 1 the flowers are more like their class, clearer, and in the end garish. Colours
    and large shapes are decided where there is hardly any signal yet; as much guidance there as later on makes them all
    alike (Kynkäänniemi et al. 2024, who leave it out there).
    """

    weight: float = 1.0
    early_weight: float = 1.0
    """In images whose signal rate is below ``early_until``."""
    early_until: float = 0.0
    """A signal rate, in [0, 1]; 0: the weight is the same all the way."""

    def __post_init__(self) -> None:
        for name in ("weight", "early_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"guidance: the {name} must not be below 0, got {getattr(self, name)}")
        if not 0.0 <= self.early_until <= 1.0:
            raise ValueError(f"guidance: early_until must be in [0, 1], got {self.early_until}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``6``, or ``6,2.5:0.1`` for 2.5 until a signal rate of 0.1. Raises ValueError that tells the fault."""
        weight, _, early = text.partition(",")
        early_weight, _, until = early.partition(":")
        try:
            return cls(float(weight), float(early_weight), float(until)) if early else cls(float(weight))
        except ValueError as error:
            raise ValueError(
                f"guidance: {text!r} is not WEIGHT or WEIGHT,EARLY:SIGNAL, as in 6,2.5:0.1 ({error})"
            ) from None

    @property
    def changes_nothing(self) -> bool:
        """Whether the network's own prediction for the class is all that is wanted."""
        return self.weight == 1.0 and (self.early_weight == 1.0 or self.early_until == 0.0)

    def to_json(self) -> dict[str, float]:
        """The fields as a JSON object; ``Guidance(**value)`` is the way back."""
        return dataclasses.asdict(self)


def guided(
    network: Callable[[list[Tensor]], Tensor], class_weights: Tensor, signal: Tensor, guidance: Guidance, xp: Any
) -> Network:
    """A network that is told of classes as one that is not, guided by them.

    It calls the network once where the guidance changes nothing, else twice.

    Args:
        network: of noisy images, noise variances and class weights.
        class_weights: [n, classes].
        signal: the rows' signal rates, [n, 1, 1, 1].
        xp: ``keras.ops``, or what else holds the arrays.
    """

    def combined(inputs: list[Tensor]) -> Tensor:
        of_class = network([*inputs, class_weights])
        if guidance.changes_nothing:
            return of_class
        of_none = network([*inputs, 0.0 * class_weights])
        weights = xp.where(signal < guidance.early_until, guidance.early_weight, guidance.weight)
        return of_none + weights * (of_class - of_none)

    return combined
