"""Checks that tests leave nothing behind: no process, no file descriptor, no file.

A pytest plugin, loaded by tests/conftest.py. It looks after every test module and once more at the end of the session,
so that a leak is reported with the module that made it. What is left is listed with what identifies it; processes
that are left are killed after that, so that a failed run leaves none either.

Processes are found in three ways, since a leaked one has often lost its parent: as descendants of this process, by an
environment variable that every process started from here inherits, and (for forks, whose /proc/PID/environ is
that of their parent) by a memfd that every fork inherits.
"""

import gc
import os
import signal
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SESSION_VARIABLE = "FARLAYER_TEST_SESSION"
NAME_OF_OURS = "farlayer"
GRACE_S = 3.0  # a worker that was told to end needs a moment; more than this is a leak
POLL_S = 0.02

# Opened once by a library at its first use, and then kept for the life of the process on purpose.
KEPT_BY_LIBRARIES = (
    "/dev/urandom",
    "/dev/random",
    "/dev/nvidia",  # the CUDA driver
    "anon_inode:[eventpoll]",  # the two of gRPC's polling engine
    "anon_inode:[eventfd]",
    f"{sysconfig.get_path('purelib')}/",  # a library's own files: matplotlib keeps its fonts open
    "/usr/share/fonts/",
)


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    parent: int
    state: str
    command: str

    def __str__(self) -> str:
        state = " (a zombie: nobody waited for it)" if self.state == "Z" else ""
        return f"process {self.pid}, child of {self.parent}{state}: {self.command}"


@dataclass
class Session:
    """What marks this test session's processes, and where it may put files."""

    mark: str
    tag_descriptor: int
    private_folders: list[Path]
    shared_folders: list[Path]
    killed: set[int] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    @property
    def tag(self) -> str:
        """What /proc/PID/fd shows for the memfd that forks inherit."""
        return f"/memfd:{self.mark} (deleted)"


@dataclass(frozen=True)
class Snapshot:
    """What there was at one moment."""

    processes: frozenset[int]
    descriptors: dict[int, str]
    files: frozenset[Path]


# --- processes ---


def read_process(pid: int) -> Process | None:
    """A process from /proc, or None where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    state, parent = rest.split()[:2]
    command = b" ".join(arguments).decode("utf-8", "replace") or f"[{name}]"
    return Process(pid, int(parent), state, command)


def all_processes() -> dict[int, Process]:
    """Every process that this one can see, by pid."""
    found = (read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {process.pid: process for process in found if process is not None}


def carries_mark(pid: int, session: Session) -> bool:
    """Whether a process was started, or forked, from this session."""
    assignment = f"{SESSION_VARIABLE}={session.mark}".encode()
    try:
        if assignment in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return session.tag in (os.readlink(entry.path) for entry in entries)
    except OSError:
        return False  # gone, or another user's


def descends_from(process: Process, ancestor: int, processes: dict[int, Process]) -> bool:
    """Whether `ancestor` is among the parents of a process."""
    seen = set()
    while process.parent in processes and process.pid not in seen:
        if process.parent == ancestor:
            return True
        seen.add(process.pid)
        process = processes[process.parent]
    return False


def session_processes(session: Session) -> dict[int, Process]:
    """The processes that this session started and that are still there, by pid."""
    processes = all_processes()
    return {
        pid: process
        for pid, process in processes.items()
        if pid != os.getpid()
        and pid not in session.killed
        and (descends_from(process, os.getpid(), processes) or carries_mark(pid, session))
    }


def others_are_at_work(session: Session) -> bool:
    """Whether farlayer or its tests run on this machine beside this session: files with our name may then be theirs."""
    ours = set(session_processes(session))
    ancestors = set()
    processes = all_processes()
    current = processes.get(os.getpid())
    while current is not None and current.pid not in ancestors:
        ancestors.add(current.pid)
        current = processes.get(current.parent)
    return any(
        NAME_OF_OURS in process.command or "pytest" in process.command
        for pid, process in processes.items()
        if pid not in ours | ancestors
    )


# --- file descriptors ---


def open_descriptors() -> dict[int, str]:
    """The open file descriptors of this process and what each one is."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue  # the one that listed the folder
        if not link.startswith(KEPT_BY_LIBRARIES):
            found[int(entry)] = link
    return found


def describe_descriptor(descriptor: int, link: str) -> str:
    """A descriptor with what /proc knows of it; sockets of named addresses with their address."""
    if link.startswith("socket:["):
        inode = link[len("socket:[") : -1]
        for table in ("unix", "tcp", "tcp6"):
            try:
                lines = Path(f"/proc/net/{table}").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                words = line.split()
                if table == "unix" and words[6] == inode:
                    return f"descriptor {descriptor}: unix socket {words[7] if len(words) > 7 else '(no name)'}"
                if table != "unix" and words[9] == inode:
                    ports = [int(words[column].rpartition(":")[2], 16) for column in (1, 2)]
                    return f"descriptor {descriptor}: {table} socket, port {ports[0]} to port {ports[1]}"
    return f"descriptor {descriptor}: {link}"


