"""What a layer reads and writes reaches the caller's blobs, every buffer, both ways, on every carrier."""

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from tests.remote_support import Host, blob_of


def test_setup_reshape_forward_and_backward_give_the_layers_values(any_memory: Host) -> None:
    run = any_memory.start("Double", [[[1, 2, 3], [4, 5, 6]]])
    assert run.top[0].shape == (2, 3)
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [[2, 4, 6], [8, 10, 12]])
    run.top[0].diff[...] = [[1, 1, 1], [0, 0, 5]]
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff, [[2, 2, 2], [0, 0, 10]])


def test_a_bottom_whose_gradient_is_not_wanted_keeps_its_diff(any_memory: Host) -> None:
    run = any_memory.start("Add", [[1, 2], [3, 4]])
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [4, 6])
    for blob in run.bottom:
        blob.diff[...] = -1
    run.top[0].diff[...] = [8, 9]
    run.backward(False, True)
    np.testing.assert_array_equal(run.bottom[0].diff, [-1, -1])
    np.testing.assert_array_equal(run.bottom[1].diff, [8, 9])


def test_a_layer_may_write_data_and_diff_of_its_bottom_in_forward(any_memory: Host) -> None:
    run = any_memory.start("WritesItsBottom", [[1, 2]])
    run.forward()
    np.testing.assert_array_equal(run.bottom[0].data, [2, 3])
    np.testing.assert_array_equal(run.bottom[0].diff, [7, 7])
    np.testing.assert_array_equal(run.top[0].data, [2, 3])
    run.forward()
    np.testing.assert_array_equal(run.bottom[0].data, [3, 4])


def test_a_layer_may_write_the_diff_of_its_top_and_add_to_that_of_its_bottom(any_memory: Host) -> None:
    run = any_memory.start("WritesItsBottom", [[1, 2]])
    run.forward()
    run.top[0].diff[...] = [1, 2]
    run.bottom[0].diff[...] = [100, 100]
    run.backward()
    np.testing.assert_array_equal(run.top[0].diff, [3, 6])
    np.testing.assert_array_equal(run.bottom[0].diff, [103, 106])
    run.backward()
    np.testing.assert_array_equal(run.top[0].diff, [9, 18])
    np.testing.assert_array_equal(run.bottom[0].diff, [112, 124])


def test_what_a_top_holds_stays_from_call_to_call_and_may_be_edited_between(any_memory: Host) -> None:
    run = any_memory.start("Accumulates", [[1, 2]])
    run.forward()
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [2, 4])
    np.testing.assert_array_equal(run.top[0].diff, [-2, -2])
    run.top[0].data[...] = 1000
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [1001, 1002])
    np.testing.assert_array_equal(run.top[0].diff, [-3, -3])


def test_params_are_written_by_both_sides(any_memory: Host) -> None:
    run = any_memory.start("CountsInParams", [[1, 2]])
    (param,) = run.params
    assert param.shape == (2, 2)
    np.testing.assert_array_equal(param.data, np.full((2, 2), 10))
    run.forward()
    np.testing.assert_array_equal(param.data, np.full((2, 2), 11))
    np.testing.assert_array_equal(run.top[0].data, [11, 22])
    param.data[...] = 100  # the solver
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [101, 202])
    param.diff[...] = 5
    run.top[0].diff[...] = [1, 2]
    run.backward()
    run.backward()
    np.testing.assert_array_equal(param.diff, np.full((2, 2), 11))


def test_nan_infinities_and_denormals_cross_bit_for_bit(any_memory: Host) -> None:
    bits = np.array([0x7FC00001, 0xFF800000, 0x7F800000, 0x80000000, 0x00000001, 0x7FA00000], np.uint32)
    run = any_memory.start("NoBackward", [bits.view(np.float32)])
    run.forward()
    np.testing.assert_array_equal(run.top[0].data.view(np.uint32), bits)


def test_a_large_blob_crosses_whole(host: Host) -> None:
    values = np.arange(3 * 1024 * 1024 // 4 + 5, dtype=np.float32)  # some chunks, and not a whole number of them
    run = host.start("Double", [values])
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, 2 * values)


def test_the_shape_of_a_bottom_may_change_between_calls(any_memory: Host) -> None:
    run = any_memory.start("Double", [np.ones((2, 3))])
    for shape in ((1, 3), (2, 3), (7, 5), (2, 1), (0, 4), (7, 5)):
        run.bottom[0].reshape(shape)
        run.bottom[0].data[...] = 4
        run.forward()
        assert run.top[0].shape == shape
        np.testing.assert_array_equal(run.top[0].data, np.full(shape, 8))


def test_reshape_alone_gives_tops_their_shapes_without_running_forward(any_memory: Host) -> None:
    run = any_memory.start("Double", [np.ones((2, 3))])
    run.bottom[0].reshape(5)
    run.session.reshape()
    assert run.top[0].shape == (5,)
    np.testing.assert_array_equal(run.top[0].data, np.zeros(5))


def test_a_top_may_grow_and_shrink_inside_forward(any_memory: Host) -> None:
    run = any_memory.start("Rows", [[3]])
    for rows in (3, 1, 0, 6, 2, 0, 9):
        run.bottom[0].data[...] = rows
        run.forward()
        assert run.top[0].shape == (rows, 2)
        np.testing.assert_array_equal(run.top[0].data, np.arange(rows * 2).reshape(rows, 2))
    assert run.top[0].capacity == 18


