import numpy as np

from farlayer.engine.scratch import Scratch


def test_memory_is_kept_while_it_is_large_enough() -> None:
    scratch = Scratch()
    large = scratch.array("a", (4, 5))
    small = scratch.array("a", (2, 3))
    assert np.shares_memory(large, small)
    assert (small.shape, small.flags.c_contiguous) == ((2, 3), True)
    assert not np.shares_memory(scratch.array("a", (7, 7)), large)


def test_each_name_has_memory_of_its_own_whatever_the_type() -> None:
    scratch = Scratch()
    first = scratch.array("a", (3,))
    assert not np.shares_memory(first, scratch.array("b", (3,)))
    mask = scratch.array_of("a", (3,), np.bool_)
    assert mask.dtype == np.bool_
    assert np.shares_memory(first, mask)
    assert scratch.size_bytes == 24
