"""What signals do to a solver; test_interruption.py sends them to whole runs."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlayer.cli.signal_effects import SignalEffects
from farlayer.cli.signals import Interrupted, Interrupts
from farlayer.engine.solvers import Solver
from tests.engine.solvers.nets import make_solver


@pytest.fixture
def solver(tmp_path: Path) -> Solver:
    return make_solver(f'snapshot_prefix: "{tmp_path}/s"')


def iterations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.solverstate"))


def test_stop_is_handled_once_while_a_solver_runs_and_not_before_or_after(
    solver: Solver, capfd: pytest.CaptureFixture[str]
) -> None:
    effects = SignalEffects("stop", "snapshot", is_live=False)
    assert not effects(signal.SIGINT)
    with effects.on(solver):
        assert effects(signal.SIGINT)
        assert not effects(signal.SIGINT)
        solver.solve()
    assert (solver.iter, solver.was_stopped) == (0, True)
    assert not effects(signal.SIGINT)
    assert capfd.readouterr().err == "stopping after this iteration; once more: at once\n"


def test_a_snapshot_that_is_asked_for_too_early_is_kept(solver: Solver, tmp_path: Path) -> None:
    effects = SignalEffects("snapshot", "snapshot", is_live=True)
    assert effects(signal.SIGINT)
    with effects.on(solver):
        solver.step(1)
        assert effects(signal.SIGHUP)
        solver.step(1)
    assert iterations(tmp_path) == ["s_iter_1.solverstate", "s_iter_2.solverstate"]


def test_none_is_handled_by_doing_nothing_and_other_signals_are_not(solver: Solver, tmp_path: Path) -> None:
    effects = SignalEffects("none", "none", is_live=True)
    with effects.on(solver):
        assert effects(signal.SIGINT)
        assert effects(signal.SIGHUP)
        assert not effects(signal.SIGTERM)
        solver.step(1)
    assert not iterations(tmp_path)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    """A set of their own, which takes SIGINT and SIGTERM over for the test."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    fresh = Interrupts()
    fresh.install()
    yield fresh
    for number, handler in before:
        signal.signal(number, handler)


def test_a_handler_is_asked_before_the_exception_is_raised(interrupts: Interrupts) -> None:
    asked: list[int] = []
    with interrupts.handled_by(lambda number: asked.append(number) is None and number != signal.SIGTERM):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        assert interrupts.came
        signal.raise_signal(signal.SIGHUP)  # which does not hurry the end
    assert asked == [signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_who_ends_a_run_raises_the_same_exception(interrupts: Interrupts) -> None:
    with pytest.raises(Interrupted):
        interrupts.raise_now()
    assert interrupts.came


@pytest.mark.parametrize("words", ["interrupted at iteration 3; last snapshot: out/x_iter_3.caffemodel", ""])
def test_a_hurried_end_says_what_there_is_to_say(words: str) -> None:
    script = (
        "import signal\n"
        "from farlayer.cli.signals import Interrupted, interrupts\n"
        "interrupts.install()\n"
        f"interrupts.last_words = {words!r}\n"
        "try:\n"
        "    interrupts.raise_now()\n"
        "except Interrupted:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{words}\n" if words else "")
