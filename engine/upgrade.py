"""Nets in older formats: input fields of a net become an Input layer; layers of 2014 are recognised and refused."""

from __future__ import annotations

from pathlib import Path

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

#: Numbers that `input_dim` gives for each input.
_AXES_OF_INPUT_DIM = 4


def upgrade_net_input(net: caffe_pb2.NetParameter) -> bool:
    """Replaces a net's `input`, `input_shape` and `input_dim` by a first layer of type Input, in place.

    A net whose layers are of the format of 2014 is left as it is: its layers have to be upgraded first.

    Args:
        net: written to.

    Returns:
        Whether there was anything to replace.

    Raises:
        NetError: not one shape, or not four numbers, for each input.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp, UpgradeNetInput.
    Differs from Caffe: Caffe drops inputs without a shape, and reads past the end of `input_dim` where it is short.
    """
    if not (net.input or net.input_shape or net.input_dim) or net.layers:
        return False
    shapes = _input_shapes(net)
    layer = caffe_pb2.LayerParameter(name="input", type="Input", top=net.input)
    layer.input_param.shape.extend(shapes)
    later = list(net.layer)
    del net.layer[:]
    net.layer.extend([layer, *later])
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
    return True


def _input_shapes(net: caffe_pb2.NetParameter) -> list[caffe_pb2.BlobShape]:
    if net.input_shape:
        if len(net.input_shape) != len(net.input):
            raise NetError(
                f"net {net.name!r} has {len(net.input)} input and {len(net.input_shape)} input_shape",
                remedy="give one input_shape { dim: ... } for each input",
            )
        return list(net.input_shape)
    if len(net.input_dim) != _AXES_OF_INPUT_DIM * len(net.input):
        raise NetError(
            f"net {net.name!r} has {len(net.input)} input and {len(net.input_dim)} input_dim; "
            f"expected {_AXES_OF_INPUT_DIM * len(net.input)} input_dim",
            remedy="give four input_dim for each input (num, channels, height, width), or one input_shape for each",
        )
    starts = range(0, len(net.input_dim), _AXES_OF_INPUT_DIM)
    return [caffe_pb2.BlobShape(dim=net.input_dim[start : start + _AXES_OF_INPUT_DIM]) for start in starts]


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


def require_current_format(net: caffe_pb2.NetParameter) -> None:
    """Refuses a net whose layers are of the format of 2014, or of that of 2013.

    Raises:
        NetError: it has `layers`.
    """
    if not net.layers:
        return
    first = net.layers[0]
    name = first.layer.name or first.name
    raise NetError(
        f"net {net.name!r} is in the format of 2014: it has {len(net.layers)} `layers {{ ... }}`, the first of them "
        f"{name!r}; expected `layer {{ ... }}`",
        remedy=(
            "upgrade the file with Caffe's upgrade_net_proto_text (a .caffemodel: upgrade_net_proto_binary), or write "
            'each layer anew: layer { type: "Convolution" param { lr_mult: 1 } ... } instead of '
            "layers { type: CONVOLUTION blobs_lr: 1 ... }"
        ),
        layer=name,
    )
