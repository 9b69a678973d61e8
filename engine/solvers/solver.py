"""The loop of every solver: step, display, test, snapshot and restore. A subclass says how params are updated."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from farlayer.blobs.blob import Blob
from farlayer.engine.files import HDF5_SUFFIX
from farlayer.engine.layer import quiet_arithmetic
from farlayer.engine.net import Net
from farlayer.engine.solvers.listener import SolverListener
from farlayer.engine.solvers.lr_policy import PolicyState, advance, learning_rate
from farlayer.engine.solvers.means import OutputMeans
from farlayer.engine.solvers.state import fill_history, find_learned_net, read_state, write_state
from farlayer.engine.weights import load_weights, save_weights
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

logger = logging.getLogger(__name__)


class Solver(ABC):
    """Trains a net. Make one with `farlayer.engine.solvers.build_solver`; close it, or use `with`.

    Attributes:
        param: the definition.
        net: the train net.
        test_nets: the test nets; before each test they get the train net's weights by sharing.
        iter: how many updates were done.
        policy_state: what the learning rate policy remembers of the last update.
        smoothed_loss: the mean of the last average_loss losses.
        last_snapshot: the iteration of the last snapshot that was written; None before the first.
        was_stopped: whether the last `solve` ended before max_iter, since that was asked for.
        update_guard: entered around each update, which changes params, history and iter together. Whoever raises
            exceptions from signal handlers keeps them back in it, so that a snapshot can be written at any moment.

    Source: Caffe, src/caffe/solver.cpp.
    """

    type_name: ClassVar[str] = ""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Which of the fields momentum, momentum2, delta and rms_decay have an effect."""
    fractions: ClassVar[frozenset[str]] = frozenset()
    """Which of them must be 0 or more and less than 1."""

    def __init__(self, param: caffe_pb2.SolverParameter, net: Net, test_nets: Sequence[Net] = ()) -> None:
        self.param = param
        self.net = net
        self.test_nets = list(test_nets)
        self.iter = 0
        self.policy_state = PolicyState()
        self.smoothed_loss = 0.0
        self.last_snapshot: int | None = None
        self.was_stopped = False
        self.update_guard: Callable[[], AbstractContextManager[None]] = nullcontext
        self._listeners: list[SolverListener] = []
        self._losses: list[float] = []
        self._stop_requested = False
        self._snapshot_requested = False

    # What a kind of solver gives

    @property
    @abstractmethod
    def history(self) -> list[Blob]:
        """What the solver keeps between updates, in the order in which Caffe stores it."""

    @abstractmethod
    def apply_update(self, rate: float) -> None:
        """Turns the diffs of the params into updates, and subtracts these from their data.

        Args:
            rate: the learning rate of this iteration.
        """

    # Running

    @property
    def current_step(self) -> int:
        """How often the learning rate policy had taken the rate down by the last update."""
        return self.policy_state.step

    def learning_rate(self) -> float:
        """The rate of the next update."""
        state = advance(self.param, self.policy_state, self.iter, self.smoothed_loss)
        return learning_rate(self.param, self.iter, state.step)

    def step(self, iterations: int) -> None:
        """Runs that many iterations, with the tests, displays and snapshots that fall into them.

        Raises:
            NotFiniteError: a loss is not finite, and the net was built with check_finite.
        """
        try:
            self._run(iterations)
        finally:
            self._stop_requested = False

    def solve(self) -> None:
        """Trains up to max_iter, then writes the last snapshot, display and test, as Caffe does.

        A stop that is requested ends it after the running iteration, with the snapshot that ends every training.

        Raises:
            NotFiniteError: as for `step`.
        """
        try:
            self._solve()
        finally:
            self.was_stopped, self._stop_requested = self._stop_requested, False

    def request_stop(self) -> None:
        """Asks `step` and `solve` to end after the running iteration, or the running pass of a test.

        May be called from a signal handler or another thread. Where nothing runs, it ends what is run next.
        """
        self._stop_requested = True

    @property
    def is_stop_requested(self) -> bool:
        """Whether a stop was asked for that has not come yet."""
        return self._stop_requested

    def request_snapshot(self) -> None:
        """Asks for a snapshot after the running iteration, or the running pass of a test.

        May be called as `request_stop`. Without a snapshot_prefix there is but a warning.
        """
        self._snapshot_requested = True

    def test_all(self) -> list[dict[str, list[float]]]:
        """Runs every test net and tells the listeners.

        Returns:
            For each test net the mean of each output over test_iter passes, by the output's name.
        """
        results = []
        for index in range(len(self.test_nets)):
            outputs = self.test(index)
            if self._stop_requested:
                logger.info("the test was interrupted")
                break
            results.append(outputs)
            for listener in self._listeners:
                listener.on_test(index, self.iter, outputs)
        return results

    def test(self, index: int) -> dict[str, list[float]]:
        """Runs one test net for its test_iter passes.

        Returns:
            The mean of each output; empty where test_iter is 0 or a stop was requested.

        Raises:
            NetError: an output changes its number of values between passes.
        """
        net = self.test_nets[index]
        net.share_trained_layers_with(self.net)
        passes = self.param.test_iter[index]
        means = OutputMeans()
        loss = 0.0
        for _ in range(passes):
            if self._snapshot_requested:
                self._write_requested_snapshot()
            if self._stop_requested:
                return {}
            loss += net.forward()
            means.add(net)
        if self.param.test_compute_loss and passes:
            logger.info("test net %d: loss %g", index, loss / passes)
        return means.means()

    def add_listener(self, listener: SolverListener) -> None:
        """Adds someone to tell of iterations, displays, tests and snapshots."""
        self._listeners.append(listener)

    # Snapshots

    def snapshot(self) -> tuple[Path, Path]:
        """Writes weights and state: PREFIX_iter_N.caffemodel and .solverstate, with a .h5 behind where they are HDF5.

        Returns:
            Their paths.

        Raises:
            SnapshotError: there is no snapshot_prefix, a file cannot be written, or h5py is needed and missing.
        """
        if not self.param.snapshot_prefix:
            raise SnapshotError("the solver has no snapshot_prefix", remedy="set snapshot_prefix in the solver")
        hdf5 = self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5
        base, suffix = f"{self.param.snapshot_prefix}_iter_{self.iter}", HDF5_SUFFIX if hdf5 else ""
        model_path, state_path = Path(f"{base}.caffemodel{suffix}"), Path(f"{base}.solverstate{suffix}")
        save_weights(self.net, model_path, with_diff=self.param.snapshot_diff, hdf5=hdf5)
        try:
            write_state(state_path, self._state_numbers(model_path), self.history, hdf5=hdf5)
        except SnapshotError as error:
            error.add_note(f"the weights were written: {model_path}; without a state a run can start from them only")
            raise
        self.last_snapshot = self.iter
        logger.info("snapshot of iteration %d: %s, %s", self.iter, model_path, state_path)
        for listener in self._listeners:
            listener.on_snapshot(model_path, state_path)
        return model_path, state_path

    def restore(self, path: str | Path) -> None:
        """Goes on where a snapshot left off: with the weights, history and iteration of its .solverstate.

        Raises:
            SnapshotError: state or weights are missing, damaged, or of another solver or net.
        """
        path = Path(path)
        state = read_state(path)
        model_path = find_learned_net(state, path)
        if model_path is not None:
            load_weights(self.net, model_path)
        fill_history(self.history, state, path)
        numbers = state.numbers
        self.iter = numbers.iter
        self.policy_state = PolicyState(numbers.current_step, numbers.minimum_loss, numbers.iter_last_event)
        logger.info("restored iteration %d from %s", self.iter, path)

    def close(self) -> None:
        """Closes the nets."""
        for net in (self.net, *self.test_nets):
            net.close()

    def __enter__(self) -> Solver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What step and solve do

    def _run(self, iterations: int) -> None:
        start = self.iter
        self._losses = []
        while self.iter < start + iterations and not self._stop_requested:
            self.net.clear_param_diffs()
            if self._is_due(self.param.test_interval) and (self.iter > 0 or self.param.test_initialization):
                self.test_all()
                if self._stop_requested:
                    break
            self._iterate(start)
            if self._is_due(self.param.snapshot):
                self._snapshot_requested = False
                self.snapshot()
            elif self._snapshot_requested:
                self._write_requested_snapshot()

    def _iterate(self, start: int) -> None:
        """One iteration of a run that began at iteration `start`."""
        is_displayed = self._is_due(self.param.display)
        self.net.debug_info = is_displayed and self.param.debug_info
        self._forward_backward(start)
        if is_displayed:
            self._display()
        with self.update_guard():
            rate = self._update()
            self.iter += 1
        for listener in self._listeners:
            listener.on_iteration(self.iter, self.smoothed_loss, rate)

    def _solve(self) -> None:
        start = self.iter
        self._run(self.param.max_iter - self.iter)
        if self.param.snapshot_after_train and not self._is_due(self.param.snapshot):
            if self.param.snapshot_prefix:
                self.snapshot()
            else:
                logger.warning("no snapshot after training: the solver has no snapshot_prefix")
        if self._stop_requested:
            logger.info("training was stopped early, at iteration %d", self.iter)
            return
        if self._is_due(self.param.display):
            self._smooth(self.net.forward(), start)
            self._display()
        if self._is_due(self.param.test_interval):
            self.test_all()

    def _is_due(self, interval: int) -> bool:
        return interval > 0 and self.iter % interval == 0

    def _forward_backward(self, start: int) -> None:
        loss = 0.0
        for _ in range(self.param.iter_size):
            loss += self.net.forward()
            self.net.backward()
        self._smooth(loss / self.param.iter_size, start)

    def _update(self) -> float:
        self.policy_state = advance(self.param, self.policy_state, self.iter, self.smoothed_loss)
        rate = learning_rate(self.param, self.iter, self.policy_state.step)
        with quiet_arithmetic():
            self.apply_update(rate)
        return rate

    def _smooth(self, loss: float, start: int) -> None:
        """Takes the mean of the last average_loss losses since `step` began at iteration `start`."""
        size = self.param.average_loss
        if len(self._losses) < size:
            self._losses.append(loss)
        else:
            self._losses[(self.iter - start) % size] = loss
        self.smoothed_loss = sum(self._losses) / len(self._losses)

    def _display(self) -> None:
        outputs = {name: self.net.blobs[name].data.ravel().tolist() for name in self.net.outputs}
        logger.info("iteration %d, loss %g", self.iter, self.smoothed_loss)
        for listener in self._listeners:
            listener.on_display(self.iter, self.smoothed_loss, outputs)

    def _write_requested_snapshot(self) -> None:
        self._snapshot_requested = False
        if self.param.snapshot_prefix:
            self.snapshot()
        else:
            logger.warning("no snapshot is written, though it was asked for: the solver has no snapshot_prefix")

    def _state_numbers(self, model_path: Path) -> caffe_pb2.SolverState:
        numbers = caffe_pb2.SolverState(iter=self.iter, learned_net=str(model_path), current_step=self.current_step)
        if self.param.lr_policy == "plateau":
            numbers.minimum_loss = self.policy_state.minimum_loss
            numbers.iter_last_event = self.policy_state.last_event
        return numbers
