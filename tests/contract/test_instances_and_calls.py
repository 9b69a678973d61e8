"""The life of an instance, its other calls, and the NumPy API, on every carrier."""

import os
from concurrent.futures import Future

import numpy as np
import pytest

from farlayer.protos.errors import BlobError, LayerError, ProtocolError, ValueCrossingError
from tests.remote_support import Host

# --- instances ---


def test_params_may_be_added_in_setup_reshape_and_forward(any_memory: Host) -> None:
    run = any_memory.start("LateParams", [[0]])
    assert [blob.shape for blob in run.params] == [(1,)]
    run.forward()
    assert [blob.shape for blob in run.params] == [(1,), (2,)]
    np.testing.assert_array_equal(run.params[1].data, [2, 2])
    first = run.params[0]
    run.forward()
    run.forward()
    assert [blob.shape for blob in run.params] == [(1,), (2,), ()]
    assert run.params[2].data == 3
    assert run.top[0].data == 3
    assert run.params[0] is first


def test_two_instances_of_one_class_share_no_attributes(host: Host) -> None:
    first, second = (host.start("OwnAttributes", [[value]]) for value in (1, 10))
    first.forward()
    second.forward()
    second.forward()
    assert (first.top[0].data, second.top[0].data) == (1, 20)


def test_a_layer_may_keep_its_blob_objects_between_calls(any_memory: Host) -> None:
    run = any_memory.start("KeepsReferences", [[1, 2]])
    for shape in ((2,), (3, 2), (1,)):
        run.bottom[0].reshape(shape)
        run.bottom[0].data[...] = 3
        run.forward()
        np.testing.assert_array_equal(run.top[0].data, np.full(shape, 3))
        run.top[0].diff[...] = 4
        run.backward()
        np.testing.assert_array_equal(run.bottom[0].diff, np.full(shape, 4))


def test_a_layer_without_backward_runs_until_backward_is_called(host: Host) -> None:
    run = host.start("NoBackward", [[1, 2]])
    run.forward()
    with pytest.raises(LayerError, match="backward") as caught:
        run.backward()
    assert isinstance(caught.value, AttributeError)
    run.forward()


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_phase_and_param_str_are_there_in_setup(host: Host, phase: str) -> None:
    run = host.start("OwnAttributes", [[1]], param_str="{'a': 1}", phase=phase)
    expected = {"text": "<0.0>", "param_str": "{'a': 1}", "phase": ["TRAIN", "TEST"].index(phase)}
    assert run.session.invoke("describe", "<", suffix=">") == expected


def test_a_param_str_of_a_mebibyte_arrives_whole(host: Host) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(4096)) * 256 + "ü"
    run = host.start("EchoesParamStr", param_str=text)
    run.forward()
    np.testing.assert_array_equal(run.top[0].data, [len(text), sum(map(ord, text[::4096]))])


def test_blobs_stay_valid_after_the_layer_was_released(any_memory: Host) -> None:
    run = any_memory.start("CountsInParams", [[1, 2]])
    run.forward()
    run.session.close()
    run.session.close()
    np.testing.assert_array_equal(run.top[0].data, [11, 22])
    np.testing.assert_array_equal(run.params[0].data, np.full((2, 2), 11))
    run.top[0].reshape(50)
    run.top[0].data[...] = 1
    with pytest.raises(ProtocolError, match=r"'the CountsInParams'.*closed"):
        run.forward()


def test_calls_before_setup_and_a_second_setup_are_refused(host: Host) -> None:
    run = host.prepare("Double", [[1]])
    with pytest.raises(ProtocolError, match="'the Double' was not set up"):
        run.forward()
    run.session.setup(run.bottom, run.top)
    with pytest.raises(ProtocolError, match="'the Double' was set up before"):
        run.session.setup(run.bottom, run.top)
    run.forward()
    assert run.top[0].data == 2


# --- other calls ---


