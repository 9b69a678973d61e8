import os
import sys
from pathlib import Path

import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.solvers import SGDSolver, build_solver
from farlayer.engine.weights import save_weights
from farlayer.protos.errors import FarlayerError, InputError, NetError, PrototxtError, SnapshotError
from tests.engine.solvers.nets import NET, make_solver, solver_param, weights
from tests.engine.support import native_net


@pytest.mark.parametrize("kind", ["", 'type: "SGD"', "solver_type: SGD"])
def test_the_type_is_sgd_by_default_by_name_and_by_the_older_field(kind: str) -> None:
    assert type(make_solver(kind)) is SGDSolver


@pytest.mark.parametrize("name", ["AdaDelta", "AdaGrad", "Adam", "Nesterov", "RMSProp", "SGD"])
def test_every_type_of_caffe_is_known_by_both_its_names(name: str) -> None:
    solver = make_solver(f'type: "{name}"')
    assert type(solver) is type(make_solver(f"solver_type: {name.upper()}"))
    assert solver.type_name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "Adamax"', "unknown type 'Adamax'; known: AdaDelta, AdaGrad, Adam, AdamW, Nesterov, RMSProp, SGD"),
        ('type: "SGD" solver_type: SGD', "both type and the older solver_type"),
        ('regularization_type: "L3"', "unknown regularization_type 'L3'; known: L1, L2"),
        ("iter_size: 0", "iter_size is 0"),
        ("clip_gradients: nan", "clip_gradients is nan, expected a finite number"),
        ("weight_decay: inf", "weight_decay is inf, expected a finite number"),
        ("average_loss: 0", "average_loss is 0"),
        ("snapshot: 5", "snapshot is given, but snapshot_prefix is not"),
        ("test_iter: 1", "1 test nets, but test_interval is 0"),
        ('test_net: "a" test_net: "b" test_iter: 1 test_interval: 1', "test_iter is given 1 times for 2 test nets"),
        ("test_iter: 1 test_interval: 1 test_state { } test_state { }", "test_state is given 2 times for 1 test nets"),
        ('eval_type: "detection" test_iter: 1 test_interval: 1', "eval_type 'detection' is not supported"),
        ("momentum: 1.5 type: 'Adam'", "momentum is 1.5, expected 0 or more and less than 1 for type 'Adam'"),
    ],
)
def test_what_the_solver_cannot_do_is_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        make_solver(text)
    assert caught.value.remedy


def test_an_unknown_policy_is_refused() -> None:
    param = solver_param()
    param.lr_policy = "typo"
    with pytest.raises(NetError, match="unknown lr_policy 'typo'"):
        build_solver(param, host=InProcessHost(), base_dir=Path())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("solver_mode: GPU", "solver_mode: GPU"),
        ("device_id: 1", "device_id"),
        ("delta: 1e-8", "delta"),
        ("momentum2: 0.9", "momentum2"),
        ("rms_decay: 0.9", "rms_decay"),
        ('type: "Adam" rms_decay: 0.9', "rms_decay"),
        ('type: "AdaGrad" momentum: 0', "momentum"),
        ('eval_type: "detection"', "eval_type"),
        ('ap_version: "11point"', "ap_version"),
        ("show_per_class_result: true", "show_per_class_result"),
    ],
)
def test_fields_without_an_effect_are_told(text: str, field: str, caplog: pytest.LogCaptureFixture) -> None:
    make_solver(text)
    assert f"{field} has no effect" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "solver_mode: CPU",
        "layer_wise_reduce: false",
        "debug_info: true",
        'eval_type: "classification"',
        "momentum: 0.9 weight_decay: 1e-3 clip_gradients: 35 iter_size: 2 average_loss: 10",
        'type: "Adam" momentum: 0.9 momentum2: 0.99 delta: 1e-4',
        'type: "RMSProp" rms_decay: 0.9 delta: 1e-4',
        "warmup_iter: 5 warmup_start_lr: 0.01 min_lr: 0.01",
        "test_compute_loss: true test_initialization: false snapshot_diff: true",
    ],
)
def test_other_fields_are_taken_without_a_word(text: str, caplog: pytest.LogCaptureFixture) -> None:
    make_solver(text)
    assert not caplog.text


def test_hdf5_snapshots_without_h5py_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="snapshot_format: HDF5 needs the package h5py") as caught:
        make_solver(f'snapshot_format: HDF5 snapshot: 5 snapshot_prefix: "{tmp_path}/s"')
    assert "farlayer[hdf5]" in caught.value.remedy
    make_solver("snapshot_format: HDF5")  # which writes none


