import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.solvers import Solver, SolverListener
from farlayer.engine.solvers.lr_policy import PolicyState
from farlayer.engine.solvers.state import read_state
from farlayer.engine.weights import read_weights
from farlayer.protos.errors import NetError, NotFiniteError, SnapshotError
from tests.engine.solvers.nets import NET, make_solver, weights

TESTED = "test_iter: 3 test_interval: 4 "


class Recorder(SolverListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.shown: list[tuple[float, dict[str, list[float]]]] = []
        self.tests: list[dict[str, list[float]]] = []
        self.snapshots: list[tuple[Path, Path]] = []

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        self.events.append(("iteration", iteration))
        self.losses.append(loss)
        self.rates.append(learning_rate)

    def on_display(self, iteration: int, loss: float, outputs: dict[str, list[float]]) -> None:
        self.events.append(("display", iteration))
        self.shown.append((loss, outputs))

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        self.events.append((f"test {test_net_index}", iteration))
        self.tests.append(outputs)

    def on_snapshot(self, model_path: Path, state_path: Path) -> None:
        self.events.append(("snapshot", int(model_path.stem.rpartition("_")[2])))
        self.snapshots.append((model_path, state_path))


def recorded(solver: Solver) -> Recorder:
    recorder = Recorder()
    solver.add_listener(recorder)
    return recorder


def events(recorder: Recorder, kind: str) -> list[int]:
    return [iteration for name, iteration in recorder.events if name == kind]


def test_every_iteration_is_told_with_its_loss_and_rate() -> None:
    solver = make_solver()
    recorder = recorded(solver)
    solver.step(3)
    assert recorder.events == [("iteration", 1), ("iteration", 2), ("iteration", 3)]
    assert recorder.rates == pytest.approx([0.1] * 3)
    assert all(loss > 0 for loss in recorder.losses)
    assert solver.iter == 3


def test_the_displayed_loss_is_the_mean_of_the_last_ones() -> None:
    plain, smooth = recorded(first := make_solver()), recorded(second := make_solver("average_loss: 3"))
    first.step(6)
    second.step(6)
    losses = plain.losses
    expected = [np.mean(losses[max(0, index - 2) : index + 1]) for index in range(6)]
    assert smooth.losses == pytest.approx(expected, rel=1e-6)


def test_display_comes_in_its_interval_before_the_update() -> None:
    solver = make_solver("display: 2")
    recorder = recorded(solver)
    solver.step(4)
    assert [event for event in recorder.events if event[0] == "display" or event[1] == 1] == [
        ("display", 0),
        ("iteration", 1),
        ("display", 2),
    ]
    assert all(set(outputs) == {"loss"} for _, outputs in recorder.shown)


def test_tests_come_in_their_interval_and_once_before_training() -> None:
    solver = make_solver(TESTED)
    recorder = recorded(solver)
    solver.step(9)
    assert events(recorder, "test 0") == [0, 4, 8]
    assert recorder.events[0] == ("test 0", 0)


def test_the_first_test_can_be_left_out() -> None:
    solver = make_solver(TESTED + "test_initialization: false")
    recorder = recorded(solver)
    solver.step(5)
    assert events(recorder, "test 0") == [4]


def test_a_test_uses_the_weights_of_the_train_net() -> None:
    solver = make_solver(TESTED)
    before = solver.test_all()[0]["loss"][0]
    solver.step(100)
    after = solver.test_all()[0]["loss"][0]
    assert after < before / 100
    target, learned = (solver.net.layer(name).params for name in ("target", "ip"))
    difference = learned[0].data.sum(axis=1) + learned[1].data - target[0].data.sum(axis=1)
    assert after == pytest.approx(float((difference**2).sum() / 2), rel=1e-3, abs=1e-9)


def test_the_result_of_a_test_is_the_mean_over_its_passes() -> None:
    noisy = NET.replace('type: "constant" value: 1', 'type: "gaussian"')
    solver = make_solver(TESTED, net=noisy)
    net = solver.test_nets[0]
    net.share_trained_layers_with(solver.net)
    passes: list[float] = []
    forward = net.forward
    net.forward = lambda: passes.append(forward()) or passes[-1]  # type: ignore[method-assign, func-returns-value]
    assert solver.test(0)["loss"] == pytest.approx([np.mean(passes)])
    assert len(passes) == 3


def test_an_output_that_changes_its_length_between_passes_has_no_mean() -> None:
    solver = make_solver(TESTED)
    net = solver.test_nets[0]
    forward = net.forward

    def forward_and_grow() -> float:
        loss = forward()
        net.blobs["loss"].reshape(passes := len(seen) + 1)
        seen.append(passes)
        return loss

    seen: list[int] = []
    net.forward = forward_and_grow  # type: ignore[method-assign]
    with pytest.raises(NetError, match=r"output 'loss' .*expected 1 values, .*got 2 in pass 2"):
        solver.test(0)


def test_several_test_nets_have_their_own_states() -> None:
    staged = NET.replace('name: "loss"', 'name: "loss" exclude { stage: "silent" }')
    solver = make_solver(
        'test_iter: 1 test_iter: 1 test_interval: 5 test_state { stage: "silent" } test_state { }', net=staged
    )
    assert [sorted(result) for result in solver.test_all()] == [["t", "y"], ["loss"]]


def test_solve_goes_to_max_iter_and_ends_with_snapshot_display_and_test(tmp_path: Path) -> None:
    solver = make_solver(TESTED.replace("4", "5") + f'display: 5 snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    solver.solve()
    assert solver.iter == 10
    assert events(recorder, "test 0") == [0, 5, 10]
    assert events(recorder, "display") == [0, 5, 10]
    assert recorder.events[-3:] == [("snapshot", 10), ("display", 10), ("test 0", 10)]


def test_snapshots_come_in_their_interval_and_not_twice_at_the_end(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot: 5 snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    solver.solve()
    assert events(recorder, "snapshot") == [5, 10]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"s_iter_{n}.{kind}" for n in (10, 5) for kind in ("caffemodel", "solverstate")]


def test_no_snapshot_is_written_after_training_where_it_is_switched_off(tmp_path: Path) -> None:
    make_solver(f'snapshot_after_train: false snapshot_prefix: "{tmp_path}/s"').solve()
    assert not list(tmp_path.iterdir())


def test_without_a_prefix_training_ends_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    solver = make_solver()
    solver.solve()
    assert "no snapshot after training" in caplog.text
    with pytest.raises(SnapshotError, match="no snapshot_prefix"):
        solver.snapshot()


def test_a_restored_solver_goes_on_bit_for_bit(tmp_path: Path) -> None:
    options = f'momentum: 0.9 snapshot_prefix: "{tmp_path}/s" gamma: 0.5 stepvalue: 3 stepvalue: 7'
    constant = NET.replace('data_filler { type: "gaussian" }', "data_filler { value: 2 }")
    straight, resumed = make_solver(options, net=constant), make_solver(options, net=constant)
    for solver in (straight, resumed):
        solver.param.lr_policy = "multistep"
    straight.step(5)
    _, state_path = straight.snapshot()
    straight.step(5)
    resumed.step(2)
    resumed.restore(state_path)
    assert (resumed.iter, resumed.current_step) == (5, 1)
    resumed.step(5)
    assert weights(resumed) == weights(straight)
    assert resumed.learning_rate() == straight.learning_rate() == pytest.approx(0.025)


def test_hdf5_snapshots_are_restored_bit_for_bit(tmp_path: Path) -> None:
    options = f'type: "Adam" momentum: 0.9 snapshot_format: HDF5 snapshot_prefix: "{tmp_path}/s"'
    constant = NET.replace('data_filler { type: "gaussian" }', "data_filler { value: 2 }")
    straight, resumed = make_solver(options, net=constant), make_solver(options, net=constant)
    straight.step(3)
    paths = straight.snapshot()
    assert [path.name for path in paths] == ["s_iter_3.caffemodel.h5", "s_iter_3.solverstate.h5"]
    straight.step(3)
    resumed.restore(paths[1])
    resumed.step(3)
    assert weights(resumed) == weights(straight)


@pytest.mark.parametrize("snapshot_format", ["BINARYPROTO", "HDF5"])
def test_a_plateau_goes_on_after_a_restore(tmp_path: Path, snapshot_format: str) -> None:
    options = f'snapshot_format: {snapshot_format} snapshot_prefix: "{tmp_path}/s" gamma: 0.5 plateau_winsize: [3, 3]'
    solver, resumed = make_solver(options), make_solver(options)
    for other in (solver, resumed):
        other.param.lr_policy = "plateau"
    solver.step(3)
    state = solver.policy_state
    assert 0 < state.minimum_loss < 1e38
    resumed.restore(solver.snapshot()[1])
    assert resumed.policy_state == PolicyState(state.step, np.float32(state.minimum_loss), state.last_event)


def test_only_a_plateau_writes_what_caffe_does_not_know(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot_prefix: "{tmp_path}/s"')
    solver.step(1)
    numbers = read_state(solver.snapshot()[1]).numbers
    assert {field.name for field, _ in numbers.ListFields()} == {"iter", "learned_net", "current_step"}


def test_a_state_of_another_solver_type_is_refused(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot_prefix: "{tmp_path}/s"')
    state_path = solver.snapshot()[1]
    with pytest.raises(SnapshotError, match=r"has a history of shapes .* expected") as caught:
        make_solver('type: "Adam"').restore(state_path)
    assert "solver type" in caught.value.remedy


@pytest.mark.parametrize(("diff", "count"), [("true", 6), ("false", 0)])
def test_diffs_are_in_a_snapshot_where_they_are_wanted(tmp_path: Path, diff: str, count: int) -> None:
    solver = make_solver(f'snapshot_diff: {diff} snapshot_prefix: "{tmp_path}/s"')
    solver.step(1)
    stored = {layer.name: layer for layer in read_weights(solver.snapshot()[0])}
    assert stored["ip"].blobs[0].diff.size == count


def test_weights_and_state_that_were_moved_together_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    solver = make_solver(f'snapshot_prefix: "{tmp_path}/a/s"')
    solver.step(2)
    solver.snapshot()
    (tmp_path / "a").rename(tmp_path / "b")
    other = make_solver()
    other.restore(tmp_path / "b" / "s_iter_2.solverstate")
    assert weights(other) == weights(solver)
    (tmp_path / "b" / "s_iter_2.caffemodel").unlink()
    with pytest.raises(SnapshotError, match="neither there nor at"):
        other.restore(tmp_path / "b" / "s_iter_2.solverstate")


class Stopper(SolverListener):
    """Asks for a stop after some iteration."""

    def __init__(self, solver: Solver, after: int) -> None:
        self.solver = solver
        self.after = after

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        if iteration == self.after:
            self.solver.request_stop()


def test_an_update_and_its_count_are_made_under_the_guard(tmp_path: Path) -> None:
    solver = make_solver(f'momentum: 0.9 snapshot_prefix: "{tmp_path}/s"')
    states: list[tuple[str, int, Sequence[list[float]]]] = []

    @contextmanager
    def guard() -> Iterator[None]:
        states.append(("in", solver.iter, weights(solver)))
        yield
        states.append(("out", solver.iter, weights(solver)))

    solver.update_guard = guard
    solver.step(2)
    assert [(where, iteration) for where, iteration, _ in states] == [("in", 0), ("out", 1), ("in", 1), ("out", 2)]
    assert states[0][2] != states[1][2] == states[2][2] != states[3][2] == weights(solver)


def test_where_only_the_weights_could_be_written_the_error_names_them(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot_prefix: "{tmp_path}/s"')
    (tmp_path / "s_iter_0.solverstate").mkdir()
    with pytest.raises(SnapshotError, match="solverstate") as caught:
        solver.snapshot()
    assert caught.value.__notes__[0].startswith(f"the weights were written: {tmp_path}/s_iter_0.caffemodel")
    assert solver.last_snapshot is None


def test_the_solver_knows_of_which_iteration_its_last_snapshot_is(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot: 2 snapshot_prefix: "{tmp_path}/s"')
    assert solver.last_snapshot is None
    solver.step(3)
    assert solver.last_snapshot == 2


def test_a_stop_ends_training_after_the_iteration_with_a_snapshot(tmp_path: Path) -> None:
    solver = make_solver(TESTED + f'display: 1 snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    solver.add_listener(Stopper(solver, after=6))
    solver.solve()
    assert solver.iter == 6
    assert recorder.events[-1] == ("snapshot", 6)


def test_training_can_go_on_after_a_stop() -> None:
    solver = make_solver()
    solver.add_listener(Stopper(solver, after=6))
    solver.solve()
    solver.solve()
    assert solver.iter == 10


def test_solve_tells_whether_it_was_stopped() -> None:
    solver = make_solver()
    solver.add_listener(Stopper(solver, after=6))
    solver.solve()
    assert solver.was_stopped
    solver.solve()
    assert (solver.iter, solver.was_stopped) == (10, False)


@pytest.mark.parametrize("run", [Solver.solve, lambda solver: solver.step(5)])
def test_a_stop_that_is_asked_for_before_ends_what_runs_next_and_no_more(run: Callable[[Solver], None]) -> None:
    solver = make_solver()
    solver.request_stop()
    run(solver)
    assert solver.iter == 0
    run(solver)
    assert solver.iter >= 5


def test_a_stop_in_a_test_ends_it_without_a_result() -> None:
    solver = make_solver(TESTED)
    recorder = recorded(solver)
    forward = solver.test_nets[0].forward

    def forward_and_stop() -> float:
        solver.request_stop()
        return forward()

    solver.test_nets[0].forward = forward_and_stop  # type: ignore[method-assign]
    solver.step(5)
    assert (solver.iter, recorder.events) == (0, [])


def test_a_snapshot_can_be_asked_for(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    solver.request_snapshot()
    solver.step(3)
    assert events(recorder, "snapshot") == [1]


def test_a_snapshot_can_be_asked_for_in_a_test(tmp_path: Path) -> None:
    solver = make_solver(TESTED + f'snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    forward = solver.test_nets[0].forward
    solver.test_nets[0].forward = lambda: solver.request_snapshot() or forward()  # type: ignore[func-returns-value, method-assign]
    solver.test_all()
    assert events(recorder, "snapshot") == [0, 0]  # before the second and the third pass


def test_a_snapshot_that_is_due_is_not_written_twice_when_it_is_asked_for(tmp_path: Path) -> None:
    solver = make_solver(f'snapshot: 1 snapshot_prefix: "{tmp_path}/s"')
    recorder = recorded(solver)
    solver.request_snapshot()
    solver.step(2)
    assert events(recorder, "snapshot") == [1, 2]


def test_a_snapshot_that_is_asked_for_without_a_prefix_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    solver = make_solver()
    solver.request_snapshot()
    solver.step(2)
    assert solver.iter == 2
    assert "no snapshot is written, though it was asked for" in caplog.text


def test_debug_info_is_for_iterations_that_are_displayed() -> None:
    solver = make_solver("debug_info: true display: 2")
    seen = []
    forward = solver.net.forward
    solver.net.forward = lambda: seen.append(solver.net.debug_info) or forward()  # type: ignore[func-returns-value, method-assign]
    solver.step(4)
    assert seen == [True, False, True, False]


def test_the_loss_of_a_test_is_logged_where_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make_solver(TESTED).test_all()
        assert "test net 0: loss" not in caplog.text
        make_solver(TESTED + "test_compute_loss: true").test_all()
    assert "test net 0: loss" in caplog.text


def test_a_loss_that_is_not_finite_stops_training_with_its_layer() -> None:
    solver = make_solver(check_finite=True)
    solver.net.layer("ip").params[1].data[0] = np.inf
    with pytest.raises(NotFiniteError, match="layer 'ip'"):
        solver.solve()
    assert solver.iter == 0


def test_training_that_diverges_goes_on_to_its_end_unless_asked_to_stop() -> None:
    solver = make_solver("momentum: 0.9 weight_decay: 0.1", base_lr=1e10)
    solver.solve()
    assert solver.iter == 10
    assert not np.isfinite(weights(solver)[1]).all()
    checked = make_solver("momentum: 0.9 weight_decay: 0.1", base_lr=1e10, check_finite=True)
    # The scores are large but finite; their squares are not.
    with pytest.raises(NotFiniteError, match=r"loss is inf.*top 'loss' of layer 'loss'"):
        checked.solve()


def test_a_test_of_no_passes_has_no_result() -> None:
    assert make_solver("test_iter: 0 test_interval: 5").test_all() == [{}]
