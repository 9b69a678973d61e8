"""What every element-wise layer keeps to; what each computes is tested beside it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.engine.layers import parts
from farlayer.engine.registry import layer_class
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    untouched,
)

CASES = {
    "AbsVal": 'type: "AbsVal"',
    "BNLL": 'type: "BNLL"',
    "Clip": 'type: "Clip" clip_param { min: -0.5 max: 0.75 }',
    "Dropout": 'type: "Dropout" dropout_param { dropout_ratio: 0.4 }',
    "Dropout that scales in TEST": 'type: "Dropout" dropout_param { scale_train: false }',
    "ELU": 'type: "ELU" elu_param { alpha: 0.5 }',
    "ELU that turns up": 'type: "ELU" elu_param { alpha: -0.5 }',
    "Exp": 'type: "Exp" exp_param { base: 2 scale: 0.5 shift: 1 }',
    "Log": 'type: "Log" log_param { base: 3 scale: 0.5 shift: 6 }',
    "PReLU": 'type: "PReLU"',
    "PReLU of one slope": 'type: "PReLU" prelu_param { channel_shared: true }',
    "Power 0": 'type: "Power" power_param { power: 0 }',
    "Power 1": 'type: "Power" power_param { scale: 3 shift: 2 }',
    "Power 2": 'type: "Power" power_param { power: 2 scale: 0.5 shift: 1.5 }',
    "Power 1.5": 'type: "Power" power_param { power: 1.5 scale: 0.5 shift: 6 }',
    "Power of a constant": 'type: "Power" power_param { power: 3 scale: 0 shift: 2 }',
    "ReLU": 'type: "ReLU"',
    "ReLU that leaks": 'type: "ReLU" relu_param { negative_slope: 0.25 }',
    "ReLU that turns up": 'type: "ReLU" relu_param { negative_slope: -0.5 }',
    "ReLU6": 'type: "ReLU6"',
    "ReLU6 that leaks": 'type: "ReLU6" relu_param { negative_slope: 0.25 }',
    "ReLU6 that turns up": 'type: "ReLU6" relu_param { negative_slope: -0.5 }',
    "Sigmoid": 'type: "Sigmoid"',
    "Swish": 'type: "Swish" swish_param { beta: 1.5 }',
    "TanH": 'type: "TanH"',
    "Threshold": 'type: "Threshold" threshold_param { threshold: 0.2 }',
}
IN_PLACE = [name for name in CASES if name != "AbsVal"]
WITH_GRADIENT = [name for name in CASES if name != "Threshold"]


def results(layer: Layer, bottom: Blob, top: Blob) -> dict[str, np.ndarray]:
    """Top data, bottom diff and param diffs after a pass forward and backward."""
    layer.run_setup([bottom], [top])
    layer.param_propagate_down = [True] * len(layer.params)
    layer.run_forward([bottom], [top])
    data = top.data.copy()
    if layer.type_name == "Threshold":
        return {"top": data}
    top.diff[...] = np.random.default_rng(3).standard_normal(top.shape)
    layer.run_backward([top], [True], [bottom])
    return {"top": data, "bottom": bottom.diff, **{str(i): blob.diff for i, blob in enumerate(layer.params)}}


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


@pytest.mark.parametrize("case", IN_PLACE)
def test_in_place_gives_the_same_values_and_gradients(case: str) -> None:
    in_place = random_blob(4, 3, 5)
    assert_same(
        results(layer_of(CASES[case]), random_blob(4, 3, 5), Blob()),
        results(layer_of(CASES[case]), in_place, in_place),
    )


def test_a_type_that_cannot_work_in_place_says_so() -> None:
    assert not layer_class("AbsVal").allows_in_place


@pytest.mark.parametrize("case", CASES)
def test_parts_give_the_same_as_the_whole(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = results(layer_of(CASES[case]), random_blob(5, 3, 4), Blob())
    monkeypatch.setattr(parts, "PART_VALUES", 7)
    in_parts = results(layer_of(CASES[case]), random_blob(5, 3, 4), Blob())
    for name, value in whole.items():
        np.testing.assert_allclose(in_parts[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", WITH_GRADIENT)
def test_without_propagate_down_the_diff_stays(case: str) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(CASES[case])
    top = run(layer, [bottom])
    layer.param_propagate_down = [True] * len(layer.params)
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("case", CASES)
@given(shape=st.lists(st.integers(0, 4), min_size=2, max_size=5))
@settings(max_examples=10, deadline=None)
def test_any_shape_will_do_also_an_empty_one(case: str, shape: list[int]) -> None:
    bottom = random_blob(*shape)
    found = results(layer_of(CASES[case]), bottom, Blob())
    assert found["top"].shape == bottom.diff.shape == tuple(shape)
    flat = results(layer_of(CASES[case]), blob_of(bottom.data.reshape(*shape[:2], -1)), Blob()) if bottom.count else {}
    for name in flat.keys() - {"0"}:
        if "Dropout" not in case:
            np.testing.assert_allclose(found[name].ravel(), flat[name].ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [name for name in CASES if "PReLU" not in name])
def test_a_blob_without_axes_will_do(case: str) -> None:
    found = results(layer_of(CASES[case]), random_blob(), Blob())
    assert found["top"].shape == ()


@pytest.mark.parametrize("case", CASES)
def test_a_batch_may_change_its_size(case: str) -> None:
    layer, bottom = layer_of(CASES[case], seed=2), random_blob(2, 3, 4)
    top = run(layer, [bottom])
    for size in (5, 1):
        bottom.reshape(size, 3, 4)
        bottom.data[...] = random_blob(size, 3, 4).data
        layer.run_forward([bottom], top)
        assert top[0].shape == (size, 3, 4)
        if "Dropout" not in case:
            (fresh,) = run(layer_of(CASES[case]), [random_blob(size, 3, 4)])
            np.testing.assert_array_equal(top[0].data, fresh.data)


@pytest.mark.parametrize("case", CASES)
def test_a_steady_state_allocates_nothing(case: str) -> None:
    assert_nothing_is_allocated(layer_of(CASES[case]), [random_blob(8, 32, 16, 16)], backward=case in WITH_GRADIENT)


@pytest.mark.parametrize("case", ["BNLL", "Clip", "Log", "PReLU", "Power 2"])
def test_a_steady_state_in_place_allocates_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = random_blob(8, 32, 16, 16)
    monkeypatch.setattr("tests.engine.support.set_up", set_up_in_place)
    assert_nothing_is_allocated(layer_of(CASES[case]), [blob])


def set_up_in_place(layer: Layer, bottom: list[Blob], num_top: int) -> list[Blob]:
    layer.run_setup(bottom, bottom)
    layer.param_propagate_down = [True] * len(layer.params)
    return bottom


@pytest.mark.parametrize(
    ("case", "oracle"),
    [
        ("BNLL", lambda x: 1 / (1 + np.exp(-x))),
        ("Clip", lambda x: (x >= -0.5) & (x <= 0.75)),
        ("Log", lambda x: 0.5 / np.log(3) / (6 + 0.5 * x)),
        ("Power 2", lambda x: 2 * 0.5 * (1.5 + 0.5 * x)),
        ("ReLU that turns up", lambda x: np.where(x > 0, 1, -0.5)),
    ],
)
def test_in_a_net_the_gradient_of_an_in_place_layer_is_that_of_its_input(
    case: str, oracle: Callable[[np.ndarray], np.ndarray]
) -> None:
    text = f"""
        force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 3 dim: 4 }} }} }}
        layer {{ name: "l" bottom: "x" top: "x" {CASES[case]} }}
    """
    with native_net(text) as net:
        x = random_blob(3, 4).data
        net.blobs["x"].data[...] = x
        net.forward()
        net.blobs["x"].diff.fill(1)
        net.backward()
        np.testing.assert_allclose(net.blobs["x"].diff, oracle(x), rtol=1e-5)
