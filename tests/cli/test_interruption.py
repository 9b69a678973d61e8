"""Signals at any moment: one line, exit code 1, nothing left.

In `farlayer train` a Ctrl-C is first of all Caffe's: the run ends after the running iteration, and SIGHUP writes a
snapshot. A second Ctrl-C, SIGTERM, and signals outside the run end it at once.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farlayer.engine.solvers.state import read_state
from tests.cli.command import LAYERS, LIMIT_S, Result, Running, running
from tests.cli.nets import write_net
from tests.cli.terminal import CTRL_C, terminal

NoLeaks = Callable[[], list[str]]
TRAIN = ("train", "--solver", "solver.prototxt", "--python-path", LAYERS)
LONG = "max_iter: 100000"


def check(result: Result, story: str) -> None:
    lines = result.err.splitlines()
    assert result.code == 1, result
    assert re.fullmatch(story, lines[-1]), result
    assert sum(line.startswith("interrupted") for line in lines) == 1, result
    assert "Traceback" not in result.err + result.out, result
    assert "error" not in result.err.replace("stderr", ""), result
    assert result.seconds < 5, result


def interrupt_twice(command: Running) -> Result:
    """Presses Ctrl-C, waits until that is understood, and presses it again."""
    command.process.send_signal(signal.SIGINT)
    command.wait_for("stopping after this iteration; once more: at once\n")
    return command.interrupt()


@pytest.mark.parametrize("delay_s", [0.15, 0.5, 1.0])
def test_an_interrupt_at_start_up_leaves_nothing(tmp_path: Path, leak_check: NoLeaks, delay_s: float) -> None:
    write_net(tmp_path, "HangsInSetup")
    with running(*TRAIN, cwd=tmp_path) as command:
        time.sleep(delay_s)
        check(command.interrupt(), "interrupted( before training began)?")
    assert leak_check() == []


@pytest.mark.parametrize(
    ("layer", "number"), [("Hangs", signal.SIGTERM), ("HangsInSetup", signal.SIGINT), ("HangsInSetup", signal.SIGTERM)]
)
def test_an_interrupt_in_the_middle_of_user_code_ends_it(
    tmp_path: Path, leak_check: NoLeaks, layer: str, number: int
) -> None:
    write_net(tmp_path, layer)
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("now I hang")
        check(
            command.interrupt(number),
            "interrupted before training began"
            if layer == "HangsInSetup"
            else "interrupted at iteration 0; no snapshot was written",
        )
    assert leak_check() == []


def test_a_first_ctrl_c_waits_for_the_iteration_and_a_second_does_not(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Hangs")
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("now I hang")
        command.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert command.process.poll() is None
        check(command.interrupt(), "interrupted at iteration 0; no snapshot was written")
    assert leak_check() == []


@pytest.mark.parametrize("where", [("--in-process",), ("--carrier", "grpc"), ("--transport", "streamed")])
def test_an_interrupt_ends_user_code_wherever_it_runs(
    tmp_path: Path, leak_check: NoLeaks, where: tuple[str, ...]
) -> None:
    write_net(tmp_path, "Hangs")
    with running(*TRAIN, *where, cwd=tmp_path) as command:
        if where == ("--in-process",):
            time.sleep(1.5)  # its stdout is the command's, which nobody reads yet
        else:
            command.wait_for("now I hang")
        check(interrupt_twice(command), "interrupted at iteration 0; no snapshot was written")
    assert leak_check() == []


def test_an_interrupt_between_calls_tells_iteration_and_last_snapshot(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\nsnapshot: 10\ndisplay: 10")
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("Iteration 30 ")
        result = command.interrupt()
    check(result, r"interrupted at iteration (\d+); last snapshot: out/small_iter_\1\.caffemodel")
    reached = int(re.findall(r"\d+", result.err.splitlines()[-1])[0])
    assert reached >= 30
    state = read_state(tmp_path / f"out/small_iter_{reached}.solverstate")
    assert (state.numbers.iter, len(state.history)) == (reached, 2)
    assert (tmp_path / f"out/small_iter_{reached}.caffemodel").is_file()
    assert not list((tmp_path / "out").glob(".*")), "a half-written file was left"
    assert leak_check() == []


INTERRUPTS_UPDATE = """
import signal
from cli_layers import Half
from farlayer.engine.solvers.sgd import SGDSolver

