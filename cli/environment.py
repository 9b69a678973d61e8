"""What this machine and this Python environment offer: facts for `farlayer doctor`."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from farlayer.cli.formats import size

_EXTRAS = {
    "plot": "curves of a run, train --plot",
    "demo": "make demo",
    "hdf5": "HDF5Data, HDF5Output, and weights and snapshots in .h5 files",
    "lmdb": "Data, convert-imageset and compute-image-mean, backend LMDB",
    "leveldb": "the same, backend LEVELDB",
    "image": "image files: ImageData, WindowData, encoded Datum messages, convert-imageset",
    "opencv": "the same with the decoders of Caffe",
    "torch": "PyTorch's kernels, --kernels torch",
}
_REQUIREMENT = re.compile(r"(?P<package>[A-Za-z0-9._-]+).*; *extra *== *[\"'](?P<extra>[^\"']+)[\"']")
_WANTED_OPEN_FILES = 1024


@dataclass(frozen=True)
class Fact:
    """One line of the report.

    Attributes:
        name, value: what, and how it is here.
        warning: what is wrong with it; "" where all is well.
    """

    name: str
    value: str
    warning: str = ""


@dataclass(frozen=True)
class Extra:
    """An optional part of the installation.

    Attributes:
        name: as in farlayer[name].
        purpose: what it is for.
        present: packages with their versions.
        missing: packages that are not installed.
        install: the command that adds them; "" where none is missing.
    """

    name: str
    purpose: str
    present: tuple[str, ...]
    missing: tuple[str, ...]
    install: str


def environment_facts() -> list[Fact]:
    """What this side runs on."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        Fact("farlayer", version("farlayer")),
        Fact("Python", f"{platform.python_version()}, {sys.executable}"),
        Fact("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *(Fact(package, version(package)) for package in ("numpy", "protobuf", "grpcio")),
        Fact("BLAS", _blas()),
        Fact("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"),
        Fact("memory", _memory()),
        _memfd(),
        Fact(
            "open files",
            f"at most {open_files} (ulimit -n)",
            ""
            if open_files >= _WANTED_OPEN_FILES
            else f"fewer than {_WANTED_OPEN_FILES}: nets with many blobs need more",
        ),
    ]


def extras() -> list[Extra]:
    """The optional parts, with what is missing of each."""
    needed: dict[str, list[str]] = {name: [] for name in _EXTRAS}
    for requirement in requires("farlayer") or ():
        match = _REQUIREMENT.fullmatch(requirement)
        if match and match["extra"] in needed:
            needed[match["extra"]].append(match["package"])
    return [_extra(name, packages) for name, packages in needed.items()]


def _extra(name: str, packages: list[str]) -> Extra:
    present, missing = [], []
    for package in packages:
        try:
            present.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    install = f"{sys.executable} -m pip install 'farlayer[{name}]'" if missing else ""
    return Extra(name, _EXTRAS[name], tuple(present), tuple(missing), install)


def _blas() -> str:
    import numpy as np

    config = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    threads = next((f", {name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ), "")
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip() + threads


_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    bounds = [bound for bound in _memory_bounds() if bound < total]
    free = os.sysconf("SC_AVPHYS_PAGES") * page
    return f"{size(total)}, {size(free)} unused" + (f", limited to {size(min(bounds))}" if bounds else "")


def _memory_bounds() -> Iterator[int]:
    """Bounds that a container sets, in bytes."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)


def _memfd() -> Fact:
    try:
        os.close(os.memfd_create("farlayer-doctor", os.MFD_CLOEXEC))
    except (OSError, AttributeError) as error:
        return Fact("memfd", "missing", f"no shared memory can be made ({error}): blobs will be streamed")
    return Fact("memfd", "works")
