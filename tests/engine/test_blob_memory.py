import pytest

from farlayer.blobs.segment import Allocator, heap, shared
from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.blob_memory import plan_allocators
from farlayer.engine.splits import insert_splits
from farlayer.protos.errors import NetError
from tests.engine.support import net_param


class MixedHost(InProcessHost):
    """Layers whose name begins with "far" want shared memory, the others the heap."""

    def allocator(self, layer_name: str) -> Allocator:
        return shared if layer_name.startswith("far") else heap


def plan(text: str) -> dict[str, Allocator]:
    return plan_allocators(insert_splits(net_param(text)), MixedHost())


DATA = 'layer { name: "d" type: "Input" top: "x" }'


def test_blobs_of_native_layers_are_left_out() -> None:
    assert plan(DATA + 'layer { name: "t" type: "TanH" bottom: "x" top: "y" }') == {}


def test_bottoms_and_tops_of_a_python_layer_get_its_allocator() -> None:
    assert plan(DATA + 'layer { name: "far" type: "Python" bottom: "x" top: "y" }') == {"x": shared, "y": shared}


def test_a_blob_between_two_hosts_gets_what_is_not_the_heap() -> None:
    layers = [
        'layer { name: "near" type: "Python" bottom: "x" top: "y" }',
        'layer { name: "far" type: "Python" bottom: "y" top: "z" }',
        'layer { name: "near2" type: "Python" bottom: "z" top: "u" }',
    ]
    assert plan(DATA + "".join(layers)) == {"x": heap, "y": shared, "z": shared, "u": heap}


def test_a_split_hands_the_need_up_to_the_blob_that_owns_the_memory() -> None:
    layers = [
        'layer { name: "t" type: "TanH" bottom: "x" top: "y" }',
        'layer { name: "far" type: "Python" bottom: "x" top: "z" }',
    ]
    assert plan(DATA + "".join(layers)) == {"x": shared, "x_d_0_split_1": shared, "z": shared}


def test_a_chain_of_splits_hands_it_up_to_the_first() -> None:
    layers = [
        'layer { name: "s1" type: "Split" bottom: "x" top: "a" top: "b" }',
        'layer { name: "s2" type: "Split" bottom: "a" top: "c" top: "e" }',
        'layer { name: "far" type: "Python" bottom: "c" top: "z" }',
    ]
    found = plan(DATA + "".join(layers))
    assert {name for name, allocate in found.items() if allocate is shared} == {"x", "a", "c", "z"}


def test_an_in_place_layer_shares_the_need_of_its_blob() -> None:
    layers = [
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }',
        'layer { name: "far" type: "Python" bottom: "x" top: "z" }',
    ]
    assert plan(DATA + "".join(layers)) == {"x": shared, "z": shared}


def test_layers_that_give_their_bottom_another_shape_hand_the_need_up() -> None:
    layers = [
        'layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: -1 } } }',
        'layer { name: "f" type: "Flatten" bottom: "y" top: "z" }',
        'layer { name: "far" type: "Python" bottom: "z" top: "u" }',
    ]
    assert plan(DATA + "".join(layers)) == {"x": shared, "y": shared, "z": shared, "u": shared}


def test_a_concat_copies_and_hands_nothing_up() -> None:
    layers = [
        'layer { name: "e" type: "Input" top: "y" }',
        'layer { name: "c" type: "Concat" bottom: "x" bottom: "y" top: "z" }',
        'layer { name: "far" type: "Python" bottom: "z" top: "u" }',
    ]
    assert plan(DATA + "".join(layers)) == {"z": shared, "u": shared}


def test_of_several_unknown_types_the_first_is_named() -> None:
    layers = [
        'layer { name: "first" type: "Fancy" top: "y" }',
        'layer { name: "second" type: "Fancier" bottom: "x" bottom: "y" top: "z" }',
    ]
    with pytest.raises(NetError, match="layer 'first' has the unknown type 'Fancy'"):
        plan(DATA + "".join(layers))