# --- files ---


def files_in(private_folders: list[Path], shared_folders: list[Path]) -> frozenset[Path]:
    """Everything in this session's own folders, and what has our name in the folders that are everybody's."""
    everything = {path for folder in private_folders if folder.is_dir() for path in folder.iterdir()}
    named = {path for folder in shared_folders if folder.is_dir() for path in folder.glob(f"*{NAME_OF_OURS}*")}
    return frozenset(everything | named)


# --- comparing ---


def take_snapshot(session: Session) -> Snapshot:
    """What there is now."""
    gc.collect()
    files = files_in(session.private_folders, session.shared_folders)
    return Snapshot(frozenset(session_processes(session)), open_descriptors(), files)


def new_since(before: Snapshot, session: Session) -> tuple[list[Process], dict[int, str], list[Path]]:
    """What there is now and was not at the snapshot: processes, descriptors, files."""
    processes = [process for pid, process in session_processes(session).items() if pid not in before.processes]
    descriptors = {
        number: link for number, link in open_descriptors().items() if before.descriptors.get(number) != link
    }
    files = sorted(files_in(session.private_folders, session.shared_folders) - before.files)
    return processes, descriptors, files


def leaks_since(before: Snapshot, session: Session, *, descriptors_count: bool = True) -> list[str]:
    """Waits a moment for what is about to end, then describes what was left since the snapshot.

    Processes that were left are killed.

    Args:
        before: what was there before.
        session: whose processes and files to look for.
        descriptors_count: whether open descriptors are leaks; not where a test failed: pytest keeps its frames.

    Returns:
        One line for each thing left that was not reported before; empty where all is clean.
    """
    deadline = time.monotonic() + GRACE_S
    while True:
        gc.collect()
        processes, descriptors, files = new_since(before, session)
        if not descriptors_count:
            descriptors = {}
        private = [path for path in files if path.parent in session.private_folders]
        shared = [path for path in files if path.parent not in session.private_folders]
        if not (processes or descriptors or files):
            return []
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    if shared and others_are_at_work(session):
        shared = []
    lines = [str(process) for process in processes]
    lines += [describe_descriptor(number, link) for number, link in sorted(descriptors.items())]
    lines += [f"file {path}" for path in [*private, *shared]]
    for process in processes:
        session.killed.add(process.pid)
        if process.state != "Z":
            kill(process.pid)
    fresh = [line for line in lines if line not in session.reported]
    session.reported.update(fresh)
    return fresh


def kill(pid: int) -> None:
    """Kills a process that a test left."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def check(before: Snapshot, session: Session, what: str, *, descriptors_count: bool) -> None:
    """Fails where something was left since the snapshot.

    Raises:
        pytest.fail.Exception: names each thing left.
    """
    lines = leaks_since(before, session, descriptors_count=descriptors_count)
    if lines:
        pytest.fail(f"{what} left behind:\n  " + "\n  ".join(lines), pytrace=False)


# --- fixtures ---


@pytest.fixture(scope="session", autouse=True)
def test_session(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Session]:
    """Marks this session's processes, gives it folders of its own, and checks at its end that nothing is left."""
    tmp_path_factory.getbasetemp()  # made now, while TMPDIR is still everybody's: pytest keeps its folders
    mark = f"farlayer-tests-{uuid.uuid4()}"
    usual = Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="ft-") as own, pytest.MonkeyPatch.context() as environment:
        private, shared = [Path(own)], [usual, Path("/dev/shm")]
        environment.setenv(SESSION_VARIABLE, mark)
        environment.setenv("TMPDIR", own)
        environment.setattr(tempfile, "tempdir", None)
        if "XDG_RUNTIME_DIR" in os.environ:
            shared.append(Path(os.environ["XDG_RUNTIME_DIR"]))
        tag_descriptor = os.memfd_create(mark)
        session = Session(mark, tag_descriptor, private, shared)
        try:
            before = take_snapshot(session)
            yield session
            check(before, session, "The test session", descriptors_count=request.session.testsfailed == 0)
        finally:
            os.close(tag_descriptor)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_by_module(test_session: Session, request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks after each test module that it left nothing.

    Whatever tests share must therefore be scoped to a module at most.
    """
    before, failed = take_snapshot(test_session), request.session.testsfailed
    yield
    check(before, test_session, request.node.nodeid, descriptors_count=request.session.testsfailed == failed)


@pytest.fixture
def leak_check(test_session: Session) -> Callable[[], list[str]]:
    """For a test about cleaning up: describes what was left since the fixture was made, in the middle of a test."""
    before = take_snapshot(test_session)
    return lambda: leaks_since(before, test_session)
