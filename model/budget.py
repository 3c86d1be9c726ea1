"""How far a run has come, and what follows from it: which image size, which learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.config import TrainConfig


@dataclass(frozen=True)
class Budget:
    """A run's length, in minutes of training where the config says so, else in steps.

    ``fraction`` is how much of it is used, from 0 to 1; stages and learning rate depend on that alone, so that a run
    ends well whether time or steps were given.
    """

    config: TrainConfig
    total_steps: int

    def fraction(self, step: int, seconds: float) -> float:
        """Used after ``step`` steps and ``seconds`` seconds of training."""
        if self.config.minutes is None:
            return min(step / self.total_steps, 1.0)
        return min(seconds / (60.0 * self.config.minutes), 1.0)

    def image_size(self, fraction: float) -> int:
        """The image size to train at."""
        end = 0.0
        for stage in self.config.stages:
            end += stage.share
            if fraction < end - 1e-9:
                return stage.image_size
        return self.config.image_size

    def learning_rate(self, step: int, fraction: float) -> float:
        """Linear warm-up, then constant, then a cosine to zero over the last ``decay_share``."""
        rate = self.config.learning_rate
        if step < self.config.warmup_steps:
            rate *= (step + 1) / self.config.warmup_steps
        left = 1.0 - fraction
        if left < self.config.decay_share:
            rate *= 0.5 - 0.5 * math.cos(math.pi * left / self.config.decay_share)
        return rate
