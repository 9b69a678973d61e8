import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

SIMILAR = [1, 0, 2, 0, 0, -1]


def text(fields: str = "") -> str:
    return f'type: "ContrastiveLoss" contrastive_loss_param {{ {fields} }}'


def bottoms(*shape: int) -> list[Blob]:
    return [random_blob(*shape), random_blob(*shape, seed=8), blob_of(SIMILAR)]


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1, 1), (6, 1)])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("margin", [0.5, 2.5, 6])
def test_similar_pairs_are_to_be_close_and_others_apart(shape: tuple[int, ...], legacy: bool, margin: float) -> None:
    bottom = bottoms(*shape)
    (top,) = run(layer_of(text(f"margin: {margin} legacy_version: {str(legacy).lower()}")), bottom)
    expected = 0.0
    for a, b, similar in zip(bottom[0].data, bottom[1].data, SIMILAR, strict=True):
        squared = float(((a - b) ** 2).sum())
        apart = max(margin - squared, 0) if legacy else max(margin - squared**0.5, 0) ** 2
        expected += squared if similar else apart
    assert top.data == pytest.approx(expected / 6 / 2, rel=1e-5)


@pytest.mark.parametrize("fields", ["", "margin: 3", "margin: 6 legacy_version: true"])
def test_the_gradients_are_right(fields: str) -> None:
    assert GradientChecker().check(layer_of(text(fields)), bottoms(6, 4), [Blob()], check_bottom=[0, 1])


@pytest.mark.parametrize("fields", ["margin: 2", "margin: 2 legacy_version: true"])
def test_at_a_distance_of_zero_the_gradient_is_zero(fields: str) -> None:
    bottom, layer = [blob_of([[1, 2]]), blob_of([[1, 2]]), blob_of([0])], layer_of(text(fields))
    top = run(layer, bottom)
    layer.backward(top, [True, True, False], bottom)
    assert not bottom[0].diff.any()


def test_the_similarities_get_a_gradient_of_zero() -> None:
    bottom, layer = bottoms(6, 4), layer_of(text())
    top = run(layer, bottom)
    bottom[2].diff.fill(17)
    layer.backward(top, [True, True, True], bottom)
    assert not bottom[2].diff.any()
    assert [layer.allow_force_backward(index) for index in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(6, 4), (6, 3), (6,)], r"bottom 1 has shape \(6, 3\), expected \(6, 4\) as bottom 0"),
        ([(6, 4, 2), (6, 4, 2), (6,)], r"bottom shape \(6, 4, 2\) has other than one value a channel"),
        ([(6, 4), (6, 4), (5,)], r"the similarities \(bottom 2\) have shape \(5,\)"),
        ([(6, 4), (6, 4), (6, 2)], r"the similarities \(bottom 2\) have shape \(6, 2\)"),
        ([(6, 4), (6, 4)], r"takes exactly 3 bottom blob\(s\), got 2"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text()), [Blob(shape) for shape in shapes])
