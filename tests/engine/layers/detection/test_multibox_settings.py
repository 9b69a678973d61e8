import numpy as np
import pytest

from farlayer.engine.layer import Layer
from farlayer.engine.layers.detection.multibox_settings import Param, read_settings
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of


def layer(text: str) -> Layer:
    return layer_of(f'type: "MultiBoxLoss" multibox_loss_param {{ {text} }}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Param.MAX_NEGATIVE),
        ("mining_type: NONE", Param.NONE),
        ("mining_type: HARD_EXAMPLE do_neg_mining: true", Param.HARD_EXAMPLE),
        ("mining_type: NONE do_neg_mining: false", Param.NONE),
        ("do_neg_mining: true", Param.MAX_NEGATIVE),
        ("do_neg_mining: false", Param.NONE),
    ],
)
def test_the_older_spelling_of_mining_holds_where_the_newer_is_not_given(text: str, expected: int) -> None:
    assert read_settings(layer(f"num_classes: 3 {text}")).mining_type == expected


def test_an_unsigned_label_that_is_too_large_means_no_background() -> None:
    settings = read_settings(layer("num_classes: 3 conf_loss_type: LOGISTIC background_label_id: 4294967295"))
    assert settings.background == -1


def test_with_one_class_of_objects_any_label_will_do() -> None:
    text = "num_classes: 2 map_object_to_agnostic: true mining_type: NONE"
    assert read_settings(layer(text)).num_labels is None
    assert read_settings(layer(f"{text} share_location: false")).num_labels == 2


def test_targets_are_labels_and_the_background_elsewhere() -> None:
    settings = read_settings(layer("num_classes: 4 background_label_id: 1"))
    targets = settings.targets(4, np.array([2, 0]), np.array([3, 2]), rest_is_background=True)
    assert targets.rows.tolist() == [0, 1, 2, 3]
    assert targets.classes.tolist() == [2, 1, 3, 1]
    targets = settings.targets(4, np.array([2, 0]), np.array([3, 2]), rest_is_background=False)
    assert (targets.rows.tolist(), targets.classes.tolist()) == ([2, 0], [3, 2])


def test_objects_of_one_class_have_the_label_after_the_background() -> None:
    settings = read_settings(layer("num_classes: 2 map_object_to_agnostic: true"))
    targets = settings.targets(3, np.array([2]), np.array([17]), rest_is_background=True)
    assert targets.classes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "num_classes is not given"),
        ("num_classes: 0", "num_classes is not given"),
        ("num_classes: 3 background_label_id: 3", "background_label_id is 3 for 3 classes"),
        ("num_classes: 3 background_label_id: 4294967295", "background_label_id is -1 for 3 classes"),
        ("num_classes: 3 map_object_to_agnostic: true", "map_object_to_agnostic with 3 classes"),
        (
            "num_classes: 2 map_object_to_agnostic: true conf_loss_type: LOGISTIC background_label_id: 4294967295",
            "map_object_to_agnostic with 2 classes and background_label_id -1",
        ),
        ("num_classes: 2 map_object_to_agnostic: true background_label_id: 1", "map_object_to_agnostic with 2 classes"),
        ("num_classes: 3 do_neg_mining: true mining_type: NONE", "do_neg_mining is true, but mining_type is NONE"),
        (
            "num_classes: 3 do_neg_mining: false mining_type: HARD_EXAMPLE",
            "do_neg_mining is false, but mining_type is HARD_EXAMPLE",
        ),
        ("num_classes: 3 share_location: false", "mining_type is MAX_NEGATIVE and share_location is false"),
        ("num_classes: 3 mining_type: HARD_EXAMPLE sample_size: 0", "sample_size is 0"),
        ("num_classes: 3 nms_param { nms_threshold: 0.5 }", "nms_param.top_k is not given"),
        ("num_classes: 3 nms_param { nms_threshold: 0.5 top_k: 0 }", "nms_param.top_k is 0"),
    ],
)
def test_parameters_that_do_not_hold_together_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(MultiBoxLoss\).*{message}"):
        read_settings(layer(text))