def test_invoke_passes_plain_values_both_ways(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    values = [None, True, 2**70, 1.5, "ü", b"\x00", [1, [2]], (1,), {"k": {3}}]
    for value in values:
        assert run.session.invoke("twice", value) == [value, value]
    array = np.arange(6).reshape(2, 3)
    found = run.session.invoke("twice", array)
    np.testing.assert_array_equal(found, [array, array], strict=True)


def test_state_is_set_then_read_and_dots_reach_into_attributes(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    found = run.session.exchange_state({"total": 5.0, "config.rate": 0.25, "new": [1]}, ["total", "config.rate", "new"])
    assert found == {"total": 5.0, "config.rate": 0.25, "new": [1]}
    run.forward()
    assert run.top[0].data == 6


def test_what_invoke_raises_keeps_its_type_and_the_layer_goes_on(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    with pytest.raises(KeyError) as caught:
        run.session.invoke("stop")
    assert isinstance(caught.value, LayerError)
    assert caught.value.args == ("told to", 2)
    with pytest.raises(AttributeError):
        run.session.invoke("no_such_method")
    with pytest.raises(AttributeError):
        run.session.exchange_state({}, ["no_such_attribute"])
    run.forward()


def test_values_that_cannot_cross_are_refused_and_the_layer_goes_on(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    with pytest.raises(ValueCrossingError):
        run.session.invoke("give_an_object")
    with pytest.raises(ValueCrossingError):
        run.session.invoke("twice", object())
    with pytest.raises(ValueCrossingError):
        run.session.exchange_state({"total": lambda: 0}, [])
    with pytest.raises(LayerError):
        run.session.exchange_state({}, ["__class__"])
    run.forward()


def test_values_too_large_for_one_message_are_refused_and_the_layer_goes_on(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    large = np.zeros(40 * 1024 * 1024, np.uint8)
    with pytest.raises(ValueCrossingError, match="over the limit") as caught:
        run.session.invoke("twice", large)  # comes back twice
    assert "blobs" in caught.value.remedy
    with pytest.raises(ValueCrossingError, match="over the limit"):
        run.session.invoke("twice", [large, large])
    with pytest.raises(ValueCrossingError, match="over the limit"):
        run.session.exchange_state({"new": [large, large]}, [])
    run.forward()
    with pytest.raises(ValueCrossingError, match="over the limit"):
        host.start("OwnAttributes", [[1]], param_str="x" * 70_000_000)


# --- order ---


def test_futures_keep_their_order_and_mix_with_plain_calls(host: Host) -> None:
    run = host.start("OwnAttributes", [[1]])
    seen: list[float] = []

    def note() -> None:
        run.forward()
        seen.append(float(run.top[0].data[0]))

    futures: list[Future[None]] = [run.session.run_async(note) for _ in range(20)]
    run.forward()  # behind those that wait
    assert all(future.done() for future in futures)
    assert seen == list(range(1, 21))
    assert run.top[0].data == 21
    run.session.forward_async()
    assert run.session.invoke("describe", "") == {"text": "22.0!", "param_str": "", "phase": 0}


def test_the_error_of_a_call_is_in_its_future_and_later_calls_run(host: Host) -> None:
    run = host.start("NoBackward", [[1, 2]])
    first, failing, last = run.session.forward_async(), run.session.backward_async([True]), run.session.forward_async()
    first.result(30)
    assert isinstance(failing.exception(30), LayerError)
    last.result(30)


def test_all_calls_have_a_form_that_does_not_wait(host: Host) -> None:
    run = host.prepare("Double", [[1, 2]])
    run.session.setup_async(run.bottom, run.top)
    run.session.reshape_async()
    run.session.forward_async().result(30)
    run.top[0].diff[...] = 3
    run.session.backward_async([True]).result(30)
    np.testing.assert_array_equal(run.top[0].data, [2, 4])
    np.testing.assert_array_equal(run.bottom[0].diff, [6, 6])


# --- arrays ---


def test_arrays_go_in_and_the_callers_own_arrays_come_out(host: Host) -> None:
    layer = host.layer("Add")
    (total,) = layer.forward([[1, 2]], np.array([[3, 4]], np.int64))
    np.testing.assert_array_equal(total, [[4, 6]])
    assert total.dtype == np.float32
    total[...] = -1
    np.testing.assert_array_equal(layer.top[0].data, [[4, 6]])
    first, second = layer.backward(2.0, propagate_down=[False, True])
    assert first is None
    np.testing.assert_array_equal(second, [[2, 2]])


def test_arrays_of_other_shapes_and_orders_are_taken(host: Host) -> None:
    layer = host.layer("Double")
    layer.forward([1])
    grid = np.arange(12, dtype=np.float64).reshape(3, 4)
    for array in (grid.T, grid[::-1, ::2], np.float32(3), np.zeros((0, 2))):
        (doubled,) = layer.forward(array)
        assert doubled.shape == array.shape
        np.testing.assert_array_equal(doubled, 2 * array)


def test_calls_without_arrays_use_what_the_blobs_hold(host: Host) -> None:
    layer = host.layer("Double")
    layer.setup([1, 2])
    layer.bottom[0].data[...] = 7
    np.testing.assert_array_equal(layer.forward()[0], [14, 14])
    layer.top[0].diff[...] = 3
    np.testing.assert_array_equal(layer.backward()[0], [6, 6])
    assert layer.reshape((4, 1)) == [(4, 1)]
    assert layer.reshape() == [(4, 1)]


def test_a_data_layer_needs_no_arrays(host: Host) -> None:
    layer = host.layer("Source", tops=2)
    images, labels = layer.forward()
    np.testing.assert_array_equal(images, np.ones((2, 3)))
    np.testing.assert_array_equal(layer.forward()[1], 2 * labels)
    assert layer.backward() == []


def test_a_wrong_number_of_arrays_is_told_with_layer_and_counts(host: Host) -> None:
    layer = host.layer("Add")
    layer.forward([1], [2])
    name = layer.session.spec.name
    with pytest.raises(BlobError, match=f"'{name}' was set up with 2 bottoms; 3 came") as caught:
        layer.forward([1], [2], [3])
    assert caught.value.layer == name
    with pytest.raises(BlobError, match="2 bottoms; 1 came"):
        layer.reshape((1,))
    with pytest.raises(BlobError, match="1 tops; 2 diffs"):
        layer.backward(1.0, 2.0)
    with pytest.raises(BlobError, match="2 bottoms; propagate_down has 1"):
        layer.backward(1.0, propagate_down=[True])
    with pytest.raises(BlobError, match=r"shape \(1,\) got a diff of \(2,\)"):
        layer.backward([1.0, 2.0])
    np.testing.assert_array_equal(layer.forward([3], [4])[0], [7])


def test_a_second_setup_is_refused_and_the_blobs_stay_those_of_the_first(host: Host) -> None:
    layer = host.layer("Double")
    layer.setup([1, 2])
    with pytest.raises(ProtocolError, match="was set up before"):
        layer.setup([1, 2, 3])
    np.testing.assert_array_equal(layer.forward([3, 4])[0], [6, 8])


def test_arrays_of_calls_that_do_not_wait_are_copied_at_once(host: Host) -> None:
    layer = host.layer("Double")
    array = np.array([1.0, 2.0], np.float32)
    futures = []
    for value in range(10):
        array[...] = value
        futures.append(layer.forward_async(array))
    array[...] = -1
    for value, future in enumerate(futures):
        np.testing.assert_array_equal(future.result(30)[0], [2 * value, 2 * value])
    gradient = layer.backward_async(array)
    array[...] = 0
    np.testing.assert_array_equal(gradient.result(30)[0], [-2, -2])


# --- reports ---


def test_the_report_says_where_the_layer_runs_and_what_it_did(host: Host) -> None:
    run = host.start("Double", [np.ones(1000)])
    run.forward()
    run.backward()
    report = run.session.report()
    assert (report.layer, report.phase, report.type) == ("the Double", "TRAIN", "contract_layers.Double")
    assert report.calls == 3
    assert 0 < report.user_seconds < report.call_seconds < 30
    carrier, transport = {
        "in-process": ("in-process", "in place"),
        "mailbox": ("mailbox", "shared"),
        "grpc-shared": ("grpc", "shared"),
        "grpc-streamed": ("grpc", "streamed"),
    }[host.name]
    assert (report.carrier, report.transport) == (carrier, transport)
    assert report.reason
    assert (report.pid == os.getpid()) == (host.name == "in-process")
    assert bool(report.worker) == bool(report.server) == (host.name != "in-process")
    if transport == "streamed":
        assert report.bytes_moved >= 3 * 4000
    else:
        assert report.bytes_moved == 0


def test_contents_that_did_not_change_are_not_moved_again(host: Host) -> None:
    run = host.start("Double", [np.ones(1000)])
    run.forward()
    run.forward()
    before = run.session.report().bytes_moved
    run.forward()
    assert run.session.report().bytes_moved == before


def test_a_layer_may_add_more_params_than_one_datagram_has_descriptors(host: Host) -> None:
    run = host.start("ManyParams", [[0]], param_str="250")
    run.forward()
    assert len(run.params) == 250
    assert run.top[0].data.tolist() == [sum(range(250))]


def test_a_closed_session_leaves_nothing_at_its_server_after_a_top_without_values(host: Host) -> None:
    run = host.start("KeepsRows", [[0]])
    run.forward()
    assert run.top[0].data.shape == (0, 2)
    run.session.close()
    for connection in getattr(host.pool, "connections", []):
        held = [held.layer for worker in connection.refresh().workers for held in worker.instances]
        assert run.session.spec.name not in held
