"""What every loss keeps to; what each computes is tested beside it."""

from collections.abc import Callable

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.protos.errors import NetError
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


def labels(num: int, classes: int) -> Blob:
    return blob_of(np.random.default_rng(4).integers(0, classes, num))


def classified(num: int, size: int) -> list[Blob]:
    return [random_blob(num, size), labels(num, size)]


def probabilities(num: int, size: int) -> list[Blob]:
    raw = np.abs(random_blob(num, size).data) + 0.1
    return [blob_of(raw / raw.sum(axis=1, keepdims=True)), labels(num, size)]


def pairs(num: int, size: int) -> list[Blob]:
    return [random_blob(num, size), random_blob(num, size, seed=8)]


#: For each loss its prototxt, and bottoms for N samples of K values.
CASES: dict[str, tuple[str, Callable[[int, int], list[Blob]]]] = {
    "ContrastiveLoss": (
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 9 }',
        lambda num, size: [*pairs(num, size), labels(num, 2)],
    ),
    "EuclideanLoss": ('type: "EuclideanLoss"', pairs),
    "HingeLoss": ('type: "HingeLoss"', classified),
    "HingeLoss L2": ('type: "HingeLoss" hinge_loss_param { norm: L2 }', classified),
    "InfogainLoss": (
        'type: "InfogainLoss" loss_param { ignore_label: 1 }',
        lambda num, size: [*classified(num, size), random_blob(size, size)],
    ),
    "MultinomialLogisticLoss": ('type: "MultinomialLogisticLoss"', probabilities),
    "SigmoidCrossEntropyLoss": ('type: "SigmoidCrossEntropyLoss" loss_param { ignore_label: -1 }', pairs),
    "SmoothL1Loss": ('type: "SmoothL1Loss"', pairs),
    "SmoothL1Loss with weights": (
        'type: "SmoothL1Loss"',
        lambda num, size: [*pairs(num, size), random_blob(num, size, seed=9), random_blob(num, size, seed=10)],
    ),
    "SoftmaxWithLoss": ('type: "SoftmaxWithLoss" loss_param { ignore_label: 1 }', classified),
}
#: Which bottoms may get a gradient.
BOTH = {"ContrastiveLoss", "EuclideanLoss", "SmoothL1Loss", "SmoothL1Loss with weights"}


def made(case: str, num: int, size: int) -> tuple[Layer, list[Blob]]:
    text, bottoms = CASES[case]
    return layer_of(text), bottoms(num, size)


