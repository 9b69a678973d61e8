"""Nets and solvers in older formats: everything that Caffe once wrote, brought to the present form."""

from __future__ import annotations

import logging
from pathlib import Path

from farlayer.engine.upgrade_v0 import upgrade_v0_layers
from farlayer.engine.upgrade_v1 import upgrade_v1_layers
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

logger = logging.getLogger(__name__)

#: Numbers that `input_dim` gives for each input.
_AXES_OF_INPUT_DIM = 4
#: Fields that data layers had before transform_param.
OLD_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
#: The messages that held them.
_TRANSFORMING = {
    caffe_pb2.V1LayerParameter.DATA: "data_param",
    caffe_pb2.V1LayerParameter.IMAGE_DATA: "image_data_param",
    caffe_pb2.V1LayerParameter.WINDOW_DATA: "window_data_param",
}
_NUM_BATCH_NORM_PARAMS = 3


def upgrade_net(net: caffe_pb2.NetParameter, source: str = "") -> list[str]:
    """Brings a net to the present form, in place; done twice it changes nothing more.

    In this order: layers of 2013 to those of 2014, old transformation fields of data layers to transform_param, layers
    of 2014 to present ones, a net's input fields to an Input layer, multipliers of BatchNorm params to 0.

    Args:
        net: written to.
        source: what to call the net in the log, its file for instance.

    Returns:
        What was upgraded, in words; empty for a net in the present form.

    Raises:
        NetError: something in it has no present form.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp (UpgradeNetAsNeeded).
    """
    done = [
        what
        for what, upgrade in (
            ("layers of 2013", upgrade_v0_layers),
            ("transformation fields", upgrade_data_transformation),
            ("layers of 2014", upgrade_v1_layers),
            ("input fields", upgrade_net_input),
            ("BatchNorm multipliers", upgrade_batch_norm),
        )
        if upgrade(net)
    ]
    if done:
        logger.info("%s is in an older format; upgraded: %s", source or f"net '{net.name}'", ", ".join(done))
    return done


def upgrade_data_transformation(net: caffe_pb2.NetParameter) -> bool:
    """Moves scale, mean_file, crop_size and mirror of data layers of 2014 to their transform_param, in place.

    Present layers are left alone: their transform_param_of reads these fields where they are.

    Returns:
        Whether there was anything to move.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp (UpgradeNetDataTransformation).
    """
    changed = False
    for layer in net.layers:
        holder = _TRANSFORMING.get(layer.type)
        if holder is None:
            continue
        message = getattr(layer, holder)
        for field in OLD_TRANSFORM_FIELDS:
            if message.HasField(field):
                setattr(layer.transform_param, field, getattr(message, field))
                message.ClearField(field)
                changed = True
    return changed


def upgrade_batch_norm(net: caffe_pb2.NetParameter) -> bool:
    """Sets both multipliers of the params of BatchNorm layers that state all three of them to 0, in place.

    Older files had to state them, since solvers must not update these params. Done twice it changes nothing more.

    Returns:
        Whether any was another number.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp (UpgradeNetBatchNorm).
    """
    changed = False
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == _NUM_BATCH_NORM_PARAMS:
            for spec in layer.param:
                changed = changed or spec.lr_mult != 0 or spec.decay_mult != 0
                spec.lr_mult = spec.decay_mult = 0
    return changed


def upgrade_net_input(net: caffe_pb2.NetParameter) -> bool:
    """Replaces a net's `input`, `input_shape` and `input_dim` by a first layer of type Input, in place.

    Inputs without any shape are dropped, as in Caffe: old .caffemodel files have them. Shapes beyond the inputs have no
    effect, as in Caffe.

    Args:
        net: written to; its layers are of the present format.

    Returns:
        Whether there was anything to replace.

    Raises:
        NetError: there are shapes, but fewer than inputs. Differs from Caffe, which reads past the end of them.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp, UpgradeNetInput.
    """
    if not net.input:
        return False
    if net.input_shape or net.input_dim:
        layer = caffe_pb2.LayerParameter(name="input", type="Input", top=net.input)
        layer.input_param.shape.extend(_input_shapes(net))
        later = list(net.layer)
        del net.layer[:]
        net.layer.extend([layer, *later])
    else:
        logger.warning("net '%s' has no input_shape for its input %s, which is dropped", net.name, ", ".join(net.input))
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
    return True


def _input_shapes(net: caffe_pb2.NetParameter) -> list[caffe_pb2.BlobShape]:
    """One shape for each input."""
    field, axes = ("input_shape", 1) if net.input_shape else ("input_dim", _AXES_OF_INPUT_DIM)
    given, needed = len(getattr(net, field)), axes * len(net.input)
    if given < needed:
        raise NetError(
            f"net {net.name!r} has {len(net.input)} input and {given} {field}, expected {needed} {field}",
            remedy="give one input_shape { dim: ... } for each input, or four input_dim (num, channels, height, width)",
        )
    if given > needed:
        logger.warning("net '%s' has %d %s, of which the first %d are used", net.name, given, field, needed)
    if net.input_shape:
        return list(net.input_shape[:needed])
    return [caffe_pb2.BlobShape(dim=net.input_dim[start : start + axes]) for start in range(0, needed, axes)]


def upgrade_snapshot_prefix(solver: caffe_pb2.SolverParameter, path: Path) -> None:
    """Names the snapshots of a solver that does not: after its file, beside it or in the folder that is given.

    Args:
        solver: written to.
        path: of the solver's file.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp, UpgradeSnapshotPrefixProperty.
    """
    if not solver.snapshot_prefix:
        solver.snapshot_prefix = str(path.with_suffix(""))
    elif Path(solver.snapshot_prefix).is_dir():
        solver.snapshot_prefix = str(Path(solver.snapshot_prefix) / path.stem)
