"""Test that stages equal stage 0, add one idea each, and keep their claims.

JAX is strict in all tests, and the shapes in annotations are checked.
"""

import ast
import math
import re
import runpy
from unittest.mock import Mock, call

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jaxtyping import TypeCheckError

from support import (
    FAILING,
    REFERENCE,
    ROOT,
    STAGES,
    WORKING,
    import_stage,
    output_of,
)
from workshop.stages import cut_function, diff_lines, stage_before

RUNNING = [n for n in WORKING if n > 0]
SHARDED = [n for n in RUNNING if "num_devices" in STAGES[n].read_text("utf-8")]
ALL_RULES = np.arange(256, dtype=np.uint8)
# (width, num_steps): one cell, primes, widths near 32; few rows and many.
SIZES = [(1, 1), (1, 9), (2, 9), (3, 30), (31, 2), (32, 5), (33, 1), (80, 40)]
SIZES += [
    tuple(size)
    for size in np.random.default_rng(0).integers(1, 99, (3, 2)).tolist()
]

simulate = REFERENCE.simulate


def assert_equal(states, expected, what=""):
    assert states.dtype == expected.dtype == np.uint8
    np.testing.assert_array_equal(states, expected, err_msg=str(what))


# Equality with stage 0


def simulate_by_definition(rule, width, num_steps):
    """Compute the states cell by cell, without arrays."""
    rows = [[int(cell == width // 2) for cell in range(width)]]
    while len(rows) < num_steps:
        row = rows[-1]
        rows.append([])
        for cell in range(width):
            left, right = row[cell - 1], row[(cell + 1) % width]
            rows[-1].append(rule >> (4 * left + 2 * row[cell] + right) & 1)
    return np.array(rows, dtype=np.uint8)


def test_stage_0_equals_the_definition():
    for size in ((1, 5), (2, 5), (9, 5), (31, 1), (32, 2), (80, 50)):
        for rule in range(256) if size == (9, 5) else [30, 110]:
            expected = simulate_by_definition(rule, *size)
            assert_equal(simulate(rule, *size), expected, (rule, size))


@pytest.mark.parametrize("number", RUNNING)
def test_a_stage_computes_what_stage_0_does(number):
    cases = [(rule, size) for size in SIZES for rule in (30, 225)]
    cases += [(rule, (9, 5)) for rule in range(256)]
    for rule, size in cases:
        states = import_stage(number).simulate(rule, *size)
        assert_equal(states, simulate(rule, *size), (rule, size))


@pytest.mark.parametrize("num_devices", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("number", SHARDED)
def test_any_number_of_devices_computes_the_same(number, num_devices):
    """Test shares of one cell, of less than a word, of one word and more."""
    for share, num_steps in ((1, 12), (7, 5), (32, 31), (96, 12)):
        size = share * num_devices, num_steps
        states = import_stage(number).simulate(30, *size, num_devices)
        assert_equal(states, simulate(30, *size), size)
        shares = [shard.data.shape for shard in states.addressable_shards]
        assert shares == [(num_steps, share)] * num_devices


@pytest.mark.parametrize("number", SHARDED)
def test_as_many_devices_as_divide_the_width_are_used(number):
    for width, num_devices in ((80, 8), (6, 2), (9, 1)):
        states = import_stage(number).simulate(30, width, 2)
        assert len(states.sharding.device_set) == num_devices


@pytest.mark.parametrize("number", RUNNING)
def test_64_bits_strict_promotion_and_no_nans(number):
    with jax.enable_x64(True), jax.debug_nans(True):
        assert jnp.arange(3).dtype == "int64"
        states = import_stage(number).simulate(30, 72, 10)
    assert_equal(states, simulate(30, 72, 10))


def test_many_rules_at_once_are_each_what_stage_0_computes():
    for rules in (ALL_RULES, ALL_RULES[[30, 30, 0, 255]]):
        states = import_stage(6).simulate_rules(rules, 13, 9)
        expected = [simulate(int(rule), 13, 9) for rule in rules]
        assert_equal(states, np.stack(expected), rules)


@pytest.mark.parametrize("width", [1, 31, 64, 72])
def test_packed_rows_unpacked_are_the_states(width):
    stage, num_lanes = import_stage(8), math.gcd(width, 32)
    packed = stage.simulate_packed(110, width, 20)
    assert (packed.dtype, packed.shape) == ("uint32", (20, width // num_lanes))
    rows = [stage.unpack(words, num_lanes).ravel() for words in packed]
    assert_equal(np.stack(rows), simulate(110, width, 20))


def test_annotations_are_checked_and_nothing_is_promoted_silently():
    for number in RUNNING:
        with pytest.raises(TypeCheckError):
            import_stage(number).simulate(110, "7", 5)
    with pytest.raises(ValueError, match="promotion"):
        jnp.uint8(1) + jnp.int32(1)
    assert jax.device_count() == 8


@pytest.mark.slow
@pytest.mark.parametrize("number", RUNNING)
def test_every_compiled_program_is_lowered_for_other_devices(number):
    for name in ("simulate", "simulate_packed", "simulate_rules"):
        function = getattr(import_stage(number), name, None)
        if hasattr(function, "lower"):
            rule = ALL_RULES if name == "simulate_rules" else 110
            lower = jax.export.export(function, platforms=("cuda", "tpu"))
            (states,) = lower(rule, 66, 5).out_avals
            assert states.shape == function(rule, 66, 5).shape


# Stages 1 and 3 fail, but the rest of each is right


def test_stage_1_is_right_in_all_else():
    stage, state = import_stage(1), simulate(30, 12, 9)[-1]
    for rule in range(0, 256, 5):
        rule_table = REFERENCE.make_rule_table(rule)
        assert_equal(stage.make_rule_table(rule), rule_table, rule)
        next_state = stage.step(jnp.asarray(state), jnp.asarray(rule_table))
        assert_equal(next_state, REFERENCE.step(state, rule_table), rule)


def test_stage_3_is_right_without_its_decorator():
    for rule in (30, 110, 225):
        states = import_stage(3).simulate.__wrapped__(rule, 11, 7)
        assert_equal(states, simulate(rule, 11, 7), rule)


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


def test_all_rules_are_learned():
    """Check that the loss gets near 0, and that unseen entries stay 0.5."""
    states = observe(range(256))
    rule_tables, losses = jax.vmap(import_stage(7).learn_rule)(states)
    for rule, rule_table in enumerate(np.reshape(rule_tables, (256, 8))):
        expected = REFERENCE.make_rule_table(rule).ravel() * 1.0
        absent = np.setdiff1d(np.arange(8), neighborhoods(states[rule, :-1]))
        expected[absent] = 0.5
        np.testing.assert_array_equal(rule_table == 0.5, expected == 0.5)
        np.testing.assert_allclose(rule_table, expected, atol=0.4)
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


@pytest.mark.parametrize(
    ("dtype", "argument"), [(jnp.uint8, 0), (jnp.float32, 1)]
)
def test_integers_have_no_gradient(dtype, argument):
    """Try a uint8 table, and the cells that index a table of floats."""
    stage = import_stage(7)
    rule_table = stage.make_rule_table(110).astype(dtype)

    def count_live(rule_table, state):
        return stage.step(state, rule_table).sum()

    with pytest.raises(TypeError, match="uint8"):
        jax.grad(count_live, argument)(rule_table, jnp.ones(5, jnp.uint8))


# Claims of the docstrings; the benchmark shows the claims about speed


def program_of(function, *args, **kwargs):
    """Return the program that JAX traces for this call."""
    return jax.make_jaxpr(lambda: function(*args, **kwargs))().jaxpr


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
    """Record the calls of a function. Under jit, only tracing calls it."""
    stage = import_stage(number)
    function = Mock(wraps=getattr(stage, name))
    monkeypatch.setattr(stage, name, function)
    jax.clear_caches()
    return function.call_args_list


def test_stage_2_sends_hundreds_of_operations():
    assert not hasattr(import_stage(2).simulate, "lower")
    assert count(program_of(import_stage(2).simulate, 110, 80, 80)) > 500


def test_stage_3_calls_simulate_once_with_tracers():
    # Load it without the import hook, which would refuse the tracer first.
    stage = runpy.run_path(str(STAGES[3]))
    seen = []
    names = stage["simulate"].__wrapped__.__globals__
    names["make_initial_state"] = seen.append
    # No array is made now, so the loop is the first to need a concrete value.
    with pytest.raises(jax.errors.TracerIntegerConversionError):
        stage["simulate"](110, 11, 7)
    (width,) = seen
    assert isinstance(width, jax.core.Tracer)
    assert (width.shape, width.dtype) == ((), "int32")


@pytest.mark.parametrize("number", [n for n in RUNNING if n > 2])
def test_all_rules_share_one_compilation(number, monkeypatch):
    traces = watch_calls(monkeypatch, number, "make_rule_table")
    for rule in range(0, 256, 51):
        import_stage(number).simulate(rule, 11, 3)
    assert len(traces) == 1


def test_stage_4_compiles_once_for_each_pair_of_shapes(monkeypatch):
    traces = watch_calls(monkeypatch, 4, "make_initial_state")
    for width, num_steps in [(5, 2), (5, 3), (6, 2), (5, 2), (6, 2)]:
        import_stage(4).simulate(110, width, num_steps)
    assert traces == [call(5), call(5), call(6)]


def test_stage_4_holds_a_copy_of_step_for_every_row(monkeypatch):
    traces = watch_calls(monkeypatch, 4, "step")
    import_stage(4).simulate(110, 11, 9)
    assert len(traces) == 9


@pytest.mark.parametrize("number", [n for n in RUNNING if n > 4])
def test_a_program_does_not_grow(number):
    """Compare a small call with a call of more cells and more rows."""
    stage = import_stage(number)
    small, large = (
        program_of(stage.simulate, 110, width, num_steps)
        for width, num_steps in ((2**12, 20), (2**16, 8000))
    )
    assert count(small) == count(large) > 10


def test_stage_6_is_one_call_traced_once(monkeypatch):
    traces = watch_calls(monkeypatch, 6, "step")
    import_stage(6).simulate_rules(ALL_RULES, 11, 9)
    ((state, _), _) = traces[0]
    assert len(traces) == 1
    assert state.shape == (11,)  # step knows nothing of the new axis


def test_stage_9_sends_two_messages_at_every_step():
    program = program_of(import_stage(9).simulate, 110, 128, 60, 2)
    assert count(program, "ppermute") == 2 * 60


def test_stage_10_sends_fewer_messages_than_there_are_steps():
    """Check that the halo is the largest divisor of num_steps that fits."""
    halo = import_stage(10).MAX_HALO
    share = 32 * halo
    for width, num_steps, exchanges in [
        (2 * share, 10 * halo, 10),
        (2 * share, halo - 1, 1),
        (2 * share, 2 * halo - 2, 2),
        (2 * share, 257, 257),
        (2 * 32 * 6, 100, 20),
    ]:
        program = program_of(
            import_stage(10).simulate, 110, width, num_steps, 2
        )
        assert count(program, "ppermute") == 2 * exchanges


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


@pytest.mark.parametrize("number", STAGES)
def test_a_stage_is_short_and_imports_no_other(number):
    source = STAGES[number].read_text("utf-8")
    assert len(source.splitlines()) <= MOST_LINES.get(number, 60)
    for name, text in functions(number).items():
        code = text[text.index(f"def {name}") :]
        assert len(code.splitlines()) <= 30
    imports = re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)
    assert not any(re.match("stage|workshop", name) for name in imports)
    assert ast.get_docstring(ast.parse(source)).startswith(f"Stage {number}: ")


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


def test_stage_1_only_renames_np_and_widens_the_type_of_rule():
    before, after = functions(0), functions(1)
    for name in before:
        renamed = re.sub(r"\bnp\.", "jnp.", before[name])
        assert after[name] == renamed.replace("rule: int", "rule: ArrayLike")


def test_stage_7_changes_only_the_type_of_the_table():
    table = 'rule_table: {0}[Array, "2 2 2"],\n) -> {0}[Array, " width"]:'
    assert functions(7)["step"] == functions(5)["step"].replace(
        table.format("UInt8"), table.format("Real")
    )


@pytest.mark.parametrize("number", STAGES)
def test_what_is_above_the_main_guard_can_be_pasted(number):
    source = STAGES[number].read_text("utf-8")
    above, guard, _ = source.partition('\n\nif __name__ == "__main__":\n')
    assert guard
    pasted = {"__name__": "__main__"}
    exec(above, pasted)
    bits = pasted["make_rule_table"](110).ravel().tolist()
    assert bits == [0, 1, 1, 1, 0, 1, 1, 0]
    if number not in FAILING:
        assert_equal(pasted["simulate"](30, 9, 4), simulate(30, 9, 4))


@pytest.mark.parametrize("number", STAGES)
def test_the_command_in_the_docstring_runs(
    number, tmp_path, monkeypatch, run_here
):
    """Run the command at a smaller size."""
    docstring = ast.get_docstring(ast.parse(STAGES[number].read_text("utf-8")))
    (command,) = re.findall(r"^ +python (stages/.*)$", docstring, re.M)
    script, *arguments = command.split()
    assert ROOT / script == STAGES[number]
    monkeypatch.chdir(tmp_path)
    output_of(run_here(number, *arguments, "--width", 8, "--num-steps", 5))
