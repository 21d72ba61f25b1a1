"""The other tests rely on this: JAX is strict, annotations are checked."""

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from support import WORKING, import_stage


@pytest.mark.parametrize("number", [n for n in WORKING if n > 0])
def test_the_annotations_of_every_stage_are_checked(number):
    with pytest.raises(TypeCheckError):
        import_stage(number).make_rule_table("110")


def test_a_wrong_dtype_is_found():
    stage = import_stage(5)
    rule_table = stage.make_rule_table(110)
    with pytest.raises(TypeCheckError):
        stage.step(jnp.zeros(3, dtype=jnp.int32), rule_table)


def test_dtypes_are_not_promoted_silently():
    with pytest.raises(ValueError, match="promotion"):
        jnp.uint8(1) + jnp.int32(1)


def test_ranks_are_not_promoted_silently():
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_there_are_two_devices():
    assert jax.device_count() == 2
