"""Puts a workshop together: bundle, sampler, engine, scheduler and store, warmed up."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable, Sequence

import keras

from model.bundle import Bundle, default_bundle_path, load_bundle
from model.sampling import Sampler
from worker.batch_worker import OpenWorkshop
from worker.directory_store import DirectoryStore
from worker.engine import AdvancingSampler, Engine
from worker.image_writer import ServedBundle
from worker.scheduler import Scheduler
from worker.settings import WorkerSettings
from worker.store import open_store
from worker.workshop import Workshop

log = logging.getLogger(__name__)

_CPU_SLOTS = 8
_GPU_SLOTS = 64
_GPU_STEP_COUNTS = (1, 2, 4, 8, 16)


def open_workshop(
    settings: WorkerSettings,
    make_sampler: Callable[[Bundle], AdvancingSampler] = Sampler,
    make_engine: Callable[..., Engine] = Engine,
    make_scheduler: Callable[..., Scheduler] = Scheduler,
) -> OpenWorkshop:
    """Loads the bundle, compiles and measures, and opens the store.

    The parts can be replaced, so that benchmarks measure others in the same worker.

    Raises:
        BundleError: the bundle cannot be served, or none of BOUQUET_BUNDLE_PUBLIC_KEYS has signed it.
        EngineError: the network cannot be run here.
        StoreError: BOUQUET_STORE names no kind of store there is.
    """
    started = time.monotonic()
    store = open_store(settings.store_location)
    bundle = load_bundle(settings.bundle or default_bundle_path(), settings.bundle_public_keys)
    on_gpu = has_accelerator()
    slot_counts = choose_slot_counts(settings.slots, on_gpu)
    engine = make_engine(
        make_sampler(bundle),
        bundle.schedule,
        bundle.image_size,
        slot_counts,
        _GPU_STEP_COUNTS if on_gpu else (1,),
        bundle.class_counts,
        bundle.class_names,
    )
    seconds = engine.warm_up()
    _return_memory()
    scheduler = make_scheduler(engine.slot_counts, engine.step_counts, step_seconds=engine.step_seconds)
    served = ServedBundle(
        bundle.name,
        bundle.content_hash,
        bundle.revision,
        bundle.image_size,
        bundle.class_names,
        bundle.class_counts,
    )
    if isinstance(store, DirectoryStore):
        store.sweep()
    rates = ", ".join(f"{count}: {1000 * step / count:.1f} ms" for count, step in seconds.items())
    log.info("bundle %s (%s) is warm after %.1f s", bundle.name, bundle.revision, time.monotonic() - started)
    log.info("an image and step, by slots taken: %s", rates)
    workshop = Workshop(engine, scheduler, store, served, store_patience=settings.store_seconds)
    return OpenWorkshop(workshop, bundle.description(), bundle.revision)


def _return_memory() -> None:
    """Gives back to the system what compiling took for a while: a tenth of the process, where the C library can."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def choose_slot_counts(slots: int | None, on_gpu: bool) -> Sequence[int]:
    """The batch sizes to compile, for so many slots (None: as many as suit the device).

    On a CPU the powers of two, so that few images do not pay for many; on a GPU one, since only within one compiled
    shape are the bits the same, and a batch costs little more than an image.
    """
    if on_gpu:
        return (slots or _GPU_SLOTS,)
    most = slots or _CPU_SLOTS
    return (*(2**power for power in range(most.bit_length()) if 2**power < most), most)


def has_accelerator() -> bool:
    """Whether the Keras backend computes on a GPU or TPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    import jax

    return bool(jax.default_backend() != "cpu")
