"""Strict JAX, checked annotations, two devices: for every test."""

import contextlib
import sys
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from workshop.catalog import find_stages

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Whichever test imports a stage first: its shapes and dtypes are checked.
install_import_hook(
    [path.stem for path in find_stages().values()], "beartype.beartype"
)


@pytest.fixture
def capture_compilations():
    """A context manager that lists what JAX compiles while it is open."""

    @contextlib.contextmanager
    def capture():
        events = []

        def listen(event, duration, **kwargs):
            if event == "/jax/core/compile/backend_compile_duration":
                events.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield events
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return capture
