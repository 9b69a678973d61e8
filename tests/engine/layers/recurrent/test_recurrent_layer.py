"""What LSTM and RNN have in common; what each of them computes is in its own test."""

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    set_up,
    untouched,
)

TYPES = {"LSTM": 2, "RNN": 1}  # how many states each has
FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'


def text(type_name: str, options: str = "", num_output: int = 3) -> str:
    return f'type: "{type_name}" recurrent_param {{ num_output: {num_output} {FILLERS} {options} }}'


def sequence(steps: int, streams: int, features: int = 2, *, seed: int = 7) -> list[Blob]:
    """Bottoms x and cont; each stream begins at the first step, and some begin again in the middle."""
    cont = np.ones((steps, streams))
    cont[0] = 0
    cont[steps // 2, ::2] = 0
    return [random_blob(steps, streams, features, seed=seed), blob_of(cont)]


@pytest.mark.parametrize("shape", [(4, 3), (1, 2), (3, 1)])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("type_name", TYPES)
def test_the_gradient_is_right(type_name: str, static: bool, shape: tuple[int, int]) -> None:
    bottom = sequence(*shape)
    if static:
        bottom.append(random_blob(shape[1], 2, 2, seed=3))
    checked = [0, 2] if static else [0]
    layer = layer_of(text(type_name))
    assert GradientChecker().check(layer, bottom, [Blob()], check_bottom=checked)


@pytest.mark.parametrize("type_name", TYPES)
def test_the_gradient_is_right_with_exposed_states(type_name: str) -> None:
    """They are constants: no gradient passes through the first ones, and the last ones give none."""
    states = TYPES[type_name]
    bottom = [random_blob(3, 2, 2), blob_of(np.ones((3, 2))), *(random_blob(1, 2, 3, seed=i) for i in range(states))]
    top = [Blob() for _ in range(1 + states)]
    weights = [random_blob(3, 2, 3, seed=9).data, *(np.zeros((1, 2, 3), np.float32) for _ in range(states))]
    layer = layer_of(text(type_name, "expose_hidden: true"))
    assert GradientChecker().check(layer, bottom, top, check_bottom=[0], top_diffs=weights)
    for blob in bottom[2:]:
        untouched(blob)
    for blob in top[1:]:
        blob.diff.fill(1)
    layer.run_backward(top, [True, False, *[True] * states], bottom)
    exposed_ignored = bottom[0].diff.copy()
    for blob in top[1:]:
        blob.diff.fill(0)
    layer.run_backward(top, [True, False, *[False] * states], bottom)
    np.testing.assert_array_equal(bottom[0].diff, exposed_ignored)
    assert all((blob.diff == 0).all() for blob in bottom[2:])


@pytest.mark.parametrize("type_name", TYPES)
def test_a_sequence_in_two_calls_gives_what_it_gives_in_one(type_name: str) -> None:
    x = random_blob(6, 2, 2).data
    cont = np.array([[0, 1], [1, 1], [1, 0], [1, 1], [1, 1], [0, 1]], np.float32)
    whole = run(layer_of(text(type_name)), [blob_of(x), blob_of(cont)])[0].data
    bottom = [Blob((3, 2, 2)), Blob((3, 2))]
    layer = layer_of(text(type_name))
    top = set_up(layer, bottom)
    halves = []
    for half in (slice(0, 3), slice(3, 6)):
        bottom[0].data[...], bottom[1].data[...] = x[half], cont[half]
        layer.run_forward(bottom, top)
        halves.append(top[0].data.copy())
    np.testing.assert_allclose(np.concatenate(halves), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("type_name", TYPES)
def test_exposed_states_carry_a_sequence_as_the_layer_itself_does(type_name: str) -> None:
    states = TYPES[type_name]
    bottom = [random_blob(3, 2, 2), blob_of(np.ones((3, 2)))]
    carrying, exposing = layer_of(text(type_name)), layer_of(text(type_name, "expose_hidden: true"))
    first = [Blob((1, 2, 3)) for _ in range(states)]
    carried, exposed = set_up(carrying, bottom), set_up(exposing, [*bottom, *first], 1 + states)
    for _ in range(3):
        carrying.run_forward(bottom, carried)
        exposing.run_forward([*bottom, *first], exposed)
        np.testing.assert_allclose(exposed[0].data, carried[0].data, rtol=1e-5, atol=1e-6)
        for before, after in zip(first, exposed[1:], strict=True):
            before.data[...] = after.data
    assert not np.allclose(first[0].data, 0)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_stream_that_begins_forgets_what_was_before(type_name: str) -> None:
    bottom = sequence(3, 2)
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    first = top[0].data.copy()
    layer.run_forward(bottom, top)
    np.testing.assert_array_equal(top[0].data, first)
    bottom[1].data[0, 0] = 1
    layer.run_forward(bottom, top)
    assert not np.allclose(top[0].data[0, 0], first[0, 0])
    np.testing.assert_array_equal(top[0].data[:, 1], first[:, 1])


@pytest.mark.parametrize("type_name", TYPES)
def test_reset_starts_from_zero_again(type_name: str) -> None:
    bottom = [random_blob(3, 2, 2), blob_of(np.ones((3, 2)))]
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    first = top[0].data.copy()
    layer.run_forward(bottom, top)
    assert not np.allclose(top[0].data, first)
    layer.reset()
    layer.run_forward(bottom, top)
    np.testing.assert_array_equal(top[0].data, first)


@pytest.mark.parametrize("type_name", TYPES)
def test_the_number_of_streams_may_change_and_more_of_them_start_from_zero(type_name: str) -> None:
    few, many = random_blob(3, 2, 2), random_blob(3, 5, 2)
    fresh = layer_of(text(type_name))
    expected = run(fresh, [many, blob_of(np.ones((3, 5)))])[0].data.copy()
    layer = layer_of(text(type_name))
    bottom = [few, blob_of(np.ones((3, 2)))]
    top = run(layer, bottom)
    bottom = [many, blob_of(np.ones((3, 5)))]
    layer.run_forward(bottom, top)
    np.testing.assert_allclose(top[0].data, expected, rtol=1e-5, atol=1e-6)
    layer.run_backward(top, [True, False], bottom)
    layer.run_forward([few, blob_of(np.zeros((3, 2)))], top)
    assert top[0].shape == (3, 2, 3)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_top_that_is_written_over_does_not_spoil_the_gradient(type_name: str) -> None:
    """A ReLU in place after the layer does that."""
    bottom = sequence(3, 2)
    gradients = []
    for spoil in (False, True):
        layer = layer_of(text(type_name))
        top = run(layer, bottom)
        if spoil:
            top[0].data.fill(100)
        top[0].diff[...] = random_blob(3, 2, 3, seed=5).data
        layer.run_backward(top, [True, False], bottom)
        gradients.append([bottom[0].diff.copy(), *(blob.diff.copy() for blob in layer.params)])
    for clean, spoilt in zip(*gradients, strict=True):
        np.testing.assert_array_equal(clean, spoilt)


@pytest.mark.parametrize("type_name", TYPES)
def test_gradients_of_params_add_up(type_name: str) -> None:
    bottom = [*sequence(3, 2), random_blob(2, 4)]
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    top[0].diff.fill(1)
    layer.run_backward(top, [True, False, True], bottom)
    once = [blob.diff.copy() for blob in layer.params]
    assert all(diff.any() for diff in once)
    layer.run_backward(top, [True, False, True], bottom)
    for blob, diff in zip(layer.params, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * diff, rtol=1e-5)


@pytest.mark.parametrize("type_name", TYPES)
def test_what_wants_no_gradient_is_left_alone(type_name: str) -> None:
    bottom = [*sequence(3, 2), random_blob(2, 4)]
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    top[0].diff.fill(1)
    layer.param_propagate_down = [False] * len(layer.params)
    for blob in (*bottom, *layer.params):
        untouched(blob)
    layer.run_backward(top, [False, False, False], bottom)
    for blob in (*bottom, *layer.params):
        assert_untouched(blob)


@pytest.mark.parametrize("type_name", TYPES)
def test_cont_gets_no_gradient(type_name: str) -> None:
    bottom = sequence(3, 2)
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    assert [layer.allow_force_backward(index) for index in range(3)] == [True, False, True]
    with pytest.raises(NetError, match=rf"layer 'l' \({type_name}\): cont cannot have a gradient"):
        layer.run_backward(top, [True, True], bottom)


@pytest.mark.parametrize("type_name", TYPES)
def test_without_streams_nothing_happens(type_name: str) -> None:
    bottom = [Blob((3, 0, 2)), Blob((3, 0)), Blob((0, 4))]
    layer = layer_of(text(type_name))
    top = run(layer, bottom)
    layer.run_backward(top, [True, False, True], bottom)
    assert top[0].shape == (3, 0, 3)
    assert not any(blob.diff.any() for blob in layer.params)


@pytest.mark.parametrize("type_name", TYPES)
def test_nothing_is_allocated_in_a_steady_state(type_name: str) -> None:
    layer = layer_of(text(type_name, num_output=32))
    bottom = [random_blob(8, 16, 2048), blob_of(np.ones((8, 16))), random_blob(16, 64)]
    assert_nothing_is_allocated(layer, bottom, propagate_down=[True, False, True])


@pytest.mark.parametrize("type_name", TYPES)
def test_two_layers_share_params_by_name(type_name: str) -> None:
    layers = "".join(
        f'layer {{ name: "{name}" bottom: "x" bottom: "cont" top: "{name}" param {{ name: "w" }} param {{ name: "b" }} '
        f"{text(type_name)} propagate_down: true propagate_down: false }}"
        for name in ("one", "two")
    )
    shapes = "shape { dim: 2 dim: 3 dim: 4 } shape { dim: 2 dim: 3 }"
    inputs = f'layer {{ name: "in" type: "Input" top: "x" top: "cont" input_param {{ {shapes} }} }}'
    with native_net(inputs + layers) as net:
        one, two = net.layer("one").params, net.layer("two").params
        assert [mine.data_segment is other.data_segment for mine, other in zip(one[:3], two[:3], strict=True)] == [
            True,
            True,
            False,
        ]


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(2, 3), (2, 3)], "", r"bottom\[0\] has shape \(2, 3\), expected \(time steps, streams, features"),
        ([(0, 3, 1), (0, 3)], "", "1 time step or more"),
        ([(2, 3, 4), (2, 3, 1)], "", r"bottom\[1\] \(cont\) has shape \(2, 3, 1\), expected \(2, 3\)"),
        ([(2, 3, 4), (3, 3)], "", r"bottom\[1\] \(cont\) has shape \(3, 3\), expected \(2, 3\)"),
        ([(2, 3, 4), (2, 3), (2, 4)], "", r"bottom\[2\] \(x_static\) has shape \(2, 4\), expected \(3, features"),
        ([(2, 3, 4), (2, 3), (3,)], "", r"bottom\[2\] \(x_static\) has shape \(3,\)"),
        ([(2, 3, 4)], "", r"takes 2 or 3 bottoms and 1 top\(s\) without expose_hidden, got 1 and 1"),
        ([(2, 3, 4), (2, 3), (3, 1), (3, 1)], "", "got 4 and 1"),
        ([(2, 3, 4), (2, 3)], "expose_hidden: true", "with expose_hidden, got 2 and 1"),
    ],
)
def test_bottoms_and_parameters_that_do_not_fit_are_refused(
    type_name: str, shapes: list[tuple[int, ...]], options: str, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(type_name, options)), [Blob(shape) for shape in shapes])
    assert caught.value.layer == "l"


