"""The bootstrap of the virtual environment, against a package index on this machine and a pip of the test's own."""

import base64
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from tools import bootstrap_venv

SCRIPT = Path(bootstrap_venv.__file__)

# Does what the bootstrap asks of a pip wheel: installs itself. Later it records what it is asked to install.
PIP_MAIN = """
import os, shutil, sys, sysconfig
site_packages = sysconfig.get_path("purelib")
wheel = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if wheel.endswith(".whl"):
    import zipfile
    zipfile.ZipFile(wheel).extractall(site_packages)
else:
    with open(os.path.join(sys.prefix, "installed.txt"), "a") as file:
        file.write(" ".join(sys.argv[1:]) + "\\n")
    if "die" in sys.argv:
        os.kill(os.getpid(), 9)
    sys.exit(3 if "missing" in sys.argv else 0)
"""


def pip_wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pip/__init__.py", "")
        archive.writestr("pip/__main__.py", PIP_MAIN)
    return buffer.getvalue()


class Index:
    """A simple package index with one project, pip, in JSON or HTML."""

    def __init__(self, *, html: bool = False, sha256: str | None = None, login: str = "") -> None:
        self.html, self.login = html, login
        self.wheel = pip_wheel()
        self.sha256 = hashlib.sha256(self.wheel).hexdigest() if sha256 is None else sha256
        self.asked: list[str] = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "Index":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def url(self, login: str = "") -> str:
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self.server.server_port}/simple"

    def page(self) -> tuple[str, bytes]:
        files = [("pip-9.0-py3-none-any.whl", ">=3.6"), ("pip-26.1-py3-none-any.whl", ">=3.9")]
        files += [("pip-27.0b1-py3-none-any.whl", ">=3.9"), ("pip-99.0-py3-none-any.whl", ">=3.99")]
        if self.html:
            links = "".join(
                f'<a href="../../files/{name}#sha256={self.sha256}" data-requires-python="{bound}">{name}</a>'
                for name, bound in files
            )
            return "text/html", f"<html><body>{links}</body></html>".encode()
        entries = [
            {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": self.sha256}, "requires-python": bound}
            for name, bound in files
        ]
        return "application/vnd.pypi.simple.v1+json", json.dumps({"files": entries}).encode()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                wanted = "Basic " + base64.b64encode(index.login.encode()).decode()
                if index.login and self.headers["Authorization"] != wanted:
                    self.send_error(401)
                    return
                kind, body = index.page() if self.path == "/simple/pip/" else ("application/zip", index.wheel)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keeps the test's output clean."""

        return Handler


@pytest.fixture
def no_ensurepip(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a machine whose python3 has no ensurepip, with a HOME of its own."""
    folder = tmp_path / "without_ensurepip"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    without_pip_settings = {name: value for name, value in kept.items() if not name.startswith("PIP_")}
    return {**without_pip_settings, "PYTHONPATH": str(folder), "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}


def run(venv: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--venv", str(venv), "--python", sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("html", [False, True], ids=["json", "html"])
def test_without_ensurepip_the_newest_suitable_pip_of_the_index_is_installed(
    tmp_path: Path, no_ensurepip: dict[str, str], html: bool
) -> None:
    with Index(html=html) as index:
        finished = run(tmp_path / "venv", {**no_ensurepip, "PIP_INDEX_URL": index.url()}, "--", "-e", ".[test]")
    assert finished.returncode == 0, finished.stderr
    assert index.asked == ["/simple/pip/", "/files/pip-26.1-py3-none-any.whl"]
    assert "-e .[test]" in (tmp_path / "venv" / "installed.txt").read_text()


def test_the_index_of_pips_configuration_file_is_used_with_its_login_which_is_not_shown(
    tmp_path: Path, no_ensurepip: dict[str, str]
) -> None:
    with Index(login="user:s3cret") as index:
        settings = tmp_path / "pip.conf"
        settings.write_text(f"[global]\nindex-url = {index.url('user:s3cret')}\n")
        good = run(tmp_path / "venv", {**no_ensurepip, "PIP_CONFIG_FILE": str(settings)})
        settings.write_text(f"[global]\nindex-url = {index.url('user:wrong')}\n")
        bad = run(tmp_path / "other", {**no_ensurepip, "PIP_CONFIG_FILE": str(settings)})
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1
    assert "401" in bad.stderr
    assert "wrong" not in bad.stderr


def test_a_wheel_with_another_digest_than_announced_is_not_run(tmp_path: Path, no_ensurepip: dict[str, str]) -> None:
    with Index(sha256="0" * 64) as index:
        finished = run(tmp_path / "venv", {**no_ensurepip, "PIP_INDEX_URL": index.url()})
    assert finished.returncode == 1
    assert "SHA-256" in finished.stderr
    assert not list((tmp_path / "venv").rglob("site-packages/pip"))


def test_an_unreachable_index_is_an_error_with_a_remedy_and_the_next_run_starts_anew(
    tmp_path: Path, no_ensurepip: dict[str, str]
) -> None:
    with Index() as index:
        url = index.url()
    offline = run(tmp_path / "venv", {**no_ensurepip, "PIP_INDEX_URL": url})
    assert offline.returncode == 1
    assert "cannot fetch" in offline.stderr
    assert "Remedy: check the network" in offline.stderr
    with Index() as index:
        online = run(tmp_path / "venv", {**no_ensurepip, "PIP_INDEX_URL": index.url()})
    assert online.returncode == 0, online.stderr


def test_an_environment_that_works_is_kept_also_where_pip_gives_up(
    tmp_path: Path, no_ensurepip: dict[str, str]
) -> None:
    venv = tmp_path / "venv"
    with Index() as index:
        environment = {**no_ensurepip, "PIP_INDEX_URL": index.url()}
        assert run(venv, environment).returncode == 0
        (venv / "kept.txt").touch()
        failed = run(venv, environment, "--", "missing")
        again = run(venv, environment, "--", "present")
    assert failed.returncode == 1
    assert "exit code 3" in failed.stderr
    assert again.returncode == 0, again.stderr
    assert (venv / "kept.txt").exists()
    assert len(index.asked) == 2, "pip was fetched once"


def test_an_environment_whose_install_was_killed_is_made_anew(tmp_path: Path, no_ensurepip: dict[str, str]) -> None:
    venv = tmp_path / "venv"
    with Index() as index:
        environment = {**no_ensurepip, "PIP_INDEX_URL": index.url()}
        assert run(venv, environment, "--", "die").returncode == 1
        (venv / "half-written.txt").touch()
        assert run(venv, environment, "--", "present").returncode == 0
    assert not (venv / "half-written.txt").exists()


def test_a_folder_that_is_no_environment_is_not_cleared(tmp_path: Path, no_ensurepip: dict[str, str]) -> None:
    (tmp_path / "precious.txt").touch()
    finished = run(tmp_path, no_ensurepip)
    assert finished.returncode == 1
    assert "something else than a virtual environment" in finished.stderr
    assert (tmp_path / "precious.txt").exists()


def test_an_interpreter_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    with pytest.raises(bootstrap_venv.BootstrapError, match=r"3\.11 or newer, but .*python3 is 3\.9"):
        bootstrap_venv.choose_interpreter(str(old))


def test_an_interpreter_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap_venv.choose_interpreter("") == sys.executable
