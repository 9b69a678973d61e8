"""A layer's life without messages or processes: what the user's object gets, and when."""

import pytest

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import HeapSegment, Segment, heap
from farlayer.protos.caffe_pb2 import LayerParameter
from farlayer.protos.errors import ValueCrossingError
from farlayer.worker.instance import Instance
from farlayer.worker.layer import TEST, TRAIN, BlobVec, Layer, Phase


class Recorder(Layer):
    """Notes every call with what it got."""

    def __init__(self, layer_param: object) -> None:
        self.calls: list[tuple[object, ...]] = [("__init__", layer_param, self.param_str)]
        self.nested = type("Nested", (), {"value": 1})()

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        self.calls.append(("setup", bottom, top))
        self.blobs.add_blob(2)

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        self.calls.append(("reshape", bottom, top))

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        self.calls.append(("forward", bottom, top))

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        self.calls.append(("backward", top, propagate_down, bottom))


def make(layer_param: object = None, phase: Phase = TRAIN) -> tuple[Instance, Recorder]:
    instance = Instance.make(
        Recorder, [Blob((1,))], [Blob()], layer_param=layer_param, param_str="text", phase=phase, allocate=heap
    )
    assert isinstance(instance.layer, Recorder)
    return instance, instance.layer


def test_the_object_gets_its_parameter_then_param_str_and_phase() -> None:
    param = LayerParameter(name="conv1")
    instance, layer = make(param, TEST)
    assert layer.calls == [("__init__", param, "")]
    assert (layer.param_str, layer.param_str_, layer.phase, layer.type) == ("text", "text", TEST, "Python")
    assert instance.params == []


def test_every_call_gets_the_same_blob_objects_in_caffes_order() -> None:
    instance, layer = make()
    instance.setup()
    instance.reshape()
    instance.forward()
    instance.backward([True])
    bottom, top = instance.bottom, instance.top
    assert layer.calls[1:] == [
        ("setup", bottom, top),
        ("reshape", bottom, top),
        ("forward", bottom, top),
        ("backward", top, [True], bottom),
    ]
    assert all(call[1][0] is bottom[0] for call in layer.calls[1:4])  # type: ignore[index]
    assert layer.calls[4][3][0] is bottom[0]  # type: ignore[index]


def test_params_lie_in_the_memory_that_was_asked_for() -> None:
    sizes = []

    def allocate(size_bytes: int) -> Segment:
        sizes.append(size_bytes)
        return HeapSegment(size_bytes)

    instance = Instance.make(Recorder, [], [], layer_param=None, param_str="", phase=TRAIN, allocate=allocate)
    instance.setup()
    assert instance.params[0].data.shape == (2,)
    assert sizes == [8]


def test_methods_are_invoked_and_dots_reach_into_attributes() -> None:
    instance, layer = make()
    instance.invoke("calls.append", [("more",)], {})
    assert layer.calls[-1] == ("more",)
    assert instance.exchange_state({"nested.value": 5, "new": 6}, ["nested.value", "new"]) == {
        "nested.value": 5,
        "new": 6,
    }


@pytest.mark.parametrize("name", ["__class__", "nested.__dict__", "calls.__len__", "__init__.__globals__"])
def test_names_with_two_underscores_cannot_be_reached(name: str) -> None:
    instance, _ = make()
    with pytest.raises(ValueCrossingError, match="cannot be reached from outside"):
        instance.invoke(name, [], {})
    with pytest.raises(ValueCrossingError):
        instance.exchange_state({}, [name])


def test_attributes_with_two_underscores_cannot_be_set() -> None:
    instance, layer = make()
    for name in ("__class__", "nested.__class__"):
        with pytest.raises(ValueCrossingError):
            instance.exchange_state({name: 1}, [])
    assert type(layer) is Recorder


# --- caffe.Layer ---


def test_every_layer_has_params_of_its_own_also_without_super_init() -> None:
    first, second = Recorder(None), Recorder(None)
    first.blobs.add_blob(3)
    assert (len(first.blobs), len(second.blobs)) == (1, 0)


def test_params_are_a_sequence() -> None:
    blobs = BlobVec()
    added = blobs.add_blob(2, 3)
    blobs.add_blob()
    assert len(blobs) == 2
    assert blobs[0] is added is blobs[-2]
    assert [blob.shape for blob in blobs] == [(2, 3), ()]
    with pytest.raises(IndexError):
        blobs[2]


def test_phases_are_numbers_that_print_as_names() -> None:
    assert (TRAIN, TEST) == (0, 1)
    assert f"{TRAIN} {TEST}" == "TRAIN TEST"