apply_update = SGDSolver.apply_update

def interrupted(self, rate):
    if self.iter == 2:
        signal.raise_signal(signal.{number})
    apply_update(self, rate)

SGDSolver.apply_update = interrupted
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_in_the_middle_of_an_update_lets_it_end_first(tmp_path: Path, number: str) -> None:
    constant = '"constant" value: 1'
    for folder, module, more in (("cut", "interrupts", ""), ("whole", "cli_layers", "max_iter: 3")):
        (tmp_path / folder).mkdir()
        write_net(tmp_path / folder, "Half", module=module, solver=f"momentum: 0.9\n{more}")
        net = tmp_path / folder / "net.prototxt"
        net.write_text(net.read_text("utf-8").replace('"gaussian" std: 1', constant), "utf-8")
    (tmp_path / "cut" / "interrupts.py").write_text(INTERRUPTS_UPDATE.format(number=number), encoding="utf-8")
    with running(*TRAIN, "--in-process", cwd=tmp_path / "cut") as command:
        check(command.end(), r"interrupted at iteration 3; last snapshot: out/small_iter_3\.caffemodel")
    with running(*TRAIN, "--in-process", cwd=tmp_path / "whole") as command:
        assert command.end().code == 0
    for name in ("small_iter_3.caffemodel", "small_iter_3.solverstate"):
        cut, whole = ((tmp_path / folder / "out" / name).read_bytes() for folder in ("cut", "whole"))
        assert cut.replace(b"interrupts", b"cli_layers") == whole


def test_no_snapshot_of_an_interrupted_run_where_the_solver_wants_none_at_the_end(tmp_path: Path) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\ndisplay: 10\nsnapshot_after_train: false")
    with running(*TRAIN, "--in-process", cwd=tmp_path) as command:
        command.wait_for("Iteration 10 ")
        check(command.interrupt(), r"interrupted at iteration \d+; no snapshot was written")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_snapshots_are_written_leave_no_half_file(
    tmp_path: Path, leak_check: NoLeaks, number: int
) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\nsnapshot: 1")
    for delay_s in (0.0, 0.013, 0.031):
        with running(*TRAIN, "--in-process", cwd=tmp_path) as command:
            command.wait_for("Iteration 4 ")
            time.sleep(delay_s)
            check(command.interrupt(number), r"interrupted at iteration \d+; last snapshot: .*")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert all(re.fullmatch(r"small_iter_\d+\.(caffemodel|solverstate)", name) for name in names), names
    assert leak_check() == []


def test_an_interrupt_during_a_test_ends_it(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "HangsInTest", solver="test_iter: 2\ntest_interval: 2\ntest_initialization: false")
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("now I hang")
        check(interrupt_twice(command), r"interrupted at iteration 2; last snapshot: out/small_iter_2\.caffemodel")
    assert leak_check() == []


