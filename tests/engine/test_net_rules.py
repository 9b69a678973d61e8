import pytest

from farlayer.engine.net_rules import filter_net, is_included, state_meets_rule
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import net_param

STATE = 'phase: TRAIN level: 2 stage: "a" stage: "b"'


@pytest.mark.parametrize(
    ("rule", "meets"),
    [
        ("", True),
        ("phase: TRAIN", True),
        ("phase: TEST", False),
        ("min_level: 2", True),
        ("min_level: 3", False),
        ("max_level: 2", True),
        ("max_level: 1", False),
        ('stage: "a"', True),
        ('stage: "a" stage: "b"', True),
        ('stage: "a" stage: "c"', False),
        ('not_stage: "c"', True),
        ('not_stage: "c" not_stage: "b"', False),
        ('phase: TRAIN min_level: 1 stage: "b" not_stage: "c"', True),
        ('phase: TEST min_level: 1 stage: "b" not_stage: "c"', False),
    ],
)
def test_a_rule_holds_where_every_condition_does(rule: str, meets: bool) -> None:
    state = parse(STATE, caffe_pb2.NetState())
    assert state_meets_rule(state, parse(rule, caffe_pb2.NetStateRule())) == meets


@pytest.mark.parametrize(
    ("rules", "included"),
    [
        ("", True),
        ("include { phase: TRAIN }", True),
        ("include { phase: TEST }", False),
        ('include { phase: TEST } include { stage: "a" }', True),
        ("exclude { phase: TRAIN }", False),
        ("exclude { phase: TEST }", True),
        ('exclude { phase: TEST } exclude { stage: "a" }', False),
    ],
)
def test_a_layer_is_included_by_any_include_or_else_by_no_exclude(rules: str, included: bool) -> None:
    layer = parse(rules, caffe_pb2.LayerParameter())
    assert is_included(layer, parse(STATE, caffe_pb2.NetState())) == included


def test_rules_of_both_kinds_are_refused() -> None:
    layer = parse('name: "l" include { } exclude { }', caffe_pb2.LayerParameter())
    with pytest.raises(NetError, match="layer 'l' has both include and exclude rules"):
        is_included(layer, caffe_pb2.NetState())


def test_filtering_keeps_the_order_and_everything_else() -> None:
    param = net_param(
        'name: "n" state { phase: TEST } layer { name: "a" } layer { name: "b" exclude { phase: TEST } } '
        'layer { name: "c" include { phase: TEST } } force_backward: true'
    )
    filtered = filter_net(param)
    assert [layer.name for layer in filtered.layer] == ["a", "c"]
    assert (filtered.name, filtered.force_backward) == ("n", True)
    assert len(param.layer) == 3
