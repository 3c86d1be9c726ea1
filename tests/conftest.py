"""What every test runs under, set before the first import of a library that reads it."""

import os
import signal

from hypothesis import HealthCheck, settings

# TensorFlow tells of its CPU features and of missing GPUs on standard error; tests read their children's.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A developer's own settings must not leak into the tests, nor into the processes that they start.
for _name in [name for name in os.environ if name.startswith("BOUQUET_")]:
    del os.environ[_name]

# Whoever runs the tests in the background has Ctrl-C ignored, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason to fail; and what CI finds, it finds again.
settings.register_profile(
    "steady", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
