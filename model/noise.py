"""From a seed to an image's own starting noise, the same on every machine, library version and batch.

The algorithm, fixed for ever (changing it would change every flower's address; golden tests pin it):

1. Philox4x64-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"), key = (seed, 0), counters from
   (1, 0, 0, 0) upwards, gives four 64-bit words a counter, one word for each value, in row-major order of [height,
   width, channel].
2. The upper 52 bits k of a word give a uniform u = (k + 1/2) / 2**52, exact in float64 and never 0 or 1.
3. The inverse of the normal distribution function at u, algorithm AS 241, PPND16 (Wichura 1988), in float64.
4. Rounded to float32.

Only +, -, *, / and the square root touch the values: IEEE 754 rounds these correctly everywhere, whereas the logarithm
of the C libraries differs in the last bit from one to the next. The logarithm that AS 241 needs in the tails is
therefore computed here, from the same five operations.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from model.slerp import slerp

Float64s = npt.NDArray[np.float64]

MAX_SEED = 2**53 - 1
"""The largest seed: what JSON numbers hold exactly in every language."""

# AS 241, PPND16: numerators and denominators, from the constant term upwards.
_CENTRE = (
    (
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    ),
    (
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)
_NEAR_TAIL = (
    (
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    ),
    (
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)
_FAR_TAIL = (
    (
        6.65790464350110377720e0,
        5.46378491116411436990e0,
        1.78482653991729133580e0,
        2.96560571828504891230e-1,
        2.65321895265761230930e-2,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ),
    (
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)
_LOG_2 = 0.6931471805599453094
_SQRT_HALF = 0.7071067811865475244


def starting_noise(seed: int, image_size: int) -> npt.NDArray[np.float32]:
    """The standard normal noise that the flower of ``seed`` starts from: float32 [image_size, image_size, 3].

    Raises:
        ValueError: the seed is outside 0..2**53 - 1, or the size below 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {seed}")
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    shape = (image_size, image_size, 3)
    key = np.array([seed, 0], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=0).random_raw(image_size * image_size * 3)
    uniforms = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return normal_quantiles(uniforms).astype(np.float32).reshape(shape)


def noise_between(start: int, end: int, part: int, parts: int, image_size: int) -> npt.NDArray[np.float32]:
    """The noise ``part / parts`` of the way from that of seed ``start`` to that of seed ``end``, along the arc.

    float32 [image_size, image_size, 3]; the ends are the seeds' own. Give the fraction in lowest terms: see ``slerp``.

    Raises:
        ValueError: a seed, the part or the size is out of range, or the seeds are equal.
    """
    return slerp(starting_noise(start, image_size), starting_noise(end, image_size), part, parts)


def normal_quantiles(probabilities: Float64s) -> Float64s:
    """The standard normal's quantile function (Wichura 1988, AS 241, PPND16; relative error about 1e-16).

    ``probabilities`` lie strictly between 0 and 1; any shape, the result has the same.
    """
    centred = probabilities - 0.5
    in_centre = np.abs(centred) <= 0.425
    central = 0.180625 - centred * centred
    central_values = centred * _rational(_CENTRE, central)

    # The tails' formula is evaluated where it is used only: elsewhere its argument would be meaningless.
    values = np.where(in_centre, central_values, 0.0)
    tail = ~in_centre
    one_sided = np.where(centred[tail] < 0.0, probabilities[tail], 1.0 - probabilities[tail])
    depth = np.sqrt(-_log(one_sided))
    magnitudes = np.where(depth <= 5.0, _rational(_NEAR_TAIL, depth - 1.6), _rational(_FAR_TAIL, depth - 5.0))
    values[tail] = np.where(centred[tail] < 0.0, -magnitudes, magnitudes)
    return values


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Float64s) -> Float64s:
    """Numerator over denominator, each by Horner's rule."""
    numerator, denominator = (
        functools.reduce(lambda total, coefficient: total * x + coefficient, reversed(terms), np.zeros_like(x))
        for terms in coefficients
    )
    return numerator / denominator


def _log(x: Float64s) -> Float64s:
    """The natural logarithm of positive numbers, from correctly rounded operations alone.

    x = m * 2**e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)), whose series converges as
    0.0295**k.
    """
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    exponent = exponent - small
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = np.zeros_like(x)
    for k in range(23, 0, -2):
        series = series * square + 1.0 / k
    return exponent * _LOG_2 + 2.0 * ratio * series
