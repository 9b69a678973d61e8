"""The loop of every solver: step, display, test, snapshot and restore. A subclass says how a param is updated."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import quiet_arithmetic
from farlayer.engine.net import Net
from farlayer.engine.solvers import lr_policy
from farlayer.engine.solvers.listener import SolverListener
from farlayer.engine.solvers.means import OutputMeans
from farlayer.engine.solvers.state import fill_history, find_learned_net, read_state, write_state
from farlayer.engine.weights import load_weights, save_weights
from farlayer.protos.errors import SnapshotError

if TYPE_CHECKING:
    from farlayer.protos import caffe_pb2

logger = logging.getLogger(__name__)


class Solver(ABC):
    """Trains a net. Make one with `farlayer.engine.solvers.build_solver`; close it, or use `with`.

    Attributes:
        param: the definition.
        net: the train net.
        test_nets: the test nets; before each test they get the train net's weights by sharing.
        iter: how many updates were done.
        current_step: the step that the learning rate policy was at in the last update.
        last_snapshot: the iteration of the last snapshot that was written; None before the first.
        update_guard: entered around each update, which changes params, history and iter together. Whoever raises
            exceptions from signal handlers keeps them back in it, so that a snapshot can be written at any moment.

    Source: Caffe, src/caffe/solver.cpp.
    """

    type_name: ClassVar[str] = ""

    def __init__(self, param: caffe_pb2.SolverParameter, net: Net, test_nets: Sequence[Net] = ()) -> None:
        self.param = param
        self.net = net
        self.test_nets = list(test_nets)
        self.iter = 0
        self.current_step = 0
        self.last_snapshot: int | None = None
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
    def compute_update(self, rate: float) -> None:
        """Turns the diffs of the params into what is to be subtracted from their data.

        Args:
            rate: the learning rate of this iteration.
        """

    # Running

    def learning_rate(self) -> float:
        """The rate of the next update."""
        step = lr_policy.current_step(self.param, self.iter, self.current_step)
        return lr_policy.learning_rate(self.param, self.iter, step)

    def step(self, iterations: int) -> None:
        """Runs that many iterations, with the tests, displays and snapshots that fall into them.

        Raises:
            NotFiniteError: a loss is not finite, and the net was built with check_finite.
        """
        start = self.iter
        self._losses = []
        while self.iter < start + iterations and not self._stop_requested:
            self.net.clear_param_diffs()
            if self._is_due(self.param.test_interval) and (self.iter > 0 or self.param.test_initialization):
                self.test_all()
                if self._stop_requested:
                    break
            loss = self._forward_backward(start)
            if self._is_due(self.param.display):
                self._display(loss)
            with self.update_guard():
                rate = self._apply_update()
                self.iter += 1
            for listener in self._listeners:
                listener.on_iteration(self.iter, loss, rate)
            if self._is_due(self.param.snapshot) or self._snapshot_requested:
                self._snapshot_requested = False
                self.snapshot()

    def solve(self) -> None:
        """Trains up to max_iter, then writes the last snapshot, display and test, as Caffe does.

        A stop that is requested ends it after the running iteration, with the snapshot that ends every training.
        """
        self._stop_requested = False
        start = self.iter
        self.step(self.param.max_iter - self.iter)
        if self.param.snapshot_after_train and not self._is_due(self.param.snapshot):
            if self.param.snapshot_prefix:
                self.snapshot()
            else:
                logger.warning("no snapshot after training: the solver has no snapshot_prefix")
        if self._stop_requested:
            logger.info("training was stopped early, at iteration %d", self.iter)
            return
        if self._is_due(self.param.display):
            self._display(self._smooth(self.net.forward(), start))
        if self._is_due(self.param.test_interval):
            self.test_all()

    def request_stop(self) -> None:
        """Asks `step` and `solve` to end after the running iteration, or the running pass of a test.

        May be called from a signal handler or another thread. `solve` forgets what was asked for before it.
        """
        self._stop_requested = True

    def request_snapshot(self) -> None:
        """Asks for a snapshot after the running iteration; may be called as `request_stop`."""
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
        """Writes weights and state as PREFIX_iter_N.caffemodel and .solverstate.

        Returns:
            Their paths.

        Raises:
            SnapshotError: there is no snapshot_prefix, or a file cannot be written.
        """
        if not self.param.snapshot_prefix:
            raise SnapshotError("the solver has no snapshot_prefix", remedy="set snapshot_prefix in the solver")
        model_path = Path(f"{self.param.snapshot_prefix}_iter_{self.iter}.caffemodel")
        state_path = model_path.with_suffix(".solverstate")
        save_weights(self.net, model_path, with_diff=self.param.snapshot_diff)
        write_state(
            state_path,
            iteration=self.iter,
            learned_net=model_path,
            current_step=self.current_step,
            history=self.history,
        )
        self.last_snapshot = self.iter
        logger.info("snapshot of iteration %d: %s, %s", self.iter, model_path, state_path)
        for listener in self._listeners:
            listener.on_snapshot(model_path, state_path)
        return model_path, state_path

    def restore(self, path: str | Path) -> None:
        """Goes on where a .solverstate left off: its weights, history and iteration.

        Raises:
            SnapshotError: state or weights are missing, damaged, or of another solver or net.
        """
        path = Path(path)
        state = read_state(path)
        model_path = find_learned_net(state, path)
        if model_path is not None:
            load_weights(self.net, model_path)
        fill_history(self.history, state, path)
        self.iter = state.iter
        self.current_step = state.current_step
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

    # One iteration

    def _is_due(self, interval: int) -> bool:
        return interval > 0 and self.iter % interval == 0

    def _forward_backward(self, start: int) -> float:
        loss = 0.0
        for _ in range(self.param.iter_size):
            loss += self.net.forward()
            self.net.backward()
        return self._smooth(loss / self.param.iter_size, start)

    def _apply_update(self) -> float:
        self.current_step = lr_policy.current_step(self.param, self.iter, self.current_step)
        rate = lr_policy.learning_rate(self.param, self.iter, self.current_step)
        with quiet_arithmetic():
            self.compute_update(rate)
            for blob in self.net.learnable_params:
                np.subtract(blob.data, blob.diff, out=blob.data)
        return rate

    def _smooth(self, loss: float, start: int) -> float:
        """The mean of the last average_loss losses since `step` began at iteration `start`."""
        size = self.param.average_loss
        if len(self._losses) < size:
            self._losses.append(loss)
        else:
            self._losses[(self.iter - start) % size] = loss
        return sum(self._losses) / len(self._losses)

    def _display(self, loss: float) -> None:
        outputs = {name: self.net.blobs[name].data.ravel().tolist() for name in self.net.outputs}
        logger.info("iteration %d, loss %g", self.iter, loss)
        for listener in self._listeners:
            listener.on_display(self.iter, loss, outputs)
