"""farlayer train as its users run it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import LAYERS, Result, environment, farlayer, running
from tests.cli.nets import stored_net, write_net

NoLeaks = Callable[[], list[str]]
TESTED = "test_iter: 2\ntest_interval: 3"


def train(folder: Path, *arguments: str | Path) -> Result:
    result = farlayer("train", "--solver", "solver.prototxt", *arguments, cwd=folder)
    assert result.code == 0, result
    return result


def losses(result: Result) -> list[str]:
    return re.findall(r"loss = (\S+), lr", result.err)


def rows(result: Result, heading: str) -> list[dict[str, str]]:
    """The table's rows, by column; two blanks part columns."""
    lines = result.out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith(heading))
    names = re.split(r" {2,}", lines[head].strip())
    found = []
    for line in lines[head + 2 :]:
        if not line.strip():
            break
        found.append(dict(zip(names, re.split(r" {2,}", line.strip()), strict=True)))
    return found


def test_a_run_tells_its_course_its_results_and_where_layers_ran(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "WhereAmI", solver=TESTED)
    result = train(tmp_path, "--python-path", LAYERS)
    assert re.search(r"^Iteration 0, test: loss = ", result.err, re.MULTILINE), result
    assert re.search(r"^Iteration 2 \(\S+ iter/s\), loss = \S+, lr = 0\.1$", result.err, re.MULTILINE), result
    assert re.search(r"^Iteration 6, test: loss = ", result.err, re.MULTILINE), result
    assert re.search(r"^Trained +6 iterations in \S+ s, \S+ a second$", result.out, re.MULTILINE), result
    assert re.search(r"^Test +loss = \S+ \(iteration 6\)$", result.out, re.MULTILINE), result
    assert re.search(r"(?m)^Snapshot +out/small_iter_6.caffemodel\n +out/small_iter_6.solverstate$", result.out)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "small_iter_6.caffemodel",
        "small_iter_6.solverstate",
    }
    train_row, test_row = rows(result, "Layer")
    pids = set(re.findall(r"pid (\d+) of parent", result.err))
    assert {train_row["PID"], test_row["PID"]} == pids, "the twins of one layer share one worker"
    # After set-up: a forward and a backward for each of 6 iterations, and one reshape; 3 tests of 2 passes.
    assert (train_row["Layer"], train_row["Phase"], train_row["Class"]) == ("mine", "TRAIN", "cli_layers.WhereAmI")
    assert int(train_row["Calls"]) >= 12
    assert (test_row["Phase"], int(test_row["Calls"]) >= 6) == ("TEST", True)
    assert (train_row["Carrier"], train_row["Transport"], train_row["Moved"]) == ("mailbox", "shared", "0 B")
    assert re.fullmatch(r"[\d.]+ (us|ms)", train_row["Mean call"])
    assert leak_check() == []


@pytest.mark.parametrize(
    ("where", "carrier", "transport", "worker"),
    [
        (("--carrier", "grpc"), "grpc", "shared", "w1"),
        (("--transport", "streamed"), "grpc", "streamed", "w1"),
        (("--in-process",), "in-process", "in place", "this process"),
    ],
)
def test_layers_run_where_and_how_they_are_told_with_the_same_losses(
    tmp_path: Path, leak_check: NoLeaks, where: tuple[str, ...], carrier: str, transport: str, worker: str
) -> None:
    write_net(tmp_path, "Half")
    reference = train(tmp_path, "--python-path", LAYERS)
    result = train(tmp_path, "--python-path", LAYERS, *where)
    assert losses(result) == losses(reference)
    assert len(losses(result)) == 4
    (row,) = rows(result, "Layer")
    assert (row["Carrier"], row["Transport"], row["Worker"]) == (carrier, transport, worker)
    if transport == "streamed":
        assert row["Moved"] != "0 B"
    assert leak_check() == []


@pytest.mark.parametrize("where", [(), ("--in-process",)])
def test_layer_modules_are_found_in_the_working_directory(tmp_path: Path, where: tuple[str, ...]) -> None:
    write_net(tmp_path, "Mine", module="my_layers")
    text = (LAYERS / "cli_layers.py").read_text(encoding="utf-8").replace("class Half", "class Mine")
    (tmp_path / "my_layers.py").write_text(text.split("class WhereAmI")[0], encoding="utf-8")
    assert "my_layers.Mine" in train(tmp_path, *where).out


def test_a_bounded_number_of_workers_is_shared(tmp_path: Path) -> None:
    write_net(tmp_path, "WhereAmI")
    net = tmp_path / "net.prototxt"
    python = 'python_param { module: "cli_layers" layer: "Half" }'
    second = f'layer {{ name: "other" type: "Python" bottom: "x" top: "o" {python} }}'
    net.write_text(net.read_text(encoding="utf-8") + second, encoding="utf-8")
    apart = rows(train(tmp_path, "--python-path", LAYERS), "Layer")
    together = rows(train(tmp_path, "--python-path", LAYERS, "--workers", "1"), "Layer")
    assert len({row["PID"] for row in apart}) == 2
    assert len({row["PID"] for row in together}) == 1