@pytest.mark.parametrize("type_name", TYPES)
def test_no_outputs_are_refused(type_name: str) -> None:
    with pytest.raises(NetError, match="num_output is 0"):
        run(layer_of(f'type: "{type_name}"'), sequence(2, 3))


@pytest.mark.parametrize("type_name", TYPES)
def test_first_states_of_another_shape_are_refused(type_name: str) -> None:
    states = TYPES[type_name]
    bottom = [Blob((2, 3, 4)), Blob((2, 3)), *(Blob((3, 3)) for _ in range(states))]
    with pytest.raises(NetError, match=r"bottom\[2\], a first state, has shape \(3, 3\), expected \(1, 3, 3\)"):
        run(layer_of(text(type_name, "expose_hidden: true")), bottom, 1 + states)


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3, 2), r"\(4, 3, 2\) has 4 time steps, expected 2 as at setup"),
        ((2, 3, 5), r"x \(and x_static\) have \[5\] features, expected \[2\] as at setup"),
    ],
)
def test_between_calls_only_the_number_of_streams_may_change(
    type_name: str, shape: tuple[int, int, int], message: str
) -> None:
    layer = layer_of(text(type_name))
    top = run(layer, sequence(2, 3))
    with pytest.raises(NetError, match=message):
        layer.run_forward([Blob(shape), Blob(shape[:2])], top)
