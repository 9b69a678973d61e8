import os
from pathlib import Path

import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.solvers import SGDSolver, build_solver
from farlayer.engine.weights import save_weights
from farlayer.protos.errors import FarlayerError, NetError, SnapshotError
from tests.engine.solvers.nets import NET, make_solver, solver_param, weights


@pytest.mark.parametrize("kind", ["", 'type: "SGD"', "solver_type: SGD"])
def test_the_type_is_sgd_by_default_by_name_and_by_the_older_field(kind: str) -> None:
    assert type(make_solver(kind)) is SGDSolver


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "Adam"', "unknown type 'Adam'; known: SGD"),
        ("solver_type: NESTEROV", "unknown type 'Nesterov'; known: SGD"),
        ('type: "SGD" solver_type: SGD', "both type and the older solver_type"),
        ('regularization_type: "L3"', "unknown regularization_type 'L3'; known: L1, L2"),
        ("iter_size: 0", "iter_size is 0"),
        ("average_loss: 0", "average_loss is 0"),
        ("snapshot_format: HDF5", "HDF5 is not supported in this version"),
        ("snapshot: 5", "snapshot is given, but snapshot_prefix is not"),
        ("test_iter: 1", "1 test nets, but test_interval is 0"),
        ('test_net: "a" test_net: "b" test_iter: 1 test_interval: 1', "test_iter is given 1 times for 2 test nets"),
        ("test_iter: 1 test_interval: 1 test_state { } test_state { }", "test_state is given 2 times for 1 test nets"),
        ("plateau_winsize: 5", r"field plateau_winsize \(\[5\]\) is not supported"),
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


@pytest.mark.parametrize("field", ["solver_mode: GPU", "debug_info: true", "device_id: 1", "delta: 1e-8"])
def test_fields_without_an_effect_are_told(field: str, caplog: pytest.LogCaptureFixture) -> None:
    make_solver(field)
    assert f"{field.split(':', maxsplit=1)[0]} has no effect" in caplog.text


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


def test_weights_named_in_the_solver_are_loaded(tmp_path: Path) -> None:
    source = make_solver()
    source.step(3)
    save_weights(source.net, tmp_path / "w.caffemodel")
    assert weights(make_solver(f'weights: "{tmp_path}/w.caffemodel"')) == weights(source)


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