def test_a_top_that_starts_with_zero_rows_can_be_read_and_grow(any_memory: Host) -> None:
    run = any_memory.start("KeepsRows", [[0]])
    run.forward()
    assert run.top[0].data.shape == (0, 2)
    assert run.top[0].diff.shape == (0, 2)
    run.bottom[0].data[...] = 2
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, np.zeros((2, 2)))


def test_a_top_that_shrinks_and_grows_back_finds_its_old_values(any_memory: Host) -> None:
    run = any_memory.start("KeepsRows", [[4]])
    run.forward()
    run.top[0].data[...] = np.arange(8).reshape(4, 2)
    run.top[0].diff[...] = 3
    for rows in (1, 0, 4):
        run.bottom[0].data[...] = rows
        run.forward()
    np.testing.assert_array_equal(run.top[0].data, np.arange(8).reshape(4, 2))
    np.testing.assert_array_equal(run.top[0].diff, np.full((4, 2), 3))


def test_growing_beyond_the_capacity_zeroes_data_and_diff(any_memory: Host) -> None:
    run = any_memory.start("KeepsRows", [[2]])
    run.forward()
    run.top[0].data[...] = 9
    run.top[0].diff[...] = 9
    run.bottom[0].data[...] = 3
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, np.zeros((3, 2)))
    np.testing.assert_array_equal(run.top[0].diff, np.zeros((3, 2)))


def test_a_layer_may_reshape_its_bottom_and_leave_room_in_its_top(any_memory: Host) -> None:
    run = any_memory.start("ShrinksItsBottom", [[1, 2, 3, 4]])
    run.forward()
    assert run.bottom[0].shape == (2,)
    np.testing.assert_array_equal(run.bottom[0].data, [1, 2])
    assert (run.top[0].shape, run.top[0].capacity) == ((3,), 100)
    run.top[0].reshape(100)
    np.testing.assert_array_equal(run.top[0].data, np.full(100, 8))


def test_a_scalar_top_has_no_axes(any_memory: Host) -> None:
    run = any_memory.start("Total", [[1, 2, 3]])
    run.forward()
    assert (run.top[0].shape, run.top[0].count) == ((), 1)
    assert run.top[0].data == 6
    run.top[0].diff[...] = 4
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff, [4, 4, 4])


def test_a_scalar_bottom_reaches_the_layer(any_memory: Host) -> None:
    run = any_memory.start("Double", [21.0])
    run.forward()
    assert run.top[0].shape == ()
    assert run.top[0].data == 42


def test_a_layer_without_tops_runs(any_memory: Host) -> None:
    run = any_memory.start("Sink", [[1, 2]], tops=0)
    run.forward()
    run.forward()
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff, [2, 2])
    assert run.session.exchange_state({}, ["seen"]) == {"seen": [3.0, 3.0]}


def test_a_layer_without_bottoms_runs(any_memory: Host) -> None:
    run = any_memory.start("Source", tops=2)
    for batch in (1, 2, 3):
        run.forward()
        np.testing.assert_array_equal(run.top[0].data, np.full((2, 3), batch))
        np.testing.assert_array_equal(run.top[1].data, [-batch, -batch])
    run.backward()


def test_a_blob_may_be_bottom_and_top_at_once(any_memory: Host) -> None:
    blob = blob_of([1, 2, 3], any_memory.allocate)
    run = any_memory.start("InPlace", [blob], tops=[blob])
    assert run.session.exchange_state({}, ["same"]) == {"same": True}
    run.forward()
    np.testing.assert_array_equal(blob.data, [3, 5, 7])
    run.forward()
    np.testing.assert_array_equal(blob.data, [7, 11, 15])
    blob.diff[...] = 1
    run.backward()
    np.testing.assert_array_equal(blob.diff, [2, 2, 2])


def test_bottoms_that_share_their_data_are_one_memory_for_the_layer_too(any_memory: Host) -> None:
    first = blob_of([1, 2], any_memory.allocate)
    second = Blob((2, 1), allocate=any_memory.allocate)
    second.share_data(first)
    run = any_memory.start("ChangesFirst", [first, second])
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [101, 102])
    np.testing.assert_array_equal(first.data, [101, 102])
    np.testing.assert_array_equal(second.data, [[101], [102]])
    second.data[...] = [[5], [6]]
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [105, 106])


def test_a_bottom_may_begin_to_share_between_calls(any_memory: Host) -> None:
    first, second = (blob_of([value], any_memory.allocate) for value in (1, 2))
    run = any_memory.start("ChangesFirst", [first, second])
    run.forward()
    assert run.top[0].data == 2
    second.share_data(first)
    run.forward()
    assert run.top[0].data == 201


def test_the_top_of_one_layer_is_the_bottom_of_the_next(any_memory: Host) -> None:
    rows = any_memory.start("Rows", [[2]])
    doubled = any_memory.start("Double", [rows.top[0]])
    for count in (2, 5, 0, 3):
        rows.bottom[0].data[...] = count
        rows.forward()
        doubled.forward()
        np.testing.assert_array_equal(doubled.top[0].data, 2 * np.arange(count * 2).reshape(count, 2))
    doubled.top[0].diff[...] = 1
    doubled.backward()
    np.testing.assert_array_equal(rows.top[0].diff, np.full((3, 2), 2))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_empty_bottoms_reach_the_layer(any_memory: Host, shape: tuple[int, ...]) -> None:
    run = any_memory.start("Double", [np.zeros(shape)])
    run.forward()
    assert run.top[0].data.shape == shape
    run.backward()
    assert run.bottom[0].diff.shape == shape
