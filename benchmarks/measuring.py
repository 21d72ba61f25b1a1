"""Measure a row: compare its result, believe nothing, then tell its time."""

import dataclasses
import datetime
import functools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from workshop.compare import explain_difference
from workshop.devices import name_devices, other_devices, start_jax
from workshop.harness import time_call
from workshop.stages import failure, find_stages, load_stage
from workshop.terminal import fail
from workshop.tracing import count_equations

RULE = 110
MIN_CALLS, MAX_CALLS, BUDGET = 3, 100, 0.3
PROBE_BYTES = 2**25


class RefusedError(Exception):
    """A row's result is wrong, or its time cannot be true."""


class Way(NamedTuple):
    """A way in which a program computes states."""

    label: str
    simulate: Callable[..., Any]  # of a rule, or rules, width and num_steps
    to_states: Callable[[Any], np.ndarray] = np.asarray  # this is not timed
    anywhere: bool = False  # whether it runs on any one device that JAX has


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a section."""

    label: str
    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """All seconds, of "first" and "later" calls, or by phase or program."""
    num_cells: int = 0  # of one call, or of one step
    num_equations: int = 0
    remark: str = ""
    """Why there are no samples."""

    def seconds(self, name: str = "later") -> float:
        """The median of the samples of that name."""
        return float(np.median(self.samples[name]))


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage, imported from its file."""

    label: str
    module: ModuleType

    @property
    def is_jitted(self) -> bool:
        """Whether simulate is compiled as a whole."""
        return hasattr(self.module.simulate, "lower")

    @property
    def fails_with(self) -> tuple[type[Exception], str] | None:
        """The type and a keyword of what the stage raises on purpose."""
        return failure(self.module.__doc__)

    def trace(self, width: int, num_steps: int) -> Any:
        """The jaxpr of simulate; of an eager one, all that it asks JAX to do.

        Raises RefusedError if it is compiled and does not take the rule.
        """
        simulate, shape = self.module.simulate, (width, num_steps)
        if not self.is_jitted:
            return jax.make_jaxpr(lambda: simulate(RULE, *shape))().jaxpr
        jaxpr = simulate.trace(RULE, *shape).jaxpr.jaxpr
        used = [v for equation in jaxpr.eqns for v in equation.invars]
        if not any(v in used for v in jaxpr.invars):
            raise RefusedError(
                f"{self.label} is refused: its program does not depend on the"
                " rule, so the answer was computed when it was traced"
            )
        return jaxpr

    @functools.cached_property
    def unrolls(self) -> bool:
        """Whether Python runs the loop, so that JAX sees every iteration."""
        few, many = (count_equations(self.trace(32, n)) for n in (8, 16))
        return many > 1.5 * few


def load_stages(folder: Path) -> list[Stage]:
    """The stages of a folder; ends with one line that names a broken one."""
    stages = []
    for number, path in find_stages(folder).items():
        label = f"{number} {path.stem.partition('_')[2]}"
        try:
            stages.append(Stage(label, load_stage(path)))
            stages[-1].module.simulate  # noqa: B018
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            fail(f"{path.name} cannot be imported: {reason}", status=1)
    return stages


def measure(
    way: Way, inputs: tuple, expected: list[np.ndarray], wait: bool = True
) -> Row:
    """Time the first call, and later ones until BUDGET seconds are spent.

    Raises RefusedError if a result is not what is expected, the first one if
    nothing is yet, or if the time cannot be true.
    """
    jax.clear_caches()
    call = functools.partial(time_call, way.simulate, *inputs, wait=wait)
    result, first = call()
    expected += [] if expected else [way.to_states(result)]
    check_equal(way.label, way.to_states(result), expected[0])
    before, later = result, []
    while len(later) < MIN_CALLS or (
        len(later) < MAX_CALLS and sum(later) < BUDGET
    ):
        del result  # every call finds the same memory free
        result, seconds = call()
        later.append(seconds)
        refuse_the_same(way.label, before, jax.block_until_ready(result))
        before = None
    check_equal(way.label, way.to_states(result), expected[0])
    if wait:
        refuse_the_impossible(way.label, result, float(np.median(later)))
    rules, width, num_steps = inputs
    num_cells = np.size(rules) * width * num_steps
    return Row(way.label, {"first": [first], "later": later}, num_cells)


