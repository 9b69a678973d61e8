import numpy as np
import pytest

from farlayer.engine.net import Net
from farlayer.protos.errors import NetError
from tests.engine.support import native_net

INPUT = 'layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 4 } } }'


def ip(name: str, bottom: str, param: str, inner: str = "num_output: 4 bias_term: false") -> str:
    filler = 'weight_filler { type: "gaussian" std: 0.5 }'
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {param} '
        f"inner_product_param {{ {inner} {filler} }} }}"
    )


def two(first: str, second: str, inner: str = "num_output: 4 bias_term: false") -> Net:
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "t" }'
    return native_net("\n".join([INPUT, ip("a", "x", first), ip("b", "a", second, inner), loss]))


def test_params_of_one_name_are_one_param_with_the_sum_of_their_gradients() -> None:
    net = two('param { name: "w" }', 'param { name: "w" }')
    a, b = net.layer("a").params[0], net.layer("b").params[0]
    assert len(net.learnable_params) == 1
    assert np.shares_memory(a.data, b.data)
    assert np.shares_memory(a.diff, b.diff)
    for name in ("x", "t"):
        net.blobs[name].data[...] = np.random.default_rng(3).standard_normal((2, 4))
    net.clear_param_diffs()
    net.forward()
    net.backward()
    analytic = a.diff.copy()
    for index in np.ndindex(4, 4):
        value = a.data[index]
        losses = []
        for step in (1e-2, -1e-2):
            a.data[index] = value + step
            losses.append(net.forward())
        a.data[index] = value
        assert analytic[index] == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=5e-3, abs=5e-3)


def test_params_without_a_name_are_their_own() -> None:
    net = two("", "param { lr_mult: 2 }")
    assert len(net.learnable_params) == 2
    assert [param.lr_mult for param in net.learnable] == [None, 2]


def test_the_multipliers_hold_wherever_they_are_stated() -> None:
    net = two('param { name: "w" decay_mult: 0 }', 'param { name: "w" lr_mult: 3 decay_mult: 0 }')
    assert [(param.lr_mult, param.decay_mult) for param in net.learnable] == [(3, 0)]


@pytest.mark.parametrize("field", ["lr_mult", "decay_mult"])
def test_multipliers_that_contradict_each_other_are_refused(field: str) -> None:
    expected = rf"layer 'b'.*shared param 'w' has {field} 2.0, but 1.0 with its owner"
    with pytest.raises(NetError, match=expected) as caught:
        two(f'param {{ name: "w" {field}: 1 }}', f'param {{ name: "w" {field}: 2 }}')
    assert caught.value.layer == "b"


def test_another_shape_is_refused() -> None:
    expected = r"shape \(2, 4\), but it shares 'w' with layer 'a', where the shape is \(4, 4\)"
    with pytest.raises(NetError, match=expected):
        two('param { name: "w" }', 'param { name: "w" }', "num_output: 2 bias_term: false")


def test_permissive_sharing_asks_for_the_same_count_only() -> None:
    text = [
        INPUT,
        ip("a", "x", 'param { name: "w" }', "num_output: 2 bias_term: false"),
        ip("b", "a", 'param { name: "w" share_mode: PERMISSIVE }', "num_output: 4 bias_term: false"),
    ]
    net = native_net("\n".join(text))
    assert [blob.shape for layer in net.layers for blob in layer.params] == [(2, 4), (4, 2)]
    net.layer("a").params[0].data[...] = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(net.layer("b").params[0].data, np.arange(8).reshape(4, 2))
    with pytest.raises(NetError, match="the same number of values"):
        native_net("\n".join([*text[:2], text[2].replace("num_output: 4", "num_output: 3")]))


def test_more_specs_than_params_are_refused() -> None:
    with pytest.raises(NetError, match=r"layer 'a'.*2 param specs are given, but it has 1 params"):
        two("param { } param { }", "")