def flags(case: str, bottom: list[Blob]) -> list[bool]:
    return [index == 0 or (index == 1 and case in BOTH) for index in range(len(bottom))]


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_a_scalar_with_a_weight_of_one(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    (top,) = run(layer, bottom)
    assert top.shape == ()
    assert layer.loss_weights == list(layer.param.loss_weight) == [1]
    assert top.diff == 1
    assert layer.run_forward(bottom, [top]) == pytest.approx(float(top.data))


@pytest.mark.parametrize("case", CASES)
def test_the_loss_weight_scales_loss_and_gradient(case: str) -> None:
    found = []
    for weight in ("", "loss_weight: 2.5"):
        text, bottoms = CASES[case]
        layer, bottom = layer_of(f"{text} {weight}"), bottoms(3, 4)
        top = run(layer, bottom)
        loss = layer.run_forward(bottom, top)
        layer.run_backward(top, flags(case, bottom), bottom)
        found.append((loss, *(blob.diff.copy() for blob in bottom)))
    for plain, weighted in zip(*found, strict=True):
        np.testing.assert_allclose(weighted, 2.5 * np.asarray(plain), rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_without_propagate_down_the_diffs_stay(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False] * len(bottom), bottom)
    for blob in bottom:
        assert_untouched(blob)


@pytest.mark.parametrize("case", CASES)
def test_an_empty_batch_has_no_loss(case: str) -> None:
    layer, bottom = made(case, 0, 4)
    top = run(layer, bottom)
    layer.backward(top, flags(case, bottom), bottom)
    assert top[0].data == 0


@pytest.mark.parametrize("case", CASES)
def test_a_batch_may_change_its_size(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    top = run(layer, bottom)
    for num in (5, 2):
        fresh_layer, fresh = made(case, num, 4)
        for blob, source in zip(bottom, fresh, strict=True):
            blob.reshape(source.shape)
            blob.data[...] = source.data
        layer.run_forward(bottom, top)
        layer.run_backward(top, flags(case, bottom), bottom)
        fresh_top = run(fresh_layer, fresh)
        fresh_layer.run_backward(fresh_top, flags(case, fresh), fresh)
        assert top[0].data == fresh_top[0].data
        np.testing.assert_array_equal(bottom[0].diff, fresh[0].diff)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [3, 40])
def test_a_steady_state_allocates_nothing(case: str, size: int) -> None:
    layer, bottom = made(case, 240_000 // size, size)
    assert_nothing_is_allocated(layer, bottom, propagate_down=flags(case, bottom))


@pytest.mark.parametrize("case", CASES)
def test_another_number_of_samples_is_refused(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    bottom[1] = random_blob(2, *bottom[1].shape[1:])
    with pytest.raises(NetError, match=r"differ in the number of samples \(axis 0\)"):
        run(layer, bottom)


@pytest.mark.parametrize("case", [case for case in CASES if case not in BOTH])
def test_labels_have_no_gradient(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    top = run(layer, bottom)
    assert not layer.allow_force_backward(1)
    with pytest.raises(NetError, match=r"the (labels|targets) cannot have a gradient"):
        layer.run_backward(top, [True] * len(bottom), bottom)


@pytest.mark.parametrize("case", ["HingeLoss", "MultinomialLogisticLoss", "InfogainLoss", "SoftmaxWithLoss"])
@pytest.mark.parametrize("label", [4, -1, np.nan])
def test_a_label_out_of_range_is_refused(case: str, label: float) -> None:
    layer, bottom = made(case, 3, 4)
    bottom[1].data[1] = label
    with pytest.raises(NetError, match=r"label -?\d+ is out of range.*4 classes.*0 to 3"):
        run(layer, bottom)


@pytest.mark.parametrize("case", ["HingeLoss", "MultinomialLogisticLoss"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 0), (3, 1, 2)])
def test_more_or_less_than_one_label_a_sample_is_refused(case: str, shape: tuple[int, ...]) -> None:
    layer, bottom = made(case, 3, 4)
    bottom[1] = Blob(shape)
    with pytest.raises(NetError, match=r"the labels \(bottom 1\) have shape.*expected one value a sample"):
        run(layer, bottom)


@pytest.mark.parametrize("case", ["HingeLoss", "MultinomialLogisticLoss", "InfogainLoss", "SoftmaxWithLoss"])
def test_labels_may_have_axes_of_one(case: str) -> None:
    layer, bottom = made(case, 3, 4)
    (flat,) = run(layer, bottom)
    bottom[1] = blob_of(bottom[1].data.reshape(3, 1, 1, 1))
    (top,) = run(layer_of(CASES[case][0]), bottom)
    assert top.data == flat.data


def test_a_top_that_is_not_named_is_supplied() -> None:
    text = """
        layer { name: "x" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "t" }
    """
    with native_net(text) as net:
        net.blobs["x"].data.fill(1)
        assert net.forward() == pytest.approx(3 / 2)


def test_every_top_may_have_a_loss_weight() -> None:
    layer = layer_of('type: "SoftmaxWithLoss" loss_weight: 2 loss_weight: 0.5')
    bottom = classified(3, 4)
    tops = run(layer, bottom, num_top=2)
    # The probabilities of three samples add up to 3.
    assert layer.run_forward(bottom, tops) == pytest.approx(2 * float(tops[0].data) + 0.5 * 3)


def test_loss_weights_for_another_number_of_tops_are_refused() -> None:
    with pytest.raises(NetError, match=r"loss_weight is given 1 time\(s\) for 2 top\(s\)"):
        run(layer_of('type: "SoftmaxWithLoss" loss_weight: 2'), classified(3, 4), num_top=2)
