"""Starts workers, watches them, and buries them: the one place that knows how a worker died."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from farlayer.blobs.mailbox import Mailbox, MailboxClosedError
from farlayer.protos.errors import WorkerDiedError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2 import OpenChannel
from farlayer.server.options import ServerOptions

logger = logging.getLogger(__name__)

LOG_LINES_KEPT = 200
LOG_LINES_SHOWN = 20
_LOG_DRAIN_S = 0.5
"""How long to wait for the last lines of a dead worker, whose children may hold the pipe open for ever."""
_STACKS_S = 0.5
"""What a stuck worker gets to write its stacks, after SIGABRT."""

_BURIAL_S = 2.0
_LIMITS = (errno.EMFILE, errno.ENFILE)

DeathWatcher = Callable[[WorkerDiedError], None]


class Worker:
    """One worker process, with the instances that it holds.

    Attributes:
        name: "w1", "w2", ... in the order of starts.
        slot: which worker the callers mean by it.
        watchers: by instance id, whom to tell of its death.
        labels: by instance id, the layer's name, for the log.
    """

    def __init__(self, name: str, slot: str, options: ServerOptions) -> None:
        self.name = name
        self.slot = slot
        self.watchers: dict[str, DeathWatcher] = {}
        self.labels: dict[str, str] = {}
        self.started_at = time.monotonic()
        self._options = options
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._ended_because = ""
        self._dead = threading.Event()
        self._cause: WorkerDiedError | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the process. The kernel ends it with the thread that calls this: call it from one that lives on."""
        self._oom_kills = _oom_kills()
        self.control, remote = Mailbox.pair()
        try:
            self._process = subprocess.Popen(
                self._command(remote.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[remote.fileno()],
                process_group=0,  # a Ctrl-C in the terminal is not for it, and its children end with it
                text=True,
                errors="replace",
            )
        except OSError as error:
            self.control.close()
            raise WorkerUnavailableError(
                f"the worker's interpreter '{self._command(0)[0]}' cannot be started: {error.strerror}",
                remedy="raise the limit on open files (ulimit -n)" if error.errno in _LIMITS else "correct --python",
            ) from error
        finally:
            remote.close()
        self.pid = self._process.pid
        self._log_reader = threading.Thread(target=self._read_log, name=f"log-{self.name}", daemon=True)
        self._log_reader.start()
        threading.Thread(target=self._watch, name=f"watch-{self.name}", daemon=True).start()
        logger.info("worker %s started, pid %d", self.name, self.pid)

    def _command(self, control: int) -> list[str]:
        options = self._options
        command = [options.python or sys.executable, "-u", "-m", "farlayer.worker.process"]
        command += ["--control", str(control), "--parent", str(os.getpid()), "--log-level", options.log_level]
        for folder in options.python_path:
            command += ["--python-path", folder]
        return command

    def open_channel(self, instance: str) -> Mailbox:
        """Gives the worker one end of a new socket pair and returns the other.

        Raises:
            WorkerDiedError: the worker is gone.
        """
        here, there = Mailbox.pair()
        try:
            self.control.send(OpenChannel(instance=instance).SerializeToString(), [there.fileno()])
        except MailboxClosedError:
            here.close()
            raise self.death(wait_s=1.0) from None
        finally:
            there.close()
        return here

    # Death

    @property
    def is_dead(self) -> bool:
        """Whether the process is gone and was buried."""
        return self._dead.is_set()

    @property
    def has_exited(self) -> bool:
        """Whether the process has ended, buried or not."""
        with self._lock:
            return self.is_dead or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def death(self, wait_s: float) -> WorkerDiedError:
        """How the worker died; waits so long for it to be known."""
        self._dead.wait(wait_s)
        return self._cause or WorkerDiedError(
            f"worker {self.name} (pid {self.pid}) closed its mailbox, but its process runs on",
            log_lines=self.log_tail(),
        )

    def log_tail(self) -> tuple[str, ...]:
        """The last lines that the worker wrote."""
        return tuple(list(self._log)[-LOG_LINES_SHOWN:])

    def end(self, because: str, *, grace_s: float) -> None:
        """Lets the worker go: closes its control mailbox, waits for its exit handlers, then kills it."""
        self._ended_because = self._ended_because or because
        self.control.shutdown()
        if not self._dead.wait(grace_s):
            self.kill(because)

    def kill(self, because: str, *, stacks: bool = False) -> None:
        """Ends the worker and all its children at once, and waits for the burial.

        Args:
            stacks: have it write the stacks of its threads to its log first.
        """
        self._ended_because = self._ended_because or because
        if stacks and not self.is_dead:
            self._signal(signal.SIGABRT)
            self._dead.wait(_STACKS_S)
        self._signal(signal.SIGKILL)
        self._dead.wait(5.0)

    def _signal(self, number: int) -> None:
        with self._lock:
            if not self.is_dead:
                os.kill(self.pid, number)

    def _watch(self) -> None:
        # Leave the zombie until its children are dead: until then the number of its process group is its own.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # no children were left
        self._log_reader.join(_LOG_DRAIN_S)
        with self._lock:
            code = self._process.wait()
            self._cause = self._describe(code)
            self._dead.set()
        self.control.close()
        logger.info("worker %s is gone: %s", self.name, self._cause.message)
        for watcher in list(self.watchers.values()):
            watcher(self._cause)

    def _describe(self, code: int) -> WorkerDiedError:
        if code < 0:
            how = f"was killed by {_signal_name(-code)}"
            if self._ended_because:
                how += f" by its server: {self._ended_because}"
            elif -code == signal.SIGKILL:
                oom = _oom_kills() > self._oom_kills
                how += " (the kernel ended processes for lack of memory)" if oom else " from outside"
        else:
            how = f"ended with exit code {code}" + (f": {self._ended_because}" if self._ended_because else "")
        return WorkerDiedError(
            f"worker {self.name} (pid {self.pid}) {how}",
            signal=max(-code, 0),
            exit_code_of_worker=max(code, 0),
            log_lines=self.log_tail(),
        )

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                text = line.rstrip("\n")
                self._log.append(text)
                label = ",".join(sorted(set(self.labels.values()))) or self.name
                sys.stderr.write(f"[{label}] {text}\n")
                sys.stderr.flush()


class Supervisor:
    """The workers of one server, by slot. A worker runs from its first instance to its last."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self._names = (f"w{number}" for number in itertools.count(1))
        # One thread starts all workers and outlives them: the kernel ends a worker with the thread that started it.
        self._spawner = ThreadPoolExecutor(1, "farlayer-spawner")
        self._buriers = ThreadPoolExecutor(8, "farlayer-burier")
        self._closed = False

    @property
    def workers(self) -> list[Worker]:
        """Those that run."""
        return [worker for worker in list(self._workers.values()) if not worker.is_dead]

    def hold(self, slot: str, instance: str, layer: str, watcher: DeathWatcher) -> Worker:
        """Returns the worker of a slot, started if there is none, and counts the instance as held by it.

        Raises:
            WorkerUnavailableError: the server runs as many workers as it may.
        """
        with self._lock:
            if self._closed:
                raise WorkerUnavailableError(f"layer '{layer}': this server ends", layer=layer)
            worker = self._workers.get(slot)
            if worker is not None and worker.has_exited:
                worker.death(wait_s=_BURIAL_S)  # its burial is under way, and not the new layer's business
            if worker is None or worker.is_dead:
                if len(self.workers) >= self._options.max_workers:
                    raise WorkerUnavailableError(
                        f"no worker for layer '{layer}': this server runs {len(self.workers)} workers, its limit",
                        remedy="raise --max-workers of the server, or use fewer --workers",
                        layer=layer,
                    )
                worker = Worker(next(self._names), slot, self._options)
                self._spawner.submit(worker.start).result()
                self._workers[slot] = worker
            worker.watchers[instance] = watcher
            worker.labels[instance] = layer
            return worker

    def let_go(self, worker: Worker, instance: str) -> None:
        """Counts an instance as gone; ends the worker with its last one."""
        with self._lock:
            worker.watchers.pop(instance, None)
            worker.labels.pop(instance, None)
            if worker.watchers or self._closed:
                return
            if self._workers.get(worker.slot) is worker:
                del self._workers[worker.slot]
            self._buriers.submit(worker.end, "its last layer was released", grace_s=self._options.worker_end_s)

    def close(self) -> None:
        """Ends all workers, and waits until they are gone."""
        with self._lock:
            self._closed = True
            workers = list(self._workers.values())
            self._workers.clear()
        with ThreadPoolExecutor(max(1, len(workers)), "farlayer-closer") as all_at_once:
            for worker in workers:
                all_at_once.submit(worker.end, "the server ends", grace_s=self._options.worker_end_s)
        self._buriers.shutdown()
        self._spawner.shutdown()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _oom_kills() -> int:
    """How many processes the kernel has ended for lack of memory since its start."""
    try:
        with open("/proc/vmstat", encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
