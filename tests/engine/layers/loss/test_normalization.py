import pytest

from farlayer.engine.layers.loss.normalization import ignored_label, normalization_mode, normalizer
from farlayer.protos.caffe_pb2 import AccuracyParameter, LossParameter


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, LossParameter.VALID),
        ({"normalize": True}, LossParameter.VALID),
        ({"normalize": False}, LossParameter.BATCH_SIZE),
        ({"normalization": LossParameter.NONE}, LossParameter.NONE),
        ({"normalize": False, "normalization": LossParameter.FULL}, LossParameter.FULL),
    ],
)
def test_the_newer_field_counts_before_the_older_one(fields: dict[str, int], mode: int) -> None:
    assert normalization_mode(LossParameter(**fields)) == mode


def test_a_loss_may_have_another_default() -> None:
    assert normalization_mode(LossParameter(), LossParameter.BATCH_SIZE) == LossParameter.BATCH_SIZE


@pytest.mark.parametrize(
    ("mode", "divisor"),
    [
        (LossParameter.FULL, 12),
        (LossParameter.VALID, 7),
        (LossParameter.BATCH_SIZE, 3),
        (LossParameter.NONE, 1),
    ],
)
def test_each_mode_has_its_divisor(mode: LossParameter.NormalizationMode.ValueType, divisor: int) -> None:
    assert normalizer(mode, 3, 4, 7) == divisor


@pytest.mark.parametrize("mode", LossParameter.NormalizationMode.values())
def test_nothing_is_divided_by_less_than_one(mode: LossParameter.NormalizationMode.ValueType) -> None:
    assert normalizer(mode, 0, 0, 0) == 1


def test_a_label_is_ignored_only_where_that_is_said() -> None:
    assert ignored_label(LossParameter()) is None
    assert ignored_label(LossParameter(ignore_label=0)) == 0
    assert ignored_label(AccuracyParameter(ignore_label=255)) == 255
