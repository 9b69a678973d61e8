import numpy as np
import pytest

from farlayer.engine.layers.detection.predictions import check_predictions, read_priors
from farlayer.protos.errors import NetError
from tests.engine.layers.detection.test_boxes import code_of
from tests.engine.support import blob_of, layer_of, random_blob

PRIORS = np.array([[[0, 0, 0.5, 0.5, 0.2, 0.2, 0.4, 0.6], [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]]], np.float32)


def test_priors_come_with_their_variances() -> None:
    priors = read_priors(layer_of('type: "DetectionOutput"'), blob_of(PRIORS), code_of("CENTER_SIZE"))
    np.testing.assert_array_equal(priors.boxes, PRIORS[0, 0].reshape(2, 4))
    np.testing.assert_array_equal(priors.variances, PRIORS[0, 1].reshape(2, 4))


@pytest.mark.parametrize("shape", [(1, 2, 8), (1, 2, 8, 1), (3, 2, 8)])
def test_the_number_of_priors_is_a_fourth_of_the_values(shape: tuple[int, ...]) -> None:
    bottom = [random_blob(5, 8), random_blob(5, 6), random_blob(*shape)]
    assert check_predictions(layer_of('type: "DetectionOutput"'), bottom, 3, 1) == 2


@pytest.mark.parametrize(
    ("loc", "conf", "priors", "message"),
    [
        ((4, 8), (5, 6), (1, 2, 8), r"\(4, 8\) and \(5, 6\) differ in the number of samples"),
        ((5, 8), (5, 6), (2, 8), r"priors have shape \(2, 8\), expected \(1, 2, 4 x"),
        ((5, 8), (5, 6), (1, 2, 7), "priors have shape"),
        ((5, 8), (5, 6), (1, 1, 8), "priors have shape"),
        ((5, 8), (5, 6), (1, 2, 8, 2), "priors have shape"),
        ((5, 8), (5, 6), (0, 2, 8), "priors have shape"),
        ((5, 24), (5, 6), (1, 2, 8), r"location predictions have shape \(5, 24\), expected 2 priors x 4 values"),
        ((5, 8), (5, 8), (1, 2, 8), r"confidence predictions have shape \(5, 8\), expected 2 priors x 3 values"),
        ((5, 8, 2), (5, 6), (1, 2, 8), "location predictions have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    loc: tuple[int, ...], conf: tuple[int, ...], priors: tuple[int, ...], message: str
) -> None:
    bottom = [random_blob(*loc), random_blob(*conf), random_blob(*priors)]
    with pytest.raises(NetError, match=rf"layer 'l' \(DetectionOutput\).*{message}"):
        check_predictions(layer_of('type: "DetectionOutput"'), bottom, 3, 1)


@pytest.mark.parametrize("variance", [0, -0.1, np.nan])
def test_a_variance_that_is_not_above_0_is_refused(variance: float) -> None:
    priors = PRIORS.copy()
    priors[0, 1, 3] = variance
    with pytest.raises(NetError, match=f"a variance of the priors is {np.float32(variance)}"):
        read_priors(layer_of('type: "DetectionOutput"'), blob_of(priors), code_of("CORNER"))


@pytest.mark.parametrize("code_type", ["CENTER_SIZE", "CORNER_SIZE"])
def test_a_prior_without_a_size_is_refused_where_the_code_divides_by_it(code_type: str) -> None:
    priors = PRIORS.copy()
    priors[0, 0, 6] = 0.2
    with pytest.raises(NetError, match=rf"prior 1 is \[0.2.*no width or no height.*{code_type} divides"):
        read_priors(layer_of('type: "DetectionOutput"'), blob_of(priors), code_of(code_type))
    read_priors(layer_of('type: "DetectionOutput"'), blob_of(priors), code_of("CORNER"))
