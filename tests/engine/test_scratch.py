import numpy as np

from farlayer.engine.scratch import Scratch, Workspace


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


def call(workspace: Workspace, *sizes: int) -> list[np.ndarray]:
    """Arrays that one call takes under the names 0, 1, ..., each filled with its number."""
    workspace.begin()
    arrays = [workspace.array(str(name), (size,)) for name, size in enumerate(sizes)]
    for name, array in enumerate(arrays):
        array.fill(name)
    return arrays


def test_arrays_of_one_call_lie_apart_and_those_of_different_calls_in_the_same_place() -> None:
    workspace = Workspace()
    for _ in range(3):
        for sizes in ((5, 7, 100), (30, 1), (0, 64)):
            arrays = call(workspace, *sizes)
            assert [array.tolist() for array in arrays] == [[name] * size for name, size in enumerate(sizes)]
    assert np.shares_memory(call(workspace, 50)[0], call(workspace, 3, 40)[1])


def test_the_largest_call_is_what_is_held() -> None:
    workspace = Workspace()
    for sizes in ((16, 16), (160,), (16, 16, 16)):
        call(workspace, *sizes)
    workspace.begin()
    assert workspace.size_bytes == 160 * 4


def test_in_a_steady_state_nothing_is_taken() -> None:
    workspace = Workspace()
    call(workspace, 10, 20)
    first = call(workspace, 10, 20)
    again = call(workspace, 10, 20)
    for before, after in zip(first, again, strict=True):
        assert before.__array_interface__["data"] == after.__array_interface__["data"]
        assert before.__array_interface__["data"][0] % 16 == 0


def test_a_name_that_grows_within_a_call_keeps_clear_of_the_others() -> None:
    workspace = Workspace()
    for _ in range(2):
        workspace.begin()
        small, other = workspace.array("a", (4,)), workspace.array("b", (4,))
        other.fill(1)
        large = workspace.array("a", (40,))
        large.fill(2)
        assert (other == 1).all()
        assert small.shape == (4,)
        assert np.shares_memory(workspace.array("a", (8,)), large)
