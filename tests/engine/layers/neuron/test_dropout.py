import numpy as np
import pytest

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run


def text(fields: str) -> str:
    return f'type: "Dropout" dropout_param {{ {fields} }}'


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.9])
def test_in_training_values_are_dropped_with_the_chance_that_is_given_and_others_scaled(ratio: float) -> None:
    (top,) = run(layer_of(text(f"dropout_ratio: {ratio}")), [blob_of(np.full((100, 100), 2))])
    dropped = top.data == 0
    assert dropped.mean() == pytest.approx(ratio, abs=0.02)
    np.testing.assert_allclose(top.data[~dropped], 2 / (1 - ratio), rtol=1e-6)


def test_the_ratio_is_a_half_unless_given() -> None:
    (top,) = run(layer_of('type: "Dropout"'), [blob_of(np.ones((100, 100)))])
    assert (top.data == 0).mean() == pytest.approx(0.5, abs=0.02)


def test_with_scale_train_off_training_does_not_scale() -> None:
    (top,) = run(layer_of(text("dropout_ratio: 0.25 scale_train: false")), [blob_of(np.full((50, 50), 3))])
    assert set(np.unique(top.data)) == {0, 3}


@pytest.mark.parametrize(
    ("fields", "factor"), [("dropout_ratio: 0.25", 1), ("dropout_ratio: 0.25 scale_train: false", 0.75)]
)
def test_in_testing_every_value_passes(fields: str, factor: float) -> None:
    bottom, layer = random_blob(4, 5), layer_of(text(fields), phase=caffe_pb2.TEST)
    top = run(layer, [bottom])
    top[0].diff.fill(2)
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(top[0].data, bottom.data * np.float32(factor))
    np.testing.assert_array_equal(bottom.diff, np.full((4, 5), 2 * factor))


@pytest.mark.parametrize("fields", ["dropout_ratio: 0.3", "dropout_ratio: 0.3 scale_train: false"])
def test_the_gradient_passes_where_the_value_did(fields: str) -> None:
    bottom, layer = blob_of(np.ones((20, 20))), layer_of(text(fields))
    top = run(layer, [bottom])
    top[0].diff[...] = random_blob(20, 20).data
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_allclose(bottom.diff, top[0].diff * top[0].data, rtol=1e-6)


def test_each_pass_drops_other_values() -> None:
    bottom, layer = blob_of(np.ones((20, 20))), layer_of(text(""))
    (top,) = run(layer, [bottom])
    first = top.data.copy()
    layer.run_forward([bottom], [top])
    assert (first != top.data).any()


def test_the_same_seed_drops_the_same_values() -> None:
    first, second, other = (run(layer_of(text(""), seed=seed), [blob_of(np.ones((20, 20)))])[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.data, second.data)
    assert (first.data != other.data).any()


def test_testing_draws_no_random_numbers() -> None:
    layer = layer_of(text(""), phase=caffe_pb2.TEST)
    before = layer.context.rng.bit_generator.state
    run(layer, [random_blob(4, 5)])
    assert layer.context.rng.bit_generator.state == before


@pytest.mark.parametrize("ratio", ["1", "1.5", "-0.1", "nan"])
def test_a_ratio_that_is_no_chance_is_refused(ratio: str) -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(Dropout\): dropout_ratio is .*expected 0 or more"):
        run(layer_of(text(f"dropout_ratio: {ratio}")), [random_blob(2)])
