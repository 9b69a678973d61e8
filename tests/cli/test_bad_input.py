"""Each kind of bad input, with real worker processes: exit code, message, remedy, no hang, nothing left."""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import farlayer.cli.main as farlayer_cli
from tests.cli.command import LAYERS, Result, environment, farlayer
from tests.cli.nets import write_net

NoLeaks = Callable[[], list[str]]
PATH = ("--python-path", LAYERS)


def train(folder: Path, *arguments: str | Path) -> Result:
    return farlayer("train", "--solver", "solver.prototxt", *arguments, cwd=folder)


def check(result: Result, code: int, *texts: str) -> None:
    assert result.code == code, result
    assert result.err.startswith("error: ") or "\nerror: " in result.err, result
    for text in texts:
        assert text in result.err, f"'{text}' is missing: {result}"
    assert "Trained" not in result.out, result


def test_a_missing_module_is_told_with_where_it_was_looked_for(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Ones", module="no_such_module")
    result = train(tmp_path, *PATH)
    check(result, 1, "layer 'mine'", "no module named 'no_such_module'", str(LAYERS), str(tmp_path), "remedy: ")
    assert "--python-path" in result.err
    assert "Traceback" not in result.err
    assert leak_check() == []


def test_a_missing_class_is_told_with_those_that_there_are(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Once")
    result = train(tmp_path, *PATH)
    check(result, 1, "layer 'mine'", "no class 'Once'", str(LAYERS / "cli_layers.py"), "did you mean 'Ones'?")
    assert leak_check() == []


def test_a_class_that_is_no_layer_is_refused(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "NoLayer")
    check(train(tmp_path, *PATH), 1, "'cli_layers.NoLayer'", "expected a class derived from caffe.Layer", "remedy: ")
    assert leak_check() == []


def test_a_class_without_a_method_is_told_in_plain_words(tmp_path: Path, leak_check: NoLeaks) -> None:
    (tmp_path / "half_written.py").write_text(
        "import caffe\nclass Half(caffe.Layer):\n    def setup(self, bottom, top): pass\n", encoding="utf-8"
    )
    write_net(tmp_path, "Half", module="half_written")
    result = train(tmp_path)
    check(result, 1, "layer 'mine' (half_written.Half)", "'Half' object has no attribute 'reshape'")
    assert "remedy: write `def reshape(self, bottom, top):` in the class" in result.err
    assert "Traceback" not in result.err, result
    assert leak_check() == []


def test_a_wrong_number_of_bottoms_is_told_in_the_users_words(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Ones", more='bottom: "x"')
    check(train(tmp_path, *PATH), 1, "layer 'mine'", "raised in setup: ValueError: Ones needs 1 bottom, not 2")
    assert leak_check() == []


@pytest.mark.parametrize(
    ("layer", "method", "exception", "line"),
    [
        ("RaisesInSetup", "setup", "RuntimeError: setup said no", 'raise RuntimeError("setup said no")'),
        ("RaisesInReshape", "reshape", "IndexError: reshape said no", 'raise IndexError("reshape said no")'),
        ("RaisesInForward", "forward", "KeyError: 'forward said no'", 'return table["forward said no"]'),
        ("RaisesInBackward", "backward", "ZeroDivisionError: backward said no", "raise ZeroDivisionError("),
    ],
)
@pytest.mark.parametrize("where", [(), ("--in-process",)], ids=["worker", "in-process"])
def test_an_exception_in_user_code_is_told_with_its_traceback(
    tmp_path: Path, leak_check: NoLeaks, layer: str, method: str, exception: str, line: str, where: tuple[str, ...]
) -> None:
    write_net(tmp_path, layer)
    result = train(tmp_path, *PATH, *where)
    check(result, 1, f"layer 'mine' (cli_layers.{layer}) raised in {method}: {exception}", line)
    assert f'File "{LAYERS / "cli_layers.py"}", line ' in result.err
    assert str(Path(farlayer_cli.__file__).parent) not in result.err, "frames of the command itself"
    assert leak_check() == []


def test_a_worker_killed_in_forward_is_told_at_once_with_signal_and_last_lines(
    tmp_path: Path, leak_check: NoLeaks
) -> None:
    write_net(tmp_path, "KillsItself")
    result = train(tmp_path, *PATH)
    ended = time.time()
    check(result, 1, "layer 'mine'", "SIGKILL", "Last lines of the worker:\n  my last words\n", "at iteration 0")
    killed_at = float(re.findall(r"killed at ([\d.]+)", result.err)[0])
    assert ended - killed_at < 1.0, f"the command ended {ended - killed_at:.2f} s after the worker"
    assert leak_check() == []


def test_a_call_that_takes_too_long_ends_with_the_stacks_of_the_worker(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Hangs")
    result = train(tmp_path, *PATH, "--timeout", "1")
    check(result, 1, "layer 'mine'", "did not finish forward within 1 s", "in forward", "--timeout")
    assert result.seconds < 15
    assert leak_check() == []


def test_a_server_that_is_not_there_is_told_soon(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Ones")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # not listening: refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = train(tmp_path, "--workers", address)
    check(result, 1, address, "cannot be reached", "remedy: ", "farlayer serve")
    assert result.seconds < 15
    assert leak_check() == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--workers", "nonsense"), "'nonsense' is no address of a server"),
        (("--workers", "0"), "at least 1 worker"),
        (("--workers", "unix:relative"), "'unix:relative': a unix address has an absolute path"),
        (("--transport", "telepathy"), "'telepathy' is not one of 'auto', 'shared', 'streamed'"),
        (("--timeout", "0"), "--timeout"),
        (("--solvr", "x"), "--solvr"),
        (("--weights", "w.caffemodel", "--snapshot", "s.solverstate"), "--weights and --snapshot exclude each other"),
        (("--weights", "missing.caffemodel"), "'missing.caffemodel' does not exist"),
        (("--snapshot", "missing.solverstate"), "'missing.solverstate' does not exist"),
        (("--placement", "missing.toml"), "placement file missing.toml: No such file"),
        (("--python-path", "missing"), "there is no folder 'missing'"),
        (("--plot", "missing/curves.png"), "the folder of 'missing/curves.png' does not exist"),
        (("--plot", "curves.docx"), "'curves.docx' is no name of a picture"),
        (("--in-process", "--workers", "2"), "--workers has no meaning with --in-process"),
        (("--in-process", "--transport", "shared"), "--transport has no meaning with --in-process"),
        (("--workers", "unix:/s.sock", "--python", "python3"), "--python has no meaning with --workers ADDRESS"),
    ],
)
def test_options_that_make_no_sense_end_with_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    write_net(tmp_path, "Ones")
    result = train(tmp_path, *arguments)
    assert result.code == 2, result
    assert text in result.err, result
    assert "Traceback" not in result.err, result
    assert not (tmp_path / "out").exists()


def test_a_missing_solver_file_ends_with_exit_code_2(tmp_path: Path) -> None:
    result = farlayer("train", "--solver", "nowhere.prototxt", cwd=tmp_path)
    check(result, 2, "--solver: 'nowhere.prototxt' does not exist", str(tmp_path))


def test_a_missing_net_file_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    write_net(tmp_path, "Ones", solver='net: "elsewhere.prototxt"')
    check(train(tmp_path), 2, "elsewhere.prototxt", str(tmp_path), "remedy: ")


def test_a_malformed_net_is_told_with_line_column_and_the_line_itself(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Ones")
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text(encoding="utf-8").replace("num_output: 2", "num_outputs: 2"), encoding="utf-8")
    line = '  inner_product_param { num_outputs: 2 weight_filler { type: "xavier" } }'
    column = line.index("num_outputs") + 1
    mark = " " * (column - 1) + "^"
    result = train(tmp_path)
    check(result, 2, f"net.prototxt:9:{column}: ", "num_outputs", f"  {line}\n  {mark}\n", "did you mean num_output?")
    assert leak_check() == []


@pytest.mark.parametrize(("old", "new"), [("num_output: 2", "num_output: 4000000000"), ("dim: 4", "dim: -4")])
def test_a_shape_that_no_blob_can_have_is_bad_input(tmp_path: Path, leak_check: NoLeaks, old: str, new: str) -> None:
    write_net(tmp_path, "Ones")
    net = tmp_path / "net.prototxt"
    text = net.read_text(encoding="utf-8")
    assert old in text
    net.write_text(text.replace(old, new, 1), encoding="utf-8")
    check(train(tmp_path), 2, "blob shape (", "layer: i", "remedy: ")
    assert leak_check() == []


def test_a_malformed_solver_is_told_with_line_and_column(tmp_path: Path) -> None:
    write_net(tmp_path, "Ones", solver="max_iter: many")
    check(train(tmp_path), 2, "solver.prototxt:7:11: ", "max_iter: many")


def test_stop_on_nan_names_the_layer_that_it_came_from(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "NaNAfterThree")
    result = train(tmp_path, *PATH, "--stop-on-nan")
    check(result, 1, "the loss is nan", "layer 'mine'", "remedy: ", "at iteration 3; no snapshot was written")
    assert leak_check() == []


def test_without_stop_on_nan_the_run_goes_on_and_its_end_tells(tmp_path: Path) -> None:
    write_net(tmp_path, "NaNAfterThree")
    result = train(tmp_path, *PATH)
    assert result.code == 0, result
    assert "the loss is not finite; with --stop-on-nan" in result.err
    assert re.search(r"^Loss +nan$", result.out, re.MULTILINE), result


def test_missing_matplotlib_is_told_before_training(tmp_path: Path) -> None:
    write_net(tmp_path, "Ones")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n", encoding="utf-8")
    env = environment(PYTHONPATH=str(tmp_path))
    result = farlayer("train", "--solver", "solver.prototxt", "--plot", "curves.png", cwd=tmp_path, env=env)
    check(result, 2, "matplotlib, which is not installed", "farlayer[plot]")
    assert "Iteration" not in result.err


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Ones")
    check(train(tmp_path, "--python", "/nowhere/python3"), 1, "'/nowhere/python3'", "--python")
    assert leak_check() == []


def test_a_loss_layer_that_gives_its_top_no_shape_is_named(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "ForgetsReshape")
    check(train(tmp_path, *PATH), 2, "layer 'mine'", "top 'loss' is a loss, but has no shape", "top[0].reshape(")
    assert leak_check() == []


def test_a_layer_that_replaces_a_blob_instead_of_writing_into_it_is_told(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "ReplacesItsTop")
    check(train(tmp_path, *PATH), 1, "layer 'mine'", "raised in forward: TypeError", "top[0].data[...] = value")
    assert leak_check() == []


def test_a_blob_that_grows_too_large_in_a_native_layer_is_told_with_the_layer(tmp_path: Path) -> None:
    write_net(tmp_path, "Ones")
    net = tmp_path / "net.prototxt"
    net.write_text(
        net.read_text().replace("dim: 4 dim: 3", "dim: 100000 dim: 1").replace("num_output: 2", "num_output: 99999")
    )
    result = train(tmp_path, *PATH)
    check(result, 2, "at most 2147483647 are allowed", "layer: ip")


def test_a_carrier_and_a_transport_that_exclude_each_other_are_refused_at_once(tmp_path: Path) -> None:
    write_net(tmp_path, "Ones")
    result = train(tmp_path, *PATH, "--carrier", "mailbox", "--transport", "streamed")
    check(result, 2, "the mailbox carrier needs shared memory", "remedy: ")


def test_a_syntax_error_is_told_with_its_place_and_no_frames_of_the_import(tmp_path: Path) -> None:
    write_net(tmp_path, "Any", module="broken_syntax")
    (tmp_path / "broken_syntax.py").write_text("import caffe\n\ndef f(:\n    pass\n")
    result = train(tmp_path)
    check(result, 1, "layer 'mine'", "SyntaxError: invalid syntax", 'broken_syntax.py", line 3\n')
    assert "importlib" not in result.err