def test_farlayer_test_tells_how_many_batches_it_ran(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half", solver="max_iter: 1")
    with running(*TRAIN, "--in-process", cwd=tmp_path) as command:
        assert command.end().code == 0
    write_net(tmp_path, "Hangs")
    arguments = ("test", "--model", "net.prototxt", "--weights", "out/small_iter_1.caffemodel", *TRAIN[3:])
    with running(*arguments, cwd=tmp_path) as command:
        command.wait_for("now I hang")
        check(command.interrupt(), "interrupted after 0 of 50 batches")
    assert leak_check() == []


def test_a_third_ctrl_c_ends_even_the_ending_and_the_workers_too(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Hangs")
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("now I hang")
        for _ in range(2):
            os.kill(command.process.pid, signal.SIGINT)
            time.sleep(0.02)
        result = command.interrupt()
    assert result.code == 1, result
    assert "Traceback" not in result.err, result
    assert leak_check() == []


def snapshots(folder: Path) -> list[int]:
    return sorted(int(path.stem.rpartition("_")[2]) for path in (folder / "out").glob("*.solverstate"))


def hangup(command: Running, after: str) -> str:
    """Sends SIGHUP and waits for the second of two displays after it: there is a snapshot by then, if any."""
    seen = len(re.findall(r"Iteration \d+ ", command.wait_for(after)))
    command.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and command.process.poll() is None:
        err = command.wait_for("Iteration")
        if len(re.findall(r"Iteration \d+ ", err)) >= seen + 2:
            return err
        time.sleep(0.01)
    return command.wait_for("Iteration")


def test_sighup_writes_a_snapshot_and_the_run_goes_on(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\ndisplay: 50")
    with running(*TRAIN, cwd=tmp_path) as command:
        hangup(command, "Iteration 50 ")
        first = snapshots(tmp_path)
        hangup(command, "Iteration 50 ")
        second = snapshots(tmp_path)
        check(command.interrupt(), r"interrupted at iteration \d+; last snapshot: .*")
    assert (len(first), len(second)) == (1, 2)
    assert first[0] >= 50
    assert read_state(tmp_path / f"out/small_iter_{first[0]}.solverstate").numbers.iter == first[0]
    assert leak_check() == []


@pytest.mark.parametrize(("effect", "count"), [("snapshot", 1), ("none", 0)])
def test_ctrl_c_has_the_effect_that_is_asked_for(tmp_path: Path, leak_check: NoLeaks, effect: str, count: int) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\ndisplay: 50")
    with running(*TRAIN, "--in-process", f"-sigint_effect={effect}", cwd=tmp_path) as command:
        err = command.wait_for("Iteration 50 ")
        command.process.send_signal(signal.SIGINT)
        at = int(re.findall(r"Iteration (\d+) ", err)[-1])
        command.wait_for(f"Iteration {at + 200} ")
        assert len(snapshots(tmp_path)) == count
        check(command.interrupt(signal.SIGTERM), r"interrupted at iteration \d+; last snapshot: .*")
    assert leak_check() == []


def test_sighup_can_stop_and_can_do_nothing(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half", solver=f"{LONG}\ndisplay: 50")
    with running(*TRAIN, "--in-process", "--sighup-effect", "stop", cwd=tmp_path) as command:
        command.wait_for("Iteration 50 ")
        check(command.interrupt(signal.SIGHUP), r"interrupted at iteration \d+; last snapshot: .*")
    before = snapshots(tmp_path)
    with running(*TRAIN, "--in-process", "--sighup-effect", "none", cwd=tmp_path) as command:
        hangup(command, "Iteration 50 ")
        assert snapshots(tmp_path) == before
        check(command.interrupt(), r"interrupted at iteration \d+; last snapshot: .*")
    assert leak_check() == []


def test_a_sighup_before_training_is_kept_for_it(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "SlowSetup", solver="max_iter: 3")
    with running(*TRAIN, cwd=tmp_path) as command:
        command.wait_for("in setup")
        command.process.send_signal(signal.SIGHUP)
        assert command.end().code == 0
    assert snapshots(tmp_path) == [1, 3]
    assert leak_check() == []


def test_training_outlives_its_terminal(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Slow", solver="max_iter: 60\ndisplay: 10\ntest_iter: 1\ntest_interval: 20")
    with terminal(*TRAIN, cwd=tmp_path) as screen:
        screen.wait_for(r"loss [\d.]+ ")
        screen.hang_up()
        assert screen.process.wait(LIMIT_S) == 0
    assert len(snapshots(tmp_path)) == 2
    assert snapshots(tmp_path)[-1] == 60
    assert leak_check() == []


def test_ctrl_c_typed_in_a_terminal_gives_the_screen_back(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Slow", solver=LONG)
    with terminal(*TRAIN, cwd=tmp_path) as screen:
        screen.wait_for(r"loss [\d.]+ ")
        screen.type(CTRL_C)
        code = screen.end()
    assert code == 1, screen.text
    assert re.search(r"interrupted at iteration (\d+); last snapshot: out/small_iter_\1\.caffemodel\n$", screen.text), (
        screen.text
    )
    assert "Traceback" not in screen.text
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is still hidden"
    assert leak_check() == []


def test_ctrl_c_in_a_terminal_waits_for_the_iteration_and_says_so(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Hangs", solver=LONG)
    with terminal(*TRAIN, cwd=tmp_path) as screen:
        screen.wait_for("now I hang")
        screen.type(CTRL_C)
        screen.wait_for("stopping after this iteration; Ctrl-C once more: at once")
        screen.type(CTRL_C)
        code = screen.end()
    assert code == 1, screen.text
    assert screen.text.rstrip().endswith("interrupted at iteration 0; no snapshot was written")
    assert leak_check() == []
