"""Everything that decides what is trained and how: frozen options and the named presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from model.diffusion import Prediction
from model.guidance import Guidance
from model.schedule import Schedule

Loss = Literal["mae", "mse", "huber"]
Resize = Literal["bilinear", "box", "lanczos"]
Precision = Literal["float32", "mixed_bfloat16"]
OptimizerName = Literal["adamw", "muon"]

MAX_SEED = 2**31 - 1
"""Of a training run: what every part of it, on every backend, takes for a seed."""
CHECKPOINT_SECONDS = 45.0
"""Training time between checkpoints, unless said otherwise: what a kill may cost, with some room for writing."""


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net's shape. The defaults are the network of the Keras DDIM example: 1,953,507 parameters."""

    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels at each resolution, the finest first; the side halves from one to the next."""
    block_depth: int = 2
    """Residual blocks at each resolution, on the way down and again on the way up."""
    embedding_dims: int = 32
    """Channels of the sinusoidal embedding of the noise variance; even."""
    embedding_max_frequency: float = 1000.0
    """The embedding's frequencies are geometric from 1 to this."""
    patch_size: int = 1
    """Pixels a side that make one position of the finest resolution; 2 makes a step some four times cheaper."""
    embed_in_blocks: bool = False
    """Whether every residual block is told the noise level (scale and shift), and not the input alone."""
    attention_levels: int = 0
    """Of the resolutions, so many of the coarsest have self-attention after each residual block."""
    head_width: int = 64
    """Channels of an attention head, at most; a head more for each further 64."""
    prediction: Prediction = "noise"
    """What the network predicts of a noisy image."""
    classes: int = 0
    """Kinds of flower that the network can be told, beside the noise level; 0: it is told none."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.block_depth < 1 or self.patch_size < 1:
            raise ValueError("widths, block_depth and patch_size must be positive, with at least one width")
        if self.embedding_dims < 4 or self.embedding_dims % 2:
            raise ValueError(f"embedding_dims must be even and at least 4, got {self.embedding_dims}")
        if not 0.0 < self.embedding_max_frequency < math.inf:
            raise ValueError(f"embedding_max_frequency must be above 0, got {self.embedding_max_frequency}")
        if not 0 <= self.attention_levels <= len(self.widths) or self.head_width < 1:
            raise ValueError(
                f"attention_levels must be between 0 and {len(self.widths)} and head_width positive, "
                f"got {self.attention_levels} and {self.head_width}"
            )
        for width in self.widths[len(self.widths) - self.attention_levels :]:
            if width % self.heads(width):
                raise ValueError(f"width {width} cannot be shared among {self.heads(width)} attention heads evenly")
        if self.classes < 0 or (self.classes and not self.embed_in_blocks):
            raise ValueError(
                f"classes must not be below 0 and, above it, needs embed_in_blocks, which tells the blocks of them; "
                f"got {self.classes}"
            )
        if self.prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {', '.join(get_args(Prediction))}, got {self.prediction!r}")

    def heads(self, width: int) -> int:
        """Attention heads of so many channels."""
        return max(1, width // self.head_width)

    @property
    def size_multiple(self) -> int:
        """The image side must be a multiple of this, so that every resolution halves evenly."""
        return int(self.patch_size * 2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class Stage:
    """A part of the training at one image size: ``share`` of the whole budget, in (0, 1]."""

    image_size: int
    share: float

    @classmethod
    def parse_all(cls, text: str) -> tuple[Stage, ...]:
        """Stages from ``32:0.6,64:0.4``. Raises ValueError that says what is wrong."""
        stages = []
        for part in text.split(","):
            size, _, share = part.partition(":")
            try:
                stages.append(cls(int(size), float(share)))
            except ValueError:
                raise ValueError(f"stages: {part!r} is not SIZE:SHARE, as in 32:0.6,64:0.4") from None
        return tuple(stages)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the reference recipe (preset ``flowers64``), to the letter."""

    preset: str = "flowers64"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    schedule: Schedule = field(default_factory=Schedule)
    stages: tuple[Stage, ...] = (Stage(64, 1.0),)
    """Image sizes in the order they are trained; the last one is the bundle's. Shares add up to 1."""
    repetitions: int = 5
    """How often an epoch goes through the training photos."""
    batch_size: int = 64
    epochs: int = 80
    loss: Loss = "mae"
    """On what the network predicts."""
    min_snr: float | None = None
    """The most that an error in the predicted image counts for, see ``model.loss``; None counts all output alike."""
    stratified_times: bool = False
    """Whether the diffusion times of a batch are spread evenly over [0, 1], one in each of ``batch_size`` equal parts
    (Kingma et al. 2021, variational diffusion models, I.1), and not each drawn by itself: gradients then vary less."""
    train_time_power: float | None = None
    """``time_power`` of the schedule in training, where that is to be another than in sampling: at which noise levels
    the network learns most. Sampling wants many steps where there is hardly any signal yet; learning wants few photos
    there, and more where detail is made out (Karras et al. 2022, EDM, table 1: the noise distribution)."""
    optimizer: OptimizerName = "adamw"
    """``muon`` steps the matrices between hidden layers by ``model.muon``, and the other weights by AdamW."""
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    decay_share: float = 0.0
    """Share of the budget, at its end, over which the learning rate goes to zero (cosine); 0 keeps it constant."""
    weight_decay: float = 1e-4
    scale_decay: bool = True
    """Whether the learning rate scales the weight decay, as in Keras; the published results were tuned without."""
    ema: float = 0.999
    """Decay a step of the exponential moving average over all weights, batch norm statistics included."""
    second_ema: float | None = None
    """Decay of another such average; at the end the one that does better on the validation photos is kept."""
    ema_warmup: bool = False
    """Whether the average starts short, with decay min(ema, (1 + step) / (10 + step)): early samples mean something."""
    flip: bool = False
    """Whether half of the photos, drawn anew each time, are mirrored left to right."""
    resize: Resize = "bilinear"
    """Antialiased filter by which photos are reduced; ``box`` keeps more detail than the reference's ``bilinear``."""
    precision: Precision = "float32"
    class_drop: float = 0.15
    """Share of the photos whose class the network is not told, so that it learns to do without (Ho and Salimans 2022,
    classifier-free guidance); nothing where the network has no classes."""
    guidance: Guidance = field(default_factory=Guidance)
    """Of the bundle and of the sample grids: trains nothing."""
    seed: int = 0
    """Of the weights, the data order, the noises and the diffusion times."""
    minutes: float | None = None
    """Training time after which the run ends, in place of ``epochs``; None trains all epochs."""
    sample_steps: int = 20
    """Diffusion steps of the sample grids."""

    def __post_init__(self) -> None:
        # Told so that nan, of which every comparison is false, is refused as well.
        if not self.stages or not abs(sum(stage.share for stage in self.stages) - 1.0) <= 1e-6:
            raise ValueError("stages: the shares must add up to 1, as in 32:0.6,64:0.4")
        for stage in self.stages:
            multiple = self.network.size_multiple
            if stage.share <= 0.0 or stage.image_size < multiple or stage.image_size % multiple:
                raise ValueError(
                    f"stages: {stage.image_size}:{stage.share:g} needs a positive share and a size that is "
                    f"a multiple of {multiple} (each of the {len(self.network.widths)} resolutions halves it)"
                )
            self.guidance.check_side(stage.image_size)
        for name in ("repetitions", "batch_size", "epochs", "sample_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be below 0, got {self.warmup_steps}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {self.seed}")
        if self.train_time_power is not None and not 0.0 < self.train_time_power < math.inf:
            raise ValueError(f"train_time_power must be above 0, got {self.train_time_power:g}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate:g}")
        if not 0.0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must not be below 0, got {self.weight_decay:g}")
        for name in ("ema", "second_ema"):
            if (decay := getattr(self, name)) is not None and not 0.0 <= decay < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {decay:g}")
        if self.min_snr is not None and (self.loss == "mae" or not 0.0 < self.min_snr < math.inf):
            raise ValueError(f"min_snr must be above 0 and needs the loss mse or huber, got {self.min_snr:g}")
        if not 0.0 <= self.class_drop <= 1.0:
            raise ValueError(f"class_drop must be in [0, 1], got {self.class_drop:g}")
        if not 0.0 <= self.decay_share <= 1.0:
            raise ValueError(f"decay_share must be in [0, 1], got {self.decay_share:g}")
        if self.minutes is not None and not 0.0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be above 0, got {self.minutes:g}")
        for name, choices in (
            ("loss", Loss),
            ("resize", Resize),
            ("precision", Precision),
            ("optimizer", OptimizerName),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {getattr(self, name)!r}")

    @property
    def image_size(self) -> int:
        """The side of the bundle's images, in pixels."""
        return self.stages[-1].image_size

    def to_json(self) -> dict[str, Any]:
        """The resolved options as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The way back from ``to_json``. Raises TypeError or ValueError for options this version does not know."""
        fields = dict(value)
        fields["network"] = network_from_json(fields["network"])
        fields["guidance"] = Guidance(**fields.get("guidance", {}))
        fields["schedule"] = Schedule(**fields["schedule"])
        fields["stages"] = tuple(Stage(**stage) for stage in fields["stages"])
        return cls(**fields)


_ADDED_LATER = ("attention_levels", "head_width", "prediction", "classes")


def network_to_json(config: NetworkConfig) -> dict[str, Any]:
    """The config as it goes into a bundle's hash; ``network_from_json`` is the way back.

    Options that there were not in the first bundles are left out where they change nothing, so that the same network
    has the same hash whichever version wrote it.
    """
    default = NetworkConfig()
    value = dataclasses.asdict(config)
    return {
        name: setting
        for name, setting in value.items()
        if name not in _ADDED_LATER or setting != getattr(default, name)
    }


def network_from_json(value: dict[str, Any]) -> NetworkConfig:
    """A NetworkConfig from a JSON object; what it does not name is as by default."""
    return NetworkConfig(**{**value, "widths": tuple(value["widths"])})


_PLUS = TrainConfig(
    preset="flowers64-plus",
    network=NetworkConfig(prediction="velocity"),
    schedule=Schedule(max_signal_rate=0.99),
    loss="mse",
    min_snr=5.0,
    warmup_steps=1000,
    decay_share=0.5,
    second_ema=0.9998,
    ema_warmup=True,
    flip=True,
    resize="box",
)

# The last step leaves what noise there is in its input as blur: less of it than in the reference. The first is given
# nothing but noise: what little signal the photos had there in training must not be worth a thing.
_LONG_WAY = Schedule(min_signal_rate=0.005, max_signal_rate=0.998, time_power=2.0, multistep_time_power=1.4)

# Chosen for the network of ``flowers64-patch`` (docs/quality-record.md).
_TOWARDS_DETAIL = Guidance(
    4.0, overstated_noise=1.06, overstated_from=0.6, overstated_until=0.9, coarse_weight=1.2, coarse_cells=8
)

PRESETS: dict[str, TrainConfig] = {
    "flowers64": TrainConfig(),
    "flowers64-patch": TrainConfig(
        preset="flowers64-patch",
        network=NetworkConfig(
            widths=(96, 144, 160, 256),
            patch_size=2,
            embed_in_blocks=True,
            attention_levels=2,
            prediction="velocity",
            classes=102,
        ),
        schedule=_LONG_WAY,
        guidance=_TOWARDS_DETAIL,
        loss="mse",
        stratified_times=True,
        train_time_power=0.8,
        optimizer="muon",
        batch_size=32,
        epochs=40,
        warmup_steps=200,
        decay_share=0.4,
        ema_warmup=True,
        flip=True,
        resize="box",
        precision="mixed_bfloat16",
    ),
    "flowers64-plus": _PLUS,
    "flowers64-xl": dataclasses.replace(
        _PLUS,
        preset="flowers64-xl",
        network=NetworkConfig(
            widths=(48, 112, 192, 256), embed_in_blocks=True, attention_levels=2, prediction="velocity", classes=102
        ),
        schedule=_LONG_WAY,
        guidance=_TOWARDS_DETAIL,
        epochs=160,
        learning_rate=5e-4,
        precision="mixed_bfloat16",
    ),
    "tiny": TrainConfig(
        preset="tiny",
        # 32 embedding dimensions, not fewer: sines then come in whole vectors of 16. A vector that is not full is
        # computed by other code, and an image alone would not have the bits that it has in a batch.
        network=NetworkConfig(widths=(8, 16), block_depth=1),
        stages=(Stage(16, 1.0),),
        repetitions=1,
        batch_size=8,
        epochs=2,
        ema=0.9,
        sample_steps=4,
    ),
}
"""Named recipes: ``flowers64`` is the reference; ``flowers64-plus`` is its network trained in another way, and
``flowers64-xl`` a larger network, for a GPU; ``flowers64-patch`` is for hours of a CPU (a step costs
half more than the reference's); ``tiny`` trains in seconds for tests."""