def test_a_run_goes_on_from_its_snapshot_as_if_it_had_not_ended(tmp_path: Path) -> None:
    write_net(tmp_path, "Half", solver='momentum: 0.9\nsnapshot_prefix: "out/whole"')
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text(encoding="utf-8").replace('"gaussian" std: 1', '"constant" value: 1'), "utf-8")
    train(tmp_path, "--in-process", "--python-path", LAYERS)
    solver = tmp_path / "solver.prototxt"
    solver.write_text(solver.read_text(encoding="utf-8").replace("whole", "parts"), encoding="utf-8")
    train(tmp_path, "--in-process", "--python-path", LAYERS, "--iterations", "4")
    second = train(tmp_path, "--in-process", "--python-path", LAYERS, "-snapshot=out/parts_iter_4.solverstate")
    assert "Trained     2 iterations" in second.out
    assert "to iteration 6" in second.out
    assert (tmp_path / "out/parts_iter_6.solverstate").stat().st_size > 0
    whole, parts = (stored_net(tmp_path / f"out/{name}_iter_6.caffemodel") for name in ("whole", "parts"))
    assert whole.layer == parts.layer


def test_hdf5_snapshots_are_gone_on_with(tmp_path: Path) -> None:
    write_net(tmp_path, "Half", solver="snapshot_format: HDF5\nmax_iter: 2")
    result = train(tmp_path, "--in-process", "--python-path", LAYERS)
    assert re.search(r"(?m)^Snapshot +out/small_iter_2.caffemodel.h5\n +out/small_iter_2.solverstate.h5$", result.out)
    arguments = ("--in-process", "--python-path", LAYERS, "--iterations", "3")
    assert "to iteration 3" in train(tmp_path, *arguments, "-snapshot=out/small_iter_2.solverstate.h5").out
    assert "Trained     3 iterations" in train(tmp_path, *arguments, "-weights=out/small_iter_2.caffemodel.h5").out