def refuse_the_same(label: str, before: Any, after: Any) -> None:
    """RefusedError if two calls returned the same memory."""
    for old, new in zip(*map(jax.tree.leaves, (before, after)), strict=False):
        if old is new or (
            not other_devices(new)
            and np.may_share_memory(np.asarray(old), np.asarray(new))
        ):
            raise RefusedError(
                f"{label} is refused: a later call returns the first one's"
                " result again, so a cache would be timed"
            )


def refuse_the_impossible(label: str, result: Any, seconds: float) -> None:
    """RefusedError if what it is written by cannot write it so fast."""
    leaves = jax.tree.leaves(result)
    num_bytes = sum(leaf.nbytes for leaf in leaves)
    write, where, writers = np.full, "one core", num_cores()
    if devices := other_devices(leaves[0]):
        write = jax.jit(jnp.full, static_argnums=(0, 1, 2))
        where, writers = "one device", len(devices)
    write = functools.partial(write, num_bytes, 1, np.uint8)
    floor = min(time_call(write)[1] for _ in range(MIN_CALLS))
    if seconds < floor / writers / 2:  # half, for the noise
        raise RefusedError(
            f"{label} is refused: a call takes {seconds:.1e} seconds, only"
            f" writing its {num_bytes:,} bytes takes {floor:.1e} on {where}"
        )


def accelerator() -> Any:
    """The device that JAX computes on, None if that is a CPU."""
    return next(iter(other_devices(jnp.zeros(1))), None)


def check_equal(label: str, states: Any, expected: np.ndarray) -> None:
    """RefusedError, with the first wrong cell, unless they are equal."""
    difference = explain_difference(states, expected)
    if difference is not None:
        raise RefusedError(f"{label} is wrong: {difference}")


def prepare_jax(device: str | None) -> None:
    """A device for every core, and no results of earlier compilations."""
    jax.config.update("jax_enable_compilation_cache", False)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    start_jax(device)
    jax.block_until_ready(jax.jit(jnp.add)(1, 1))  # starts the devices


def describe_machine() -> str:
    """What the numbers are measured on, in a line."""
    now = datetime.datetime.now().astimezone()
    devices = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
    devices += name_devices(jnp.zeros(1))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{cpu_name()}, {num_cores()} cores, {memory:.0f} GiB in"
        f" {page_size()} pages; Python {platform.python_version()}, jax"
        f" {jax.__version__}, NumPy {np.__version__}; devices {devices};"
        f" {now.isoformat(sep=' ', timespec='minutes')}"
    )


def cpu_name() -> str:
    """The processor's model name, or at least its architecture."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    if sys.platform == "darwin":
        return subprocess.check_output(command, text=True).strip()
    found = find_in("/proc/cpuinfo", r"model name\s*:\s*(.+)")
    return found or platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use; hyperthreads count as cores."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def page_size() -> str:
    """Whether a large result of JAX is in "huge" pages or in "small" ones."""
    usage = "/proc/self/smaps_rollup", r"AnonHugePages:\s*(\d+) kB"
    before = int(find_in(*usage) or 0)
    with jax.default_device(jax.devices("cpu")[0]):
        result = jax.block_until_ready(jnp.ones(PROBE_BYTES, jnp.uint8))
    gained = 1024 * (int(find_in(*usage) or 0) - before)
    return "huge" if gained > result.nbytes / 2 else "small"


def find_in(file: str, pattern: str) -> str | None:
    """What the pattern finds in a file of Linux, None if there is nothing."""
    path = Path(file)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(pattern, text)
    return found and found[1]
