import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.fillers import fill
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import peak_bytes


def filled(text: str, *shape: int, seed: int = 1) -> np.ndarray:
    blob = Blob(shape)
    fill(blob, parse(text, caffe_pb2.FillerParameter()), np.random.default_rng(seed), layer="l")
    return blob.data


def test_the_default_is_a_constant_of_zero() -> None:
    assert not filled("", 3, 4).any()


def test_constant_fills_with_its_value() -> None:
    assert (filled('type: "constant" value: 2.5', 3, 4) == 2.5).all()


def test_uniform_lies_between_its_bounds() -> None:
    data = filled('type: "uniform" min: -1 max: 3', 100, 100)
    assert data.min() >= -1
    assert data.max() <= 3
    assert data.mean() == pytest.approx(1, abs=0.05)
    assert data.std() == pytest.approx(4 / np.sqrt(12), rel=0.02)


def test_gaussian_has_its_mean_and_deviation() -> None:
    data = filled('type: "gaussian" mean: 2 std: 0.5', 100, 100)
    assert data.mean() == pytest.approx(2, abs=0.02)
    assert data.std() == pytest.approx(0.5, rel=0.03)


def test_sparse_gaussian_keeps_that_many_weights_for_each_output_on_average() -> None:
    data = filled('type: "gaussian" sparse: 5', 50, 1000)
    assert np.count_nonzero(data) == pytest.approx(data.size * 5 / 50, rel=0.05)


@pytest.mark.parametrize(("sparse", "kept"), [(0, 0), (50, 1)])
def test_sparse_can_keep_nothing_and_everything(sparse: int, kept: float) -> None:
    data = filled(f'type: "gaussian" sparse: {sparse}', 50, 20)
    assert np.count_nonzero(data) / data.size == kept


def test_sparse_thins_out_big_blobs_evenly() -> None:
    data = filled('type: "gaussian" sparse: 100', 400, 1000)  # of several parts
    shares = np.count_nonzero(data.reshape(10, -1), axis=1) / (data.size / 10)
    np.testing.assert_allclose(shares, 0.25, atol=0.02)


def test_positive_unitball_rows_are_positive_and_sum_to_one() -> None:
    data = filled('type: "positive_unitball"', 4, 5, 6)
    assert (data >= 0).all()
    np.testing.assert_allclose(data.reshape(4, -1).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("norm", "fan"), [("", 6), ("FAN_IN", 6), ("FAN_OUT", 2000), ("AVERAGE", 1003)])
def test_xavier_and_msra_scale_with_the_fan(norm: str, fan: float) -> None:
    option = f"variance_norm: {norm}" if norm else ""
    shape = (1000, 3, 2)  # fan in 3 * 2, fan out 1000 * 2
    xavier = filled(f'type: "xavier" {option}', *shape)
    assert np.abs(xavier).max() <= np.sqrt(3 / fan)
    assert xavier.std() == pytest.approx(1 / np.sqrt(fan), rel=0.05)
    assert filled(f'type: "msra" {option}', *shape).std() == pytest.approx(np.sqrt(2 / fan), rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_bilinear_follows_its_formula(size: int) -> None:
    half = (size + 1) // 2
    center = (size - 1) / (2 * half)
    expected = [[(1 - abs(x / half - center)) * (1 - abs(y / half - center)) for x in range(size)] for y in range(size)]
    np.testing.assert_allclose(filled('type: "bilinear"', 1, 2, size, size)[0, 1], expected, rtol=1e-6)


def test_bilinear_is_the_kernel_of_an_upsampling() -> None:
    data = filled('type: "bilinear"', 2, 1, 4, 4)
    np.testing.assert_allclose(data[0, 0, 0], np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])[0])
    np.testing.assert_array_equal(data[0], data[1])


def test_the_same_seed_gives_the_same_numbers() -> None:
    np.testing.assert_array_equal(filled('type: "xavier"', 3, 4), filled('type: "xavier"', 3, 4))
    assert (filled('type: "xavier"', 3, 4) != filled('type: "xavier"', 3, 4, seed=2)).any()


ALL = ["constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear"]


@pytest.mark.parametrize("text", [*(f'type: "{name}"' for name in ALL), 'type: "gaussian" sparse: 50'])
def test_a_big_blob_is_filled_in_its_own_memory(text: str) -> None:
    blob = Blob((100, 100, 20, 20))
    blob.data.fill(0)  # the memory is taken
    param, rng = parse(text, caffe_pb2.FillerParameter()), np.random.default_rng(1)
    assert peak_bytes(lambda: fill(blob, param, rng, layer="l")) < 1 << 20, "of 16 MB"


@pytest.mark.parametrize("name", ALL)
def test_an_empty_blob_is_left_alone(name: str) -> None:
    assert filled(f'type: "{name}"', 0, 3).size == 0


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ('type: "xavie"', (2,), "unknown filler type 'xavie'; known: bilinear, constant"),
        ('type: "uniform" min: 2 max: 1', (2,), "min 2.0 is above max 1.0"),
        ('type: "gaussian" std: 0', (2,), "std is 0.0"),
        ('type: "gaussian" std: -1', (2,), "std is -1.0"),
        ('type: "gaussian" sparse: -2', (2,), "sparse is -2"),
        ('type: "gaussian" sparse: 3', (2, 5), "sparse is 3, expected at most 2, the size of axis 0"),
        ('type: "gaussian" sparse: 0', (), "sparse needs a blob with at least one axis"),
        ('type: "xavier" sparse: 3', (2,), "sparse: 3, which it does not support"),
        ('type: "bilinear"', (2, 3), "needs 4 axes"),
        ('type: "bilinear"', (1, 1, 2, 3), "of the same size"),
    ],
)
def test_what_a_filler_cannot_do_is_refused(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        filled(text, *shape)
    assert caught.value.layer == "l"
    assert caught.value.remedy
