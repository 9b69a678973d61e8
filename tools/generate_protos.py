"""Generates the Python code of protos/*.proto, or checks that the committed code is what would be generated.

    python tools/generate_protos.py            writes protos/*_pb2.py, *_pb2.pyi and, for services, *_pb2_grpc.py(i)
    python tools/generate_protos.py --check    writes nothing; fails where the committed code differs

The generator is the oldest one that we support (protobuf 4.25, grpcio 1.62): the protobuf runtime must not be older
than the generator, and a layer's environment often has an older one than ours. Newer runtimes take its code unchanged.
It lives in an environment of its own, .venv-protoc, made on first use.

That generator has no wheels for Python 3.13 and later. Where no older interpreter is at hand, --check compares only
digests (protos/generated.sha256, written with the code), and says so.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
IMPORT_FOLDER = "farlayer/protos"  # what protos/ is called in imports, of .proto files and of Python
VENV = ROOT / ".venv-protoc"
DIGESTS = PROTOS / "generated.sha256"
REQUIREMENTS = (
    "grpcio-tools==1.62.3",
    "grpcio==1.62.3",
    "protobuf==4.25.9",
    "mypy-protobuf==3.6.0",
    "types-protobuf==4.25.0.20240417",
)
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 12)
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
SERVICE = re.compile(r"^service\s", re.MULTILINE)


class GenerationError(Exception):
    """The code cannot be generated, or is not what would be generated; says what to do about it."""


class NoInterpreterError(GenerationError):
    """No interpreter at hand has wheels of the generator."""


def find_interpreter() -> str:
    """An interpreter that the generator has wheels for.

    Raises:
        NoInterpreterError: there is none.
    """
    for name in (sys.executable, "python3.12", "python3.11"):
        question = [name, "-c", "import sys; print(*sys.version_info[:2])"]
        try:
            finished = subprocess.run(question, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        version = tuple(int(word) for word in finished.stdout.split())
        if finished.returncode == 0 and OLDEST_PYTHON <= version <= NEWEST_PYTHON:
            return name
    raise NoInterpreterError(
        f"{REQUIREMENTS[0]} has wheels for Python 3.12 and earlier only, and none of {sys.executable} (Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}), python3.12, python3.11 is one; install python3.12"
    )


def prepare_venv() -> Path:
    """Makes the generator's environment where it is missing or outdated; returns its folder of executables.

    Raises:
        GenerationError: it cannot be made.
    """
    stamp = VENV / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS) + "\n"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and (VENV / "bin" / "python").exists()):
        bootstrap = [sys.executable, str(ROOT / "tools" / "bootstrap_venv.py"), "--venv", str(VENV)]
        command = [*bootstrap, "--python", find_interpreter(), "--", "--only-binary=:all:", *REQUIREMENTS]
        if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
            raise GenerationError(f"cannot install the generator into {VENV.name}; its messages are above")
        stamp.write_text(wanted, encoding="utf-8")
    return VENV / "bin"


def generate(schemas: list[Path], output: Path) -> None:
    """Writes the code of all schemas into `output`.

    Raises:
        GenerationError: no generator, or a schema with an error.
    """
    bin_folder = prepare_venv()
    with tempfile.TemporaryDirectory(prefix="farlayer-protoc-") as scratch:
        command = [str(bin_folder / "python"), "-m", "grpc_tools.protoc", f"-I{IMPORT_FOLDER}={PROTOS}"]
        command += [f"--plugin=protoc-gen-{name}={bin_folder / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
        command += [f"--{name}_out={scratch}" for name in ("python", "grpc_python")]
        command += [f"--{name}_out=quiet:{scratch}" for name in ("mypy", "mypy_grpc")]
        command += [f"{IMPORT_FOLDER}/{schema.name}" for schema in schemas]
        # From the root, so that no module of the current folder shadows one of the generator's.
        finished = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, cwd=ROOT)
        if finished.returncode != 0:
            raise GenerationError("the generator refused a schema; its messages are above")
        for schema in schemas:
            suffixes = ["_pb2.py", "_pb2.pyi"]
            if SERVICE.search(schema.read_text(encoding="utf-8")):
                suffixes += ["_pb2_grpc.py", "_pb2_grpc.pyi"]
            for suffix in suffixes:
                name = schema.stem + suffix
                (output / name).write_bytes((Path(scratch) / IMPORT_FOLDER / name).read_bytes())


def digest_lines(folder: Path, schemas: list[Path]) -> str:
    """Digests of the schemas and of the code in `folder`, in the format of sha256sum."""
    paths = [*schemas, *(path for path in folder.iterdir() if GENERATED.search(path.name))]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    return "".join(sorted(lines, key=lambda line: line.split()[1]))


def compare_digests(schemas: list[Path]) -> None:
    """Compares the schemas and the committed code with the digests written when the code was generated.

    Raises:
        GenerationError: a file is new, gone or changed.
    """
    recorded = set(DIGESTS.read_text(encoding="utf-8").splitlines()) if DIGESTS.is_file() else set()
    present = set(digest_lines(PROTOS, schemas).splitlines())
    changed = sorted({line.split()[1] for line in recorded ^ present})
    if changed:
        raise GenerationError(f"changed since the code was generated: {', '.join(changed)}; run: make protos")


def check(schemas: list[Path]) -> str:
    """Compares the committed code with what would be generated; returns what was compared.

    Raises:
        GenerationError: they differ.
    """
    compare_digests(schemas)
    with tempfile.TemporaryDirectory(prefix="farlayer-protos-") as scratch:
        try:
            generate(schemas, Path(scratch))
        except NoInterpreterError as error:
            return f"its digests are those recorded (nothing was generated: {error})"
        fresh = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
    committed = {path.name: path.read_bytes() for path in PROTOS.iterdir() if GENERATED.search(path.name)}
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    if stale:
        raise GenerationError(f"not what the generator writes: protos/{', protos/'.join(stale)}; run: make protos")
    return "it is what the generator writes"


def write(schemas: list[Path]) -> str:
    """Generates the code into protos/ and removes code of schemas that are gone; returns what was done.

    Raises:
        GenerationError: it cannot be generated; protos/ is as before.
    """
    with tempfile.TemporaryDirectory(prefix="farlayer-protos-") as scratch:
        generate(schemas, Path(scratch))
        fresh = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
    for path in PROTOS.iterdir():
        if GENERATED.search(path.name) and path.name not in fresh:
            path.unlink()
    for name, content in fresh.items():
        (PROTOS / name).write_bytes(content)
    DIGESTS.write_text(digest_lines(PROTOS, schemas), encoding="utf-8")
    return f"{len(fresh)} files written"


def main() -> int:
    """Reads the command line and reports."""
    parser = argparse.ArgumentParser(description="generate the Python code of protos/*.proto")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the committed code differs")
    schemas = sorted(PROTOS.glob("*.proto"))
    try:
        done = check(schemas) if parser.parse_args().check else write(schemas)
    except GenerationError as error:
        print(f"error: generated code of protos/: {error}", file=sys.stderr)
        return 1
    print(f"generated code of protos/: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