def test_weights_are_where_a_run_starts(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    train(tmp_path, "--in-process", "--python-path", LAYERS)
    write_net(tmp_path, "Half", solver="base_lr: 0\nrandom_seed: 99")
    train(
        tmp_path, "--in-process", "--python-path", LAYERS, "--weights", "out/small_iter_6.caffemodel", "-iterations=1"
    )
    first, second = (stored_net(tmp_path / f"out/small_iter_{number}.caffemodel") for number in (6, 1))
    assert first.layer[1].name == second.layer[1].name == "ip"
    assert first.layer[1].blobs == second.layer[1].blobs


def test_stages_and_level_reach_the_rules_of_the_train_net(tmp_path: Path) -> None:
    write_net(tmp_path, "Half", more='include { stage: "big" min_level: 2 }', solver='snapshot_prefix: "small"')
    without = train(tmp_path, "--in-process", "--python-path", LAYERS)
    assert "Half" not in without.out
    result = train(tmp_path, "--in-process", "--python-path", LAYERS, "--stage", "big,other", "--level", "2")
    assert "cli_layers.Half" in result.out


def test_a_placement_file_decides_layer_by_layer(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half")
    (tmp_path / "placement.toml").write_text('[[layers]]\nname = "mi*"\non = "in-process"\n', encoding="utf-8")
    result = train(tmp_path, "--python-path", LAYERS, "--placement", "placement.toml")
    (row,) = rows(result, "Layer")
    assert row["Worker"] == "this process"
    assert leak_check() == []


def test_the_pools_of_a_placement_file_get_the_options_of_the_command(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "WhereAmI")
    (tmp_path / "folder").mkdir()
    pools = '[pools.own]\npython_path = ["folder"]\n[[layers]]\nname = "mine"\non = "pool:own"\n'
    (tmp_path / "placement.toml").write_text(pools, encoding="utf-8")
    result = train(tmp_path, "--python-path", LAYERS, "--placement", "placement.toml", "--log-level", "INFO")
    (row,) = rows(result, "Layer")
    assert row["Worker"] == "w1"
    assert f"pid {row['PID']} of parent" in result.err
    # Two servers, that of the command and that of the file, each with the command's log level.
    assert len(set(re.findall(r"local server, pid (\d+)", result.err))) == 2
    assert len(re.findall(r"(?m)^INFO \S+: listening on unix:", result.err)) == 2, result
    assert leak_check() == []


def test_an_error_in_the_middle_leaves_a_snapshot_that_the_run_can_go_on_from(
    tmp_path: Path, leak_check: NoLeaks
) -> None:
    for layer, text in (("KillsItselfAfterThree", "SIGKILL"), ("RaisesAfterThree", "enough")):
        folder = tmp_path / layer
        folder.mkdir()
        write_net(folder, layer, solver=f'momentum: 0.9\nsnapshot_prefix: "{folder}/small"')
        broken = farlayer("train", "--solver", "solver.prototxt", "--python-path", LAYERS, cwd=folder)
        assert broken.code == 1, broken
        assert text in broken.err, broken
        assert f"at iteration 3; last snapshot: {folder}/small_iter_3.caffemodel" in broken.err, broken
        write_net(folder, "Half", solver="momentum: 0.9")
        result = train(folder, "--python-path", LAYERS, "--snapshot", "small_iter_3.solverstate")
        assert "Trained     3 iterations" in result.out, result
    assert leak_check() == []


def test_a_snapshot_that_cannot_be_written_does_not_hide_the_error(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "RaisesAfterThree")
    (tmp_path / "out" / "small_iter_3.caffemodel").mkdir(parents=True)
    broken = farlayer("train", "--solver", "solver.prototxt", "--python-path", LAYERS, cwd=tmp_path)
    assert broken.code == 1, broken
    assert "warning: no snapshot of iteration 3 was written: " in broken.err, broken
    assert "enough" in broken.err, broken
    assert "at iteration 3; no snapshot was written" in broken.err, broken
    assert leak_check() == []


def test_layers_run_on_servers_that_are_given(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half")
    address = f"unix:{tmp_path}/s.sock"
    with running("serve", "-listen", address, "--python-path", LAYERS, cwd=tmp_path) as server:
        server.wait_for("listening on")
        result = train(tmp_path, "-workers", address)
        assert server.interrupt().code == 0
    (row,) = rows(result, "Layer")
    assert row["Worker"] == f"w1 at {address}"
    assert leak_check() == []


def test_curves_are_drawn(tmp_path: Path) -> None:
    write_net(tmp_path, "Half", solver=TESTED)
    result = train(tmp_path, "--in-process", "--python-path", LAYERS, "--plot", "curves.png")
    assert re.search(r"^Curves +curves.png$", result.out, re.MULTILINE)
    header = (tmp_path / "curves.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(header[start : start + 4]) for start in (16, 20))
    assert width >= 600
    assert height >= 300


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path, leak_check: NoLeaks) -> None:
    write_net(tmp_path, "Half")
    with running("train", "--solver", "solver.prototxt", "--python-path", LAYERS, cwd=tmp_path) as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.wait(30)
        err = command.wait_for("Iteration 6")
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert leak_check() == []


def test_narrow_output_keeps_every_word_of_the_table(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    env = environment(COLUMNS="72")
    arguments = ("train", "--solver", "solver.prototxt", "--in-process", "--python-path", LAYERS)
    result = farlayer(*arguments, cwd=tmp_path, env=env)
    assert result.code == 0, result
    table = result.out[result.out.index("Python layers") :]
    assert max(map(len, table.splitlines())) <= 72
    assert "mine, TRAIN" in table
    assert "cli_layers.Half" in table


def test_a_net_without_a_loss_is_warned_of(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    with_loss = train(tmp_path, "--python-path", LAYERS)
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace("loss_weight: 1", ""))
    without = train(tmp_path, "--python-path", LAYERS)
    assert "has no loss, so nothing is learned" in without.err
    assert "loss_weight: 1" in without.err
    assert "warning: " not in with_loss.err


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ("base_lr: 0", "solver: base_lr is 0, so nothing is learned"),
        ('lr_policy: "step"\nstepsize: 2', "solver: gamma is 0, and so is the learning rate from the first step of"),
        ("test_interval: 2", "solver: test_interval is given, but no test_iter, so nothing is tested"),
        ("max_iter: 0", "nothing is trained: the run begins at iteration 0, and max_iter is 0"),
    ],
)
def test_a_forgotten_field_of_the_solver_is_warned_of(tmp_path: Path, fields: str, warning: str) -> None:
    write_net(tmp_path, "Half", solver=fields)
    result = train(tmp_path, "--python-path", LAYERS, "--in-process")
    assert result.code == 0, result
    assert f"warning: {warning}" in result.err, result


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace('"mine"', '"[red] [/mine]"'))
    (row,) = rows(train(tmp_path, "--python-path", LAYERS), "Layer")
    assert row["Layer"] == "[red] [/mine]"


def test_kernels_that_are_not_installed_are_told_with_the_extra(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    (tmp_path / "torch.py").write_text("raise ImportError('hidden by the test')\n", encoding="utf-8")
    env = environment(PYTHONPATH=str(tmp_path))
    arguments = ("--solver", "solver.prototxt", "--in-process", "--python-path", str(LAYERS))
    forced = farlayer("train", *arguments, "--kernels", "torch", cwd=tmp_path, env=env)
    assert forced.code == 2, forced
    assert "torch kernels need PyTorch, which cannot be imported: hidden by the test" in forced.err
    assert "farlayer[torch]" in forced.err
    auto = farlayer("train", *arguments, "--kernels", "auto", cwd=tmp_path, env=env)
    assert auto.code == 0, auto
    assert "PyTorch cannot be imported, so NumPy does the arithmetic" in auto.err
    assert farlayer("train", *arguments, "--kernels", "numpy", cwd=tmp_path, env=env).code == 0
