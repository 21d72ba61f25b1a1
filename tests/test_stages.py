"""Test that stages equal stage 0, add one idea each, and keep their claims.

JAX is strict in all tests, and the shapes in annotations are checked.
"""

import ast
import math
import re
import runpy
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jaxtyping import TypeCheckError

from support import REFERENCE, ROOT, STAGES, WORKING, import_stage, output_of
from workshop.stages import cut_function, diff_lines, stage_before

RUNNING = [n for n in WORKING if n > 0]
COMPILED = [n for n in RUNNING if n > 2]
SHARDED = [n for n in RUNNING if "num_devices" in STAGES[n].read_text("utf-8")]
# (width, num_steps): one cell, primes, widths near 32; few rows and many.
SIZES = [(1, 9), (2, 9), (31, 2), (32, 20), (33, 1), (24, 30)]
SIZES += [tuple(np.random.default_rng(0).integers(34, 99, 2).tolist())]

simulate = REFERENCE.simulate


def assert_equal(states, expected, what=""):
    assert states.dtype == expected.dtype == np.uint8
    np.testing.assert_array_equal(states, expected, err_msg=str(what))


# Equality with stage 0


def test_stage_0_equals_the_definition():
    """Look up each cell on its own."""
    cases = [(rule, 9, 5) for rule in range(256)]
    cases += [(30, 1, 5), (110, 2, 5), (30, 31, 1), (110, 80, 50)]
    for rule, width, num_steps in cases:
        states = simulate(rule, width, num_steps)
        assert (states.dtype, states.shape) == ("uint8", (num_steps, width))
        assert np.flatnonzero(states[0]).tolist() == [width // 2]
        rows = states.tolist()
        for t, cell in np.ndindex(num_steps - 1, width):
            left, right = rows[t][cell - 1], rows[t][(cell + 1) % width]
            entry = 4 * left + 2 * rows[t][cell] + right
            assert rows[t + 1][cell] == rule >> entry & 1


@pytest.mark.parametrize("number", RUNNING)
def test_a_stage_computes_what_stage_0_does(number):
    """Try few rules at many sizes, and many rules at one size."""
    cases = [(rule, size) for size in SIZES for rule in (30, 225)]
    is_slow = number == 2 or number in SHARDED
    cases += [(r, (64, 9)) for r in range(0, 256, 15 if is_slow else 1)]
    for rule, (width, num_steps) in cases:
        states = import_stage(number).simulate(rule, width, num_steps)
        expected = simulate(rule, width, num_steps)
        assert_equal(states, expected, (rule, width, num_steps))
        num_devices = math.gcd(width, 8) if number in SHARDED else 1
        assert len(states.sharding.device_set) == num_devices


@pytest.mark.parametrize("num_devices", [2, 3, 8])
@pytest.mark.parametrize("number", SHARDED)
def test_any_number_of_devices_computes_the_same(number, num_devices):
    """Test shares of one cell, of seven words and of three."""
    for share, num_steps in ((1, 12), (7, 5), (96, 12)):
        size = share * num_devices, num_steps
        states = import_stage(number).simulate(30, *size, num_devices)
        assert_equal(states, simulate(30, *size), size)
        shares = [shard.data.shape for shard in states.addressable_shards]
        assert shares == [(num_steps, share)] * num_devices


@pytest.mark.parametrize("number", RUNNING)
def test_64_bits_strict_promotion_and_no_nans(number):
    with jax.enable_x64(True), jax.debug_nans(True):
        states = import_stage(number).simulate(30, 72, 10)
    assert_equal(states, simulate(30, 72, 10))
    with pytest.raises(TypeCheckError):  # the annotations are checked
        import_stage(number).simulate(110, "7", 5)


@pytest.mark.parametrize("width", [64, 72])
def test_packed_rows_unpacked_are_the_states(width):
    stage, num_lanes = import_stage(8), math.gcd(width, 32)
    packed = stage.simulate_packed(110, width, 20)
    assert (packed.dtype, packed.shape) == ("uint32", (20, width // num_lanes))
    cells = jax.vmap(stage.unpack, in_axes=(0, None))(packed, num_lanes)
    assert_equal(cells.reshape(20, width), simulate(110, width, 20))


# Stage 7


def observe(rules):
    """Return the states that each rule computes from a random row."""
    rules = np.array(rules)[:, None]
    states = [np.random.default_rng(0).integers(0, 2, (len(rules), 32))]
    for _ in range(15):
        states.append(rules >> neighborhoods(states[-1]) & 1)
    return np.stack(states, axis=1).astype(np.uint8)


def neighborhoods(cells):
    """Return the neighborhood of each cell, as a number from 0 to 7."""
    left, right = np.roll(cells, 1, axis=-1), np.roll(cells, -1, axis=-1)
    return 4 * left + 2 * cells + right


def test_rules_are_learned():
    """Check that the loss gets near 0, and that unseen entries stay 0.5."""
    rules = range(0, 256, 17)
    states = observe(rules)
    rule_tables, losses = jax.vmap(import_stage(7).learn_rule)(states)
    for rule, seen, learned in zip(rules, states, rule_tables, strict=True):
        expected = REFERENCE.make_rule_table(rule).ravel() * 1.0
        absent = np.setdiff1d(np.arange(8), neighborhoods(seen[:-1]))
        expected[absent] = 0.5
        np.testing.assert_array_equal(learned.ravel() == 0.5, expected == 0.5)
        np.testing.assert_allclose(learned.ravel(), expected, atol=0.4)
    assert (losses[:, 0] == 0.5**2).all()
    assert (jnp.diff(losses, axis=1) <= 0).all()
    assert (losses[:, -1] < 1e-2).all()


def test_loss_and_gradient_are_those_of_the_mean_squared_error():
    """Add up the errors of each entry over the cells that look it up."""
    states = observe([30])[0]
    rule_table = np.random.default_rng(1).random((2, 2, 2), dtype=np.float32)
    entries = neighborhoods(states[:-1])
    errors = rule_table.ravel()[entries] - states[1:]
    loss, gradient = jax.value_and_grad(import_stage(7).prediction_error)(
        jnp.asarray(rule_table), jnp.asarray(states)
    )
    np.testing.assert_allclose(loss, (errors**2).mean(), rtol=1e-5)
    slopes = np.bincount(entries.ravel(), 2 * errors.ravel()) / errors.size
    np.testing.assert_allclose(gradient.ravel(), slopes, rtol=1e-4)


def test_a_table_of_integers_has_no_gradient():
    def count_live(rule_table):
        return import_stage(7).step(jnp.ones(5, jnp.uint8), rule_table).sum()

    with pytest.raises(TypeError, match="uint8"):
        jax.grad(count_live)(import_stage(7).make_rule_table(110))


# Claims of the docstrings; the benchmark shows the claims about speed


def program_of(function, *args):
    """Return the program that JAX traces for this call."""
    return jax.make_jaxpr(lambda: function(*args))().jaxpr


def count(jaxpr, name=None):
    """Count all operations, or how often the named operation runs.

    With a name, an operation in a scan counts once for each iteration.
    """
    total = 0
    for equation in jaxpr.eqns:
        inner = list(jaxprs_in_params(equation.params))
        total += name in (None, equation.primitive.name) and not inner
        repeats = 1
        if name is not None and equation.primitive.name == "scan":
            repeats = equation.params["length"]
        total += repeats * sum(count(body, name) for body in inner)
    return total


def watch_calls(monkeypatch, number, name):
    """Record the calls of a function. Under jit, only tracing calls it.

    The caller must use sizes that no other test uses, as jit traces each once.
    """
    stage = import_stage(number)
    function = Mock(wraps=getattr(stage, name))
    monkeypatch.setattr(stage, name, function)
    return function.call_args_list


def test_stage_2_sends_hundreds_of_operations():
    assert not hasattr(import_stage(2).simulate, "lower")
    assert count(program_of(import_stage(2).simulate, 110, 80, 80)) > 500


def test_stage_3_is_right_without_its_decorator():
    """Load it without the import hook, which would refuse a tracer first."""
    compiled = runpy.run_path(str(STAGES[3]))["simulate"]
    assert_equal(compiled.__wrapped__(30, 11, 7), simulate(30, 11, 7))
    with pytest.raises(TypeError, match="concrete"):
        compiled(30, 11, 7)


@pytest.mark.parametrize("number", COMPILED)
def test_all_rules_share_one_compilation(number, monkeypatch):
    traces = watch_calls(monkeypatch, number, "make_rule_table")
    for rule in range(0, 256, 51):
        import_stage(number).simulate(rule, 18, 3)
    assert len(traces) == 1


def test_stage_4_compiles_a_copy_of_step_for_every_row(monkeypatch):
    """Compile once for each pair of width and num_steps."""
    traces = watch_calls(monkeypatch, 4, "step")
    for width, num_steps in [(5, 2), (5, 3), (6, 2), (5, 2), (6, 2)]:
        import_stage(4).simulate(110, width, num_steps)
    assert [len(state) for (state, _), _ in traces] == [5, 5, 5, 5, 5, 6, 6]


@pytest.mark.parametrize("number", [n for n in RUNNING if n > 4])
def test_a_program_does_not_grow(number):
    """Compare a small call with a call of more cells and more rows."""
    simulate = import_stage(number).simulate
    small = count(program_of(simulate, 110, 2**12, 20))
    assert small == count(program_of(simulate, 110, 2**16, 8000)) > 10


def test_stage_6_maps_one_trace_over_all_rules(monkeypatch):
    traces = watch_calls(monkeypatch, 6, "step")
    rules = np.arange(256, dtype=np.uint8)
    states = import_stage(6).simulate_rules(rules, 17, 9)
    expected = [simulate(rule, 17, 9) for rule in range(256)]
    assert_equal(states, np.stack(expected))
    (((state, _), _),) = traces
    assert state.shape == (17,)  # step knows nothing of the new axis


@pytest.mark.parametrize(
    ("number", "width", "num_steps", "num_exchanges"),
    [
        (9, 128, 60, 60),  # at every step
        (10, 2 * 32 * 256, 2560, 10),  # a halo has 256 words at most
        (10, 2 * 32 * 256, 255, 1),
        (10, 2 * 32 * 256, 257, 257),
        (10, 2 * 32 * 6, 100, 20),
    ],
)
def test_messages(number, width, num_steps, num_exchanges):
    """Check that the halo is the largest divisor of num_steps that fits."""
    simulate = import_stage(number).simulate
    program = program_of(simulate, 110, width, num_steps, 2)
    assert count(program, "ppermute") == 2 * num_exchanges


@pytest.mark.parametrize("number", SHARDED)
def test_cells_stay_on_their_device(number):
    """Check that devices exchange data with their neighbors only."""
    simulate = import_stage(number).simulate
    text = simulate.lower(110, 6400, 100, 2).compile().as_text()
    assert "collective-permute" in text
    assert not re.search("all-(gather|reduce|to-all)", text)


# One idea per stage

# For each stage: the exact counts of "+" and "-" lines, or how many lines may
# change at most. Then the functions of the previous stage that have to change.
CHANGES = {
    1: ("+9 -8", "make_rule_table make_initial_state step simulate"),
    2: ("+1 -2", "make_initial_state"),
    3: ("+2 -0", "simulate"),
    4: ("+1 -1", "simulate"),
    5: ("+7 -6", "simulate"),
    6: ("+9 -0", ""),
    7: (40, "step"),
    8: (85, "make_initial_state step simulate"),
    9: (60, "make_initial_state pad scan_words simulate simulate_packed"),
    10: (30, "pad scan_words"),
}
MOST_LINES = {6: 70, 7: 90, 8: 105, 9: 115, 10: 125}  # 60 in the others


def functions(number):
    """Return the source of each function of a stage, by its name."""
    source = STAGES[number].read_text("utf-8")
    names = re.findall(r"^def (\w+)", source, flags=re.M)
    return {name: cut_function(source, name) for name in names}


@pytest.mark.parametrize("number", CHANGES)
def test_a_diff_is_small_and_what_it_does_not_teach_is_identical(number):
    most, names = CHANGES[number]
    _, _, *lines = diff_lines(number)
    changed = [line for line in lines if line[0] in "+-"]
    if isinstance(most, str):
        added = sum(line[0] == "+" for line in changed)
        assert f"+{added} -{len(changed) - added}" == most
    else:
        code = [line for line in changed if re.match(r".\s*[^\s#]", line)]
        assert len(code) <= most
    before, after = functions(stage_before(number)), functions(number)
    differ = {name for name in before if after.get(name) != before[name]}
    assert differ == set(names.split())
    if number == 1:  # only np is renamed, and the type of rule is wider
        for name, text in before.items():
            renamed = re.sub(r"\bnp\.", "jnp.", text)
            renamed = renamed.replace("rule: int", "rule: ArrayLike")
            assert renamed == after[name]


@pytest.mark.parametrize("number", STAGES)
def test_a_stage_is_short_and_runs_as_its_docstring_says(
    number, tmp_path, monkeypatch, run_here
):
    """Run the command of the docstring at a smaller size, unless it fails."""
    source = STAGES[number].read_text("utf-8")
    assert len(source.splitlines()) <= MOST_LINES.get(number, 60)
    imports = re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)
    assert not any(re.match("stage|workshop", name) for name in imports)
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring.startswith(f"Stage {number}: ")
    (command,) = re.findall(r"^ +python (stages/.*)$", docstring, re.M)
    script, *arguments = command.split()
    assert ROOT / script == STAGES[number]
    monkeypatch.chdir(tmp_path)
    output_of(run_here(number, *arguments, "--width", 8, "--num-steps", 5))
    assert [*tmp_path.iterdir()] == [tmp_path / "output.png"] * (number == 6)


@pytest.mark.parametrize("number", STAGES)
def test_what_is_above_the_main_guard_can_be_pasted(number):
    source = STAGES[number].read_text("utf-8")
    above, guard, _ = source.partition('\n\nif __name__ == "__main__":\n')
    assert guard
    pasted = {"__name__": "__main__"}
    exec(above, pasted)
    bits = pasted["make_rule_table"](110).ravel().tolist()
    assert bits == [0, 1, 1, 1, 0, 1, 1, 0]
    if number in WORKING:
        assert_equal(pasted["simulate"](30, 9, 4), simulate(30, 9, 4))