@pytest.mark.parametrize(
    ("names", "fault"),
    [(("a", "a"), "two layers with params are named 'a'"), (("", "b"), "a layer has no name"), (("a", "b"), "")],
)
def test_names_that_hdf5_cannot_keep_apart_are_found_before_training(
    tmp_path: Path, names: tuple[str, str], fault: str
) -> None:
    net = NET + "".join(
        f'layer {{ name: "{name}" type: "Parameter" top: "p{index}" parameter_param {{ shape {{ dim: 2 }} }} }}\n'
        for index, name in enumerate(names)
    )
    for text in ("snapshot_format: HDF5", f'snapshot_prefix: "{tmp_path}/s"'):
        build_solver(solver_param(text, net=net), host=InProcessHost(), base_dir=Path())
    param = solver_param(f'snapshot_format: HDF5 snapshot_prefix: "{tmp_path}/s"', net=net)
    if not fault:
        build_solver(param, host=InProcessHost(), base_dir=Path())
        return
    with pytest.raises(SnapshotError, match=fault) as caught:
        build_solver(param, host=InProcessHost(), base_dir=Path())
    assert "BINARYPROTO" in caught.value.remedy


def test_debug_info_reaches_the_test_nets() -> None:
    tested = "test_iter: 1 test_interval: 1"
    assert [net.debug_info for net in make_solver(f"debug_info: true {tested}").test_nets] == [True]
    assert [net.debug_info for net in make_solver(tested).test_nets] == [False]


def test_a_prefix_in_a_folder_that_does_not_exist_is_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="which does not exist"):
        make_solver(f'snapshot: 5 snapshot_prefix: "{tmp_path}/missing/s"')


@pytest.mark.parametrize("snapshot", ["", "snapshot: 5"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_prefix_in_a_folder_that_is_read_only_is_found_before_training(tmp_path: Path, snapshot: str) -> None:
    folder = tmp_path / "read_only"
    folder.mkdir(0o500)
    with pytest.raises(SnapshotError, match="cannot be written to"):
        make_solver(f'{snapshot} snapshot_prefix: "{folder}/s"')


def test_the_prefix_of_the_last_snapshot_is_checked_as_those_of_others(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="which does not exist"):
        make_solver(f'snapshot_prefix: "{tmp_path}/missing/s"')
    make_solver(f'snapshot_after_train: false snapshot_prefix: "{tmp_path}/missing/s"')


@pytest.mark.parametrize("hdf5", [False, True])
def test_weights_named_in_the_solver_are_loaded_into_all_nets(tmp_path: Path, hdf5: bool) -> None:
    source = make_solver()
    source.step(3)
    save_weights(source.net, tmp_path / "w", hdf5=hdf5)
    solver = make_solver(f'weights: "{tmp_path}/w" test_iter: 1 test_interval: 1')
    assert weights(solver) == weights(source)
    assert [blob.data.ravel().tolist() for blob in solver.test_nets[0].learnable_params] == weights(source)


PART = """
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 3 }} }} }}
layer {{ name: "{name}" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{
         num_output: 2 bias_term: {bias} weight_filler {{ value: {value} }} bias_filler {{ value: {value} }} }} }}
"""


@pytest.mark.parametrize("fields", ['weights: "a,b"', 'weights: "a, b"', 'weights: "a" weights: "b"'])
def test_weights_are_lists_and_lie_beside_the_solver(tmp_path: Path, fields: str) -> None:
    for path, text in (
        ("a", PART.format(name="target", value=7, bias="false")),
        ("b", PART.format(name="ip", value=8, bias="true")),
    ):
        save_weights(native_net(text), tmp_path / path)
    solver = make_solver(fields, base_dir=tmp_path)
    assert weights(solver) == [[7] * 6, [8] * 6, [8] * 2]


def test_weights_that_are_nowhere_are_told_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(PrototxtError, match=r"the solver names this weights file, but .* looked in") as caught:
        make_solver('weights: "none.caffemodel"', base_dir=tmp_path)
    assert str(tmp_path) in caught.value.message


def test_the_definition_is_not_changed() -> None:
    param = solver_param("solver_type: SGD test_iter: 1 test_interval: 1")
    before = param.SerializeToString()
    build_solver(param, host=InProcessHost(), base_dir=Path())
    assert param.SerializeToString() == before


def test_nets_that_were_built_before_an_error_are_closed(layer_dir: Path) -> None:
    (layer_dir / "only_train.py").write_text(
        "import caffe\n"
        "class OnlyTrain(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n"
        "        if self.phase == caffe.TEST: raise KeyError('train only')\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
    )
    sessions = []

    class WatchingHost(InProcessHost):
        def session(self, spec):  # noqa: ANN001, ANN202
            sessions.append(super().session(spec))
            return sessions[-1]

    net = NET + 'layer { name: "p" type: "Python" top: "p" python_param { module: "only_train" layer: "OnlyTrain" } }'
    param = solver_param("test_iter: 1 test_interval: 1", net=net)
    with WatchingHost() as host, pytest.raises(KeyError, match="train only"):
        build_solver(param, host=host, base_dir=Path())
    assert len(sessions) == 2
    with pytest.raises(FarlayerError, match="closed"):
        sessions[0].forward()
