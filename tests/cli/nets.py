"""Small nets and solvers, written into a folder as a user would have them."""

from pathlib import Path

from farlayer.protos import caffe_pb2

NET = """
name: "small"
layer {{
  name: "input" type: "DummyData" top: "x"
  dummy_data_param {{ shape {{ dim: 4 dim: 3 }} data_filler {{ type: "gaussian" std: 1 }} }}
}}
layer {{
  name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }}
}}
layer {{
  name: "mine" type: "Python" bottom: "y" {more} top: "loss" loss_weight: 1
  python_param {{ module: "{module}" layer: "{layer}" }}
}}
"""
SOLVER = """
net: "net.prototxt"
base_lr: 0.1
lr_policy: "fixed"
max_iter: 6
display: 2
snapshot_prefix: "out/small"
random_seed: 3
"""


def write_net(folder: Path, layer: str, *, module: str = "cli_layers", more: str = "", solver: str = "") -> Path:
    """Writes net.prototxt, whose last layer is a Python layer, and solver.prototxt.

    Args:
        folder: where.
        layer, module: of the Python layer.
        more: fields of the Python layer.
        solver: fields of the solver; those of repeated names replace the usual ones.

    Returns:
        The solver's path.
    """
    (folder / "net.prototxt").write_text(NET.format(layer=layer, module=module, more=more), encoding="utf-8")
    own = {line.split(":")[0].strip() for line in solver.splitlines()}
    usual = [line for line in SOLVER.strip().splitlines() if line.split(":")[0] not in own]
    path = folder / "solver.prototxt"
    path.write_text("\n".join([*usual, solver]) + "\n", encoding="utf-8")
    return path


def stored_net(path: Path) -> caffe_pb2.NetParameter:
    """The message that a .caffemodel file holds."""
    return caffe_pb2.NetParameter.FromString(path.read_bytes())
