"""The same in C, compiled when it is asked for, if there is a compiler."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("automaton.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")


@functools.cache
def load() -> ctypes.CDLL:
    """The compiled file. Raises ImportError, with the reason, without one."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise ImportError("there is no C compiler named cc")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = Path(folder, "automaton.so")
        done = subprocess.run(
            [compiler, *FLAGS, SOURCE, "-o", library],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = (done.stderr.splitlines() or ["cc failed"])[0]
            raise ImportError(reason)
        return ctypes.CDLL(str(library))


def simulate(
    rule: int, width: int, num_steps: int, *, only_last: bool = False
) -> np.ndarray:
    """The states, or the words of the last one; width a multiple of 32."""
    last = np.empty(width // 32, np.uint32)
    states = None if only_last else np.empty((num_steps, width), np.uint8)
    pointers = [a.ctypes.data if a is not None else None for a in (last, states)]
    size_t = ctypes.c_size_t
    arguments = size_t(len(last)), size_t(num_steps)
    if load().simulate(rule, *arguments, *map(ctypes.c_void_p, pointers)):
        raise MemoryError(f"no memory for {width} cells")
    return last if only_last else states


def unpack(words: np.ndarray) -> np.ndarray:
    """Cell lane * num_words + word is bit `lane` of that word."""
    lanes = np.arange(32, dtype=np.uint32)[:, None]
    return (words >> lanes & 1).astype(np.uint8).ravel()
