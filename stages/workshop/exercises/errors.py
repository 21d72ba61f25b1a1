"""The errors that a learner meets: what happened, and what to do.

One table for the check of an exercise and for whoever prints it. Types and
keywords are matched, never a whole message: the wording moves between
versions. Needs nothing but Python.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ErrorRow:
    """An error, by its type and a part of its message."""

    type: str
    keyword: str
    met: str
    """What was done."""
    remedy: str
    """What to do instead."""
    stage: str
    """Where it is met, or what it is shown in."""


ROWS = [
    ErrorRow(
        "TypeError",
        "JAX arrays are immutable",
        "item assignment, `x[i] = v`",
        "`x = x.at[i].set(v)`",
        "stages 1, 2",
    ),
    ErrorRow(
        "OverflowError",
        "out of bounds for uint8",
        "a number too large for its dtype; under jit it would wrap without a"
        " word",
        "check it before jit",
        "stage 2, called with 300",
    ),
    ErrorRow(
        "TypeError",
        "Shapes must be 1D sequences of concrete values",
        "a shape that depends on a traced value",
        "make that argument static",
        "stages 3, 4",
    ),
    ErrorRow(
        "TracerIntegerConversionError",
        "The __index__() method was called on traced array",
        "`range(n)` over a traced `n`",
        "make `n` static",
        "stage 4",
    ),
    ErrorRow(
        "TracerBoolConversionError",
        "Attempted boolean conversion of traced array",
        "`if`, `while` or `and` on a traced value",
        "`jnp.where`, `jax.lax.while_loop`, `&`, or make it static",
        "stage 3",
    ),
    ErrorRow(
        "TracerArrayConversionError",
        "The numpy.ndarray conversion method",
        "a NumPy function on a traced value",
        "the `jnp` function of that name",
        "stage 1",
    ),
    ErrorRow(
        "ConcretizationTypeError",
        "Abstract tracer value encountered where concrete value is expected",
        "`float(x)` or `int(x)` of a traced value, or a length that is one",
        "compute with `x` itself, convert it outside jit, make it static, or"
        " give `size=`",
        "stages 3, 5",
    ),
    ErrorRow(
        "NonConcreteBooleanIndexError",
        "boolean indices must be concrete",
        "`x[mask]` under jit: how many it picks depends on their values",
        "`jnp.where(mask, x, y)` keeps the shape; sums take `where=mask`",
        "stage 3",
    ),
    ErrorRow(
        "IndexError",
        "static",
        "a slice, `x[:n]`, whose length depends on a traced value",
        "make `n` static, or keep the shape: `jnp.where`",
        "stage 4",
    ),
    ErrorRow(
        "TypeError",
        "must have __hash__",
        "a traced number of keys, in `jax.random.split(key, n)` say",
        "make `n` static",
        "stage 4",
    ),
    ErrorRow(
        "TypeError",
        "PRNG key",
        "a draw by `jax.random` without a key",
        "a key comes first, a new one for each draw:"
        " `key, subkey = jax.random.split(key)`",
        "notebook 5",
    ),
    ErrorRow(
        "AttributeError",
        "'numpy.ndarray' object has no attribute 'at'",
        "`.at` of an array that is NumPy's",
        "`x = jnp.asarray(x)` first",
        "stage 2",
    ),
    ErrorRow(
        "TypeError",
        "unsupported format string passed to DynamicJaxprTracer",
        "an f-string that formats a traced value",
        "`jax.debug.print`, or print outside jit",
        "stage 3",
    ),
    ErrorRow(
        "ValueError",
        "Non-hashable static arguments are not supported",
        "a list or array as static argument, or one that an outer jit traces",
        "pass a tuple, leave arrays traced; static in the outer jit, too",
        "stages 4, 6",
    ),
    ErrorRow(
        "UnexpectedTracerError",
        "Encountered an unexpected tracer",
        "a traced value left the function that is traced, by `append` say",
        "return it: the body of a scan returns what it records, as second"
        " result",
        "stage 5",
    ),
    ErrorRow(
        "AttributeError",
        "'tuple' object has no attribute",
        "the result of scan used as if it were the states",
        "scan returns two: the last carry, then what was recorded;"
        " `_, states = jax.lax.scan(...)`",
        "stage 5",
    ),
    ErrorRow(
        "TypeError",
        "scan body output must be a pair",
        "a scan whose body returns one thing, or three",
        "return the next carry, then what to record (`None` for nothing)",
        "stage 5",
    ),
    ErrorRow(
        "TypeError",
        "manual axis types do not match",
        "a carry that begins the same on all devices and then differs",
        '`jax.lax.pcast(x, "ring", to="varying")` for the first carry, or'
        " make it from `jax.lax.axis_index`",
        "stage 9",
    ),
    ErrorRow(
        "TypeError",
        "carry input and carry output must have",
        "a carry that changes its dtype, shape or structure",
        "`.astype` it back; what the body returns first is the next carry",
        "stage 5",
    ),
    ErrorRow(
        "ValueError",
        "vmap in_axes must be an int, None, or a tuple",
        "keywords where `in_axes` speaks of positions",
        "pass mapped arguments by position",
        "stage 6",
    ),
    ErrorRow(
        "ValueError",
        "vmap was requested to map its argument along axis 0",
        "a mapped argument that has no such axis",
        "`None` for it in `in_axes`",
        "stage 6",
    ),
    ErrorRow(
        "TypeError",
        "grad requires real- or complex-valued inputs",
        "a gradient in integers; it is taken in the first argument",
        "begin with floats, and put first what the gradient is for",
        "stage 7",
    ),
    ErrorRow(
        "TypeError",
        "Gradient only defined for scalar-output functions",
        "a gradient of many numbers at once",
        "return one number: the sum or the mean of the errors",
        "stage 7",
    ),
    ErrorRow(
        "ShardingTypeError",
        "sharding",
        "a sharded axis sliced or joined; the axes of `jax.make_mesh` are"
        " explicit by default",
        '`jax.make_mesh((n,), ("ring",), (AxisType.Auto,))`, or do it inside'
        " `jax.shard_map`",
        "stage 9",
    ),
    ErrorRow(
        "JaxRuntimeError",
        "RESOURCE_EXHAUSTED",
        "a device's memory is full; on a GPU the first program takes 75 % of"
        " it at its start, so that a second finds too little",
        "smaller arrays; for two programs on one GPU, set"
        " `XLA_CLIENT_MEM_FRACTION=0.4` before each starts",
        "README",
    ),
    ErrorRow(
        "ModuleNotFoundError",
        "No module named",
        "a Python other than the one in `.venv`",
        "activate `.venv`, or `make stage`",
        "README",
    ),
]


def find_row(error: BaseException) -> ErrorRow | None:
    """The row of an error, by its type or a base of it; None if none fits."""
    names = {kind.__name__ for kind in type(error).__mro__}
    for row in ROWS:
        if row.type in names and row.keyword in str(error):
            return row
    return None
