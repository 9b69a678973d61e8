import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layer import Layer
from farlayer.engine.layers.loss.labels import Labels, as_samples, check_label_count, read_labels
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, random_blob


def reader() -> Layer:
    return layer_of('type: "SoftmaxWithLoss"')


def drawn(shape: tuple[int, int, int], ignore_label: int | None = None) -> tuple[np.ndarray, Labels]:
    outer, num_classes, inner = shape
    classes = np.random.default_rng(1).integers(0, num_classes, (outer, inner))
    return classes, read_labels(reader(), classes.astype(np.float32), shape, ignore_label)


@given(shape=st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(0, 4)))
@settings(max_examples=25, deadline=None)
def test_the_value_of_each_label_is_found_and_written(shape: tuple[int, int, int]) -> None:
    classes, labels = drawn(shape)
    values = random_blob(*shape).data
    picked = np.empty(labels.classes.shape, np.float32)
    labels.pick(values, picked)
    changed = values.copy()
    new = picked + 1
    labels.put(new, changed)
    for outer, inner in np.ndindex(*classes.shape):
        place = outer, classes[outer, inner], inner
        assert picked[outer, 0, inner] == values[place]
        assert changed[place] == new[outer, 0, inner]
    assert np.count_nonzero(changed != values) == classes.size == labels.num_valid


def test_ignored_labels_are_counted_and_cleared() -> None:
    classes, labels = drawn((2, 3, 20), ignore_label=1)
    values = np.ones((2, 3, 20), np.float32)
    labels.fill_ignored(values, 5)
    assert labels.num_valid == (classes != 1).sum()
    np.testing.assert_array_equal(values[:, 2] == 5, classes == 1)


def test_the_ignored_label_need_not_be_a_class() -> None:
    labels = read_labels(reader(), np.float32([0, 255, 2, 255]), (4, 3, 1), 255)
    assert labels.num_valid == 2


def test_fractions_are_cut_off() -> None:
    labels = read_labels(reader(), np.float32([0.9, -0.9, 1.5]), (3, 2, 1))
    np.testing.assert_array_equal(labels.classes.ravel(), [0, 0, 1])


@pytest.mark.parametrize(("label", "message"), [(3, "label 3"), (-1, "label -1"), (1e9, "label 1000000000")])
def test_a_label_that_is_no_class_is_refused(label: float, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(SoftmaxWithLoss\): {message} is out of range.*3 classes.*0 to 2"):
        read_labels(reader(), np.float32([0, label]), (2, 3, 1), 7)


def test_all_axes_but_the_first_are_taken_as_classes() -> None:
    assert as_samples(np.zeros((2, 3, 4), np.float32)).shape == (2, 12, 1)
    assert as_samples(np.zeros((), np.float32)).shape == (1, 1, 1)


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (6,)])
def test_labels_may_have_any_shape_of_the_right_count(shape: tuple[int, ...]) -> None:
    check_label_count(reader(), random_blob(2, 5, 3), random_blob(*shape), 1)


@pytest.mark.parametrize("classes", [5, 0])
def test_a_wrong_number_of_labels_is_refused(classes: int) -> None:
    with pytest.raises(
        NetError, match=rf"8 labels \(shape \(2, 4\)\) for scores of shape \(2, {classes}, 3\).*expected 6"
    ):
        check_label_count(reader(), random_blob(2, classes, 3), random_blob(2, 4), 1)
