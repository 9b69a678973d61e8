"""The generator of protocol code: committed code that is not what the schemas give is named."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, over a copy of protos/, on a machine where no generator can be installed."""
    spec = importlib.util.spec_from_file_location("generate_protos", ROOT / "tools" / "generate_protos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    protos = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", protos, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PROTOS", protos)
    monkeypatch.setattr(module, "DIGESTS", protos / "generated.sha256")
    monkeypatch.setattr(module, "VENV", tmp_path / "venv")
    monkeypatch.setattr(module, "NEWEST_PYTHON", (3, 10))
    return module


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["generate_protos.py", *arguments])
    code: int = tool.main()
    return code


def test_the_committed_code_is_that_of_the_schemas(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tool, monkeypatch, "--check") == 0
    assert "digests are those recorded" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["caffe.proto", "values_pb2.py", "layer_service_pb2_grpc.pyi"])
def test_a_file_changed_since_is_named(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with (tool.PROTOS / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert run(tool, monkeypatch, "--check") == 1
    assert capsys.readouterr().err.endswith(f"changed since the code was generated: {name}; run: make protos\n")


def test_a_new_schema_and_a_missing_file_are_named(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tool.PROTOS / "new.proto").write_text('syntax = "proto3";\n', encoding="utf-8")
    (tool.PROTOS / "values_pb2.py").unlink()
    assert run(tool, monkeypatch, "--check") == 1
    assert "generated: new.proto, values_pb2.py;" in capsys.readouterr().err


def test_without_a_generator_nothing_is_written_and_the_remedy_is_named(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in tool.PROTOS.iterdir()}
    assert run(tool, monkeypatch) == 1
    assert "install python3.12" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tool.PROTOS.iterdir()} == before


GENERATOR = ROOT / ".venv-protoc"


@pytest.mark.skipif(not (GENERATOR / "requirements.txt").is_file(), reason="make protos was never run here")
def test_code_that_was_edited_together_with_its_digest_is_named(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "VENV", GENERATOR)
    assert run(tool, monkeypatch, "--check") == 0
    assert "it is what the generator writes" in capsys.readouterr().out
    with (tool.PROTOS / "values_pb2.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    schemas = sorted(tool.PROTOS.glob("*.proto"))
    tool.DIGESTS.write_text(tool.digest_lines(tool.PROTOS, schemas), encoding="utf-8")
    assert run(tool, monkeypatch, "--check") == 1
    assert "not what the generator writes: protos/values_pb2.py; run: make protos" in capsys.readouterr().err


@pytest.mark.skipif(not (GENERATOR / "requirements.txt").is_file(), reason="make protos was never run here")
def test_a_schema_with_an_error_leaves_the_code_as_it_was(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "VENV", GENERATOR)
    (tool.PROTOS / "broken.proto").write_text("message {", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tool.PROTOS.iterdir()}
    assert run(tool, monkeypatch) == 1
    assert "the generator refused a schema" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tool.PROTOS.iterdir()} == before
