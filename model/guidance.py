"""How far a prediction goes towards the kind of flower that a row is told, and beyond: classifier-free guidance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Self

from model.coarse import coarse_part
from model.diffusion import Network, Prediction, images_of, output_for
from model.schedule import Rates

Tensor = Any

GUIDANCE_FORMAT = "WEIGHT[,EARLY:SIGNAL[,NOISE:FROM:UNTIL[,COARSE:CELLS]]]"
"""What ``Guidance.parse`` reads, as command lines show it."""


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How strongly a bundle is guided (Ho and Salimans 2022, eq. 6), less strongly in the noisiest images.

    The network's prediction is taken so many times as far from what it predicts for no class at all: 0 is that of no
    class, 1 that of the class; above 1 the flowers are more like their class, clearer, and in the end garish. Colours
    and large shapes are decided where there is hardly any signal yet; as much guidance there as later on makes them all
    alike (Kynkäänniemi et al. 2024, who leave it out there).

    What is coarse may be guided less than detail, all the way (Sadat et al. 2025, guidance in the frequency domain): so
    much guidance as makes details clear makes large shapes and colours garish, and like one another.

    Where detail is made out, what is led away from may also be a prediction that takes some of the detail for noise:
    told no class, the network is told more noise than there is. (Sadat et al. 2024, time-step guidance, mislead it
    about the time as well; here alone in a part of the way, in one direction, and without a third call.)
    """

    weight: float = 1.0
    early_weight: float = 1.0
    """In images whose signal rate is below ``early_until``."""
    early_until: float = 0.0
    """A signal rate, in [0, 1]; 0: the weight is the same all the way."""
    overstated_noise: float = 1.0
    """How many times the ratio of noise to signal it is told, where the network is told no class; 1: the true one."""
    overstated_from: float = 0.0
    """A signal rate, in [0, 1]: images below it are told the true ratio."""
    overstated_until: float = 1.0
    """A signal rate, in [0, 1]: as are images from it on."""
    coarse_weight: float | None = None
    """In place of ``weight``, for what is coarse; None: that is guided like the rest."""
    coarse_cells: int = 8
    """Of a side, how fine what is coarse may be (``model.coarse``); they must divide the side of the images."""

    def __post_init__(self) -> None:
        for name in ("weight", "early_weight", "coarse_weight"):
            if getattr(self, name) is not None and not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"guidance: the {name} must not be below 0, got {getattr(self, name)}")
        if not 0.0 < self.overstated_noise < math.inf:
            raise ValueError(f"guidance: overstated_noise must be above 0, got {self.overstated_noise}")
        for name in ("early_until", "overstated_from", "overstated_until"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"guidance: {name} must be in [0, 1], got {getattr(self, name)}")
        if self.coarse_cells < 1:
            raise ValueError(f"guidance: coarse_cells must be at least 1, got {self.coarse_cells}")

    def check_side(self, image_size: int) -> None:
        """Raises ValueError where images of that side cannot be guided so."""
        if self.coarse_weight is not None and image_size % self.coarse_cells:
            raise ValueError(
                f"guidance: coarse_cells must divide the side of the images, {image_size} pixels, "
                f"got {self.coarse_cells}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text, as the command line has it.

        ``6``; ``6,2.5:0.1`` for 2.5 until a signal rate of 0.1; ``6,2.5:0.1,1.1:0.6:0.9`` for 1.1 times the noise told
        where no class is, from a signal rate of 0.6 until 0.9, as well; ``6,2.5:0.1,1.1:0.6:0.9,2:8`` for 2 where it is
        coarser than 8 cells a side. Raises ValueError that tells the fault.
        """
        parts = [part.split(":") for part in text.split(",")]
        try:
            if [len(part) for part in parts] != [1, 2, 3, 2][: len(parts)]:
                raise ValueError("one number, then two, then three, then two")
            names = [field.name for field in dataclasses.fields(cls)]
            numbers = dict(zip(names, [number for part in parts for number in part], strict=False))
            values: dict[str, Any] = {
                name: int(number) if name == "coarse_cells" else float(number) for name, number in numbers.items()
            }
            return cls(**values)
        except ValueError as error:
            raise ValueError(
                f"guidance: {text!r} is not {GUIDANCE_FORMAT}, as in 6,2.5:0.1,1.1:0.6:0.9,2:8 ({error})"
            ) from None

    @property
    def changes_nothing(self) -> bool:
        """Whether the network's own prediction for the class is all that is wanted."""
        early_is_plain = self.early_weight == 1.0 or self.early_until == 0.0
        return self.weight == 1.0 and self.coarse_weight in (None, 1.0) and early_is_plain

    @property
    def overstates(self) -> bool:
        """Whether the network is anywhere told more noise than there is, or less."""
        return self.overstated_noise != 1.0 and self.overstated_from < self.overstated_until

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; ``Guidance(**value)`` is the way back.

        What is overstated and what is coarse, which the first bundles did not have, are left out where there is
        nothing, so that the same guidance has the same hash whichever version wrote it.
        """
        told = {"overstated": self.overstates, "coarse": self.coarse_weight is not None}
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if told.get(name.split("_")[0], True)}


def guided(
    network: Callable[[list[Tensor]], Tensor],
    class_weights: Tensor,
    rates: Rates,
    guidance: Guidance,
    prediction: Prediction,
    xp: Any,
) -> Network:
    """A network that is told of classes as one that is not, guided by them.

    It calls the network once where the guidance changes nothing, else twice.

    Args:
        network: of noisy images, noise variances and class weights.
        class_weights: [n, classes].
        rates: of the rows, [n, 1, 1, 1] each.
        prediction: what ``network`` predicts.
        xp: ``keras.ops``, or what else holds the arrays, as long as ``coarse_weight`` is None.
    """

    def combined(inputs: list[Tensor]) -> Tensor:
        of_class = network([*inputs, class_weights])
        if guidance.changes_nothing:
            return of_class
        of_none = told_more_noise(inputs) if guidance.overstates else network([*inputs, 0.0 * class_weights])
        difference = of_class - of_none
        early = rates.signal < guidance.early_until
        towards = of_none + xp.where(early, guidance.early_weight, guidance.weight) * difference
        if guidance.coarse_weight is None:
            return towards
        # The coarse part has been taken at the weight of the rest, and that is put right.
        put_right = xp.where(early, 0.0, guidance.coarse_weight - guidance.weight)
        return towards + put_right * coarse_part(difference, guidance.coarse_cells, xp)

    def told_more_noise(inputs: list[Tensor]) -> Tensor:
        """The output for no class, some rows of which the network made for more noise than they have."""
        noisy_images, noise_variances = inputs
        overstated = (guidance.overstated_from <= rates.signal) & (rates.signal < guidance.overstated_until)
        noise = guidance.overstated_noise * rates.noise
        norm = xp.sqrt(rates.signal * rates.signal + noise * noise)
        told = Rates(rates.signal / norm, noise / norm)
        output = network([noisy_images, xp.where(overstated, told.noise**2, noise_variances), 0.0 * class_weights])
        # What it predicts is about the noise that it was told of; the images that it finds can be compared.
        images = images_of(output, noisy_images, told, prediction)
        return xp.where(overstated, output_for(images, noisy_images, rates, prediction), output)

    return combined
