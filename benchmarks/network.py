"""The network, one image and step: in both precisions, against the machine's matrix product and an eager loop."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from benchmarks import report
from benchmarks.eager import eager_steps
from benchmarks.subject import default_bundle, reference_bundle, step_inputs
from benchmarks.timing import interleaved
from model.backend import compile_function
from model.bundle import Bundle
from model.sampling import Sampler

BATCHES = (1, 8, 32)
MATRIX_SIDE = 1024
ROUNDS = 9


def main() -> None:
    """Print a table for the reference network and one for the bundle that ships."""
    for title, make in (("reference network", reference_bundle), ("the bundle that ships", default_bundle)):
        report.heading(f"Network: {title}, ms an image and step ({keras.backend.backend()})")
        rows = []
        for batch in BATCHES:
            rows += _measure(make, batch)
        columns = (
            "precision",
            "batch",
            "ms",
            "GFLOP/s",
            "share of the matrix product's rate",
            "faster than eager float32",
        )
        report.table(columns, rows)


def _measure(make: Callable[[str], Bundle], batch: int) -> list[tuple[object, ...]]:
    arms: dict[str, Callable[[], object]] = {}
    operations = 0
    for precision in ("float32", "mixed_bfloat16"):
        bundle = make(precision)
        images, rates = step_inputs(bundle, batch)
        advance = functools.partial(Sampler(bundle).advance, images, images, rates)
        arms[precision] = functools.partial(_fetch, advance)
        arms[f"product {precision}"] = functools.partial(_fetch, _matrix_product(precision))
        if precision == "float32":
            operations = 2 * batch * _multiplications(bundle)
            arms["eager"] = functools.partial(eager_steps, bundle, images, rates[:, 0])
    seconds = interleaved(arms, ROUNDS)
    rows: list[tuple[object, ...]] = []
    for precision in ("float32", "mixed_bfloat16"):
        rate = operations / seconds[precision]
        product_rate = 2 * MATRIX_SIDE**3 / seconds[f"product {precision}"]
        rows.append(
            (
                precision,
                batch,
                1000 * seconds[precision] / batch,
                rate / 1e9,
                rate / product_rate,
                seconds["eager"] / seconds[precision],
            )
        )
    return rows


def _fetch(compute: Callable[[], tuple[object, ...]]) -> object:
    """Wait for the device by fetching the result."""
    return ops.convert_to_numpy(compute()[0])


def _matrix_product(precision: str) -> Callable[[], tuple[object, ...]]:
    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    values = np.random.default_rng(0).normal(size=(MATRIX_SIDE, MATRIX_SIDE)).astype(np.float32)
    matrix = ops.cast(ops.convert_to_tensor(values), dtype)

    # The sum keeps the fetch small, and costs next to nothing beside the product.
    product = compile_function(lambda a: (ops.sum(ops.cast(ops.matmul(a, a), "float32")),))
    return functools.partial(product, matrix)


def _multiplications(bundle: Bundle) -> int:
    """Multiply-adds of the convolutions for one image and step; all else is small beside them."""
    total = 0
    for layer in bundle.network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(np.prod(layer.kernel.shape))
    return total
