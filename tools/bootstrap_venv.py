#!/usr/bin/env python3
"""Makes the project's virtual environment and installs the project into it, with nothing but a bare python3.

    python3 tools/bootstrap_venv.py [--venv .venv] [--python NAME] [-- ARGUMENT ...]

A fresh Debian or Ubuntu has python3 without ensurepip, so `python3 -m venv` fails there. This script then makes the
environment without pip, fetches the pip wheel from the package index (the one that pip is configured for, or PyPI),
checks its SHA-256 and lets that wheel install itself.

An environment that works is kept. One that an interrupted install left behind is made anew, since pip takes a
half-written package for an installed one. Two runs at once wait for each other.

This file is read by whatever `python3` is, so its syntax stays old enough for an outdated one to say what is wrong.
"""

import argparse
import base64
import configparser
import fcntl
import hashlib
import html.parser
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from typing import Iterable, Iterator, List, Optional, Tuple

MINIMUM_VERSION = (3, 11)
INTERPRETER_NAMES = ("python3.13", "python3.12", "python3.11", "python3")
DEFAULT_INDEX_URL = "https://pypi.org/simple"
FETCH_TIMEOUT_S = 60
INSTALLING_MARKER = ".installing"
SIMPLE_API_JSON = "application/vnd.pypi.simple.v1+json"
SIMPLE_API_ACCEPT = SIMPLE_API_JSON + ", text/html;q=0.5"
STABLE_PIP_WHEEL = re.compile(r"^pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$")

Version = Tuple[int, int]
Link = Tuple[str, str, str, str]  # file name, href, requires-python, sha256 or ""


class BootstrapError(Exception):
    """The environment cannot be made; says what the user can do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


# ---------------------------------------------------------------------------------------------------- interpreter


def interpreter_version(interpreter: str) -> Optional[Version]:
    """Version of an interpreter as (major, minor), or None where it does not run (a pyenv shim of nothing, say)."""
    try:
        finished = subprocess.run(
            [interpreter, "-c", "import sys; print(*sys.version_info[:2])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return None
    words = finished.stdout.split()
    if finished.returncode != 0 or len(words) != 2:
        return None
    return int(words[0]), int(words[1])


def choose_interpreter(wanted: str) -> str:
    """The interpreter to build on: the one asked for, else the first of the usual names that is new enough.

    Raises:
        BootstrapError: there is none.
    """
    minimum = "%d.%d" % MINIMUM_VERSION
    remedy = (
        "install Python {0} or newer (Debian 12, Ubuntu 24.04 and later: apt install python3; "
        "Ubuntu 22.04: apt install python3.11), or name one: make PYTHON=/path/to/python{0}".format(minimum)
    )
    found = []
    for name in (wanted,) if wanted else (*INTERPRETER_NAMES, sys.executable):
        version = interpreter_version(name)
        if version is None:
            continue
        if version >= MINIMUM_VERSION:
            return name
        found.append("%s is %d.%d" % (name, version[0], version[1]))
    if wanted and not found:
        raise BootstrapError("%s does not run" % wanted, remedy)
    raise BootstrapError(
        "farlayer needs Python %s or newer, but %s" % (minimum, "; ".join(found) or "no python3 was found"), remedy
    )


# ---------------------------------------------------------------------------------------------------- pip's settings


def pip_config_paths() -> List[str]:
    """The configuration files that pip reads, the one that wins last."""
    if os.environ.get("PIP_CONFIG_FILE") == os.devnull:
        return []
    home = os.path.expanduser("~")
    system = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    user = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    paths = [os.path.join(folder, "pip", "pip.conf") for folder in reversed(system.split(os.pathsep))]
    paths += ["/etc/pip.conf", os.path.join(home, ".pip", "pip.conf"), os.path.join(user, "pip", "pip.conf")]
    if os.environ.get("PIP_CONFIG_FILE"):
        paths.append(os.environ["PIP_CONFIG_FILE"])
    return paths


def pip_setting(name: str, default: str) -> str:
    """One of pip's settings for installing, from its environment variable or its configuration files."""
    from_environment = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if from_environment:
        return from_environment
    value = default
    for path in pip_config_paths():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about it, in better words than ours
        for section in ("global", "install"):
            value = parser.get(section, name, fallback=value)
    return value


# ---------------------------------------------------------------------------------------------------- fetching pip


class _Anchors(html.parser.HTMLParser):
    """Collects the links of a simple-index page in HTML as (file name, href, requires-python)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: List[Tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        attributes = dict(attrs)
        href = attributes.get("href")
        if tag == "a" and href and "data-yanked" not in attributes:
            name = urllib.parse.unquote(urllib.parse.urlsplit(href).path.rsplit("/", 1)[-1])
            self.links.append((name, href, attributes.get("data-requires-python") or ""))


def without_credentials(url: str) -> str:
    """The URL as it may be shown: user name and password left out."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def fetch(url: str, accept: str = "*/*") -> Tuple[bytes, str, str]:
    """Gets a URL as (body, content type, final URL); a user name and password in it are sent as basic auth.

    Raises:
        BootstrapError: no network, no such page, or a certificate that is not trusted.
    """
    request = urllib.request.Request(without_credentials(url), headers={"Accept": accept})
    parts = urllib.parse.urlsplit(url)
    if parts.username is not None:
        pair = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    certificates = pip_setting("cert", "")
    proxy = pip_setting("proxy", "")
    handlers: List[urllib.request.BaseHandler] = (
        [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    )
    try:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates or None)))
        with urllib.request.build_opener(*handlers).open(request, timeout=FETCH_TIMEOUT_S) as response:
            return response.read(), response.headers.get_content_type(), response.geturl()
    except (OSError, ValueError) as error:  # urllib's URLError and ssl's errors are OSErrors
        raise BootstrapError(
            "cannot fetch %s: %s" % (without_credentials(url), error),
            "check the network (and https_proxy, PIP_INDEX_URL, PIP_CERT where you need them; the package "
            "ca-certificates where a certificate is not trusted), or: apt install python3-venv",
        ) from error


def index_links(body: bytes, content_type: str) -> Iterator[Link]:
    """The files on a simple-index page, JSON or HTML, as (file name, href, requires-python, sha256 or '')."""
    if content_type == SIMPLE_API_JSON:
        for entry in json.loads(body.decode("utf-8"))["files"]:
            if not entry.get("yanked"):
                sha256 = entry.get("hashes", {}).get("sha256", "")
                yield entry["filename"], entry["url"], entry.get("requires-python") or "", sha256
        return
    anchors = _Anchors()
    anchors.feed(body.decode("utf-8", "replace"))
    for name, href, requires_python in anchors.links:
        address, fragment = urllib.parse.urldefrag(href)
        yield name, address, requires_python, fragment[len("sha256=") :] if fragment.startswith("sha256=") else ""


def runs_on(requires_python: str, version: Version) -> bool:
    """Whether `>=` in a requires-python admits this version; pip's own releases use nothing else for Python 3.11+."""
    bounds = re.findall(r">=\s*(\d+)\.(\d+)", requires_python)
    return all(version >= (int(major), int(minor)) for major, minor in bounds)


def newest_pip_wheel(links: Iterable[Link], version: Version) -> Optional[Tuple[str, str, str]]:
    """The newest stable pip wheel with a SHA-256 that runs on this Python version, as (file name, href, sha256)."""
    candidates = []
    for name, href, requires_python, sha256 in links:
        match = STABLE_PIP_WHEEL.match(name)
        if match and sha256 and runs_on(requires_python, version):
            candidates.append((tuple(int(part) for part in match.group(1).split(".")), name, href, sha256))
    return max(candidates)[1:] if candidates else None


def fetch_pip_wheel(folder: str, version: Version) -> str:
    """Fetches the newest pip wheel for a Python version into a folder.

    Returns:
        The path of the wheel, its SHA-256 checked.

    Raises:
        BootstrapError: the index cannot be reached, offers none, or sent other bytes than it announced.
    """
    page_url = pip_setting("index-url", DEFAULT_INDEX_URL).rstrip("/") + "/pip/"
    body, content_type, final_url = fetch(page_url, SIMPLE_API_ACCEPT)
    chosen = newest_pip_wheel(index_links(body, content_type), version)
    if chosen is None:
        raise BootstrapError(
            "%s offers no pip wheel with a SHA-256 for Python %d.%d"
            % (without_credentials(page_url), version[0], version[1]),
            "set PIP_INDEX_URL to an index that does, or: apt install python3-venv",
        )
    name, href, sha256 = chosen
    wheel_url = urllib.parse.urljoin(final_url, href)
    page, wheel = urllib.parse.urlsplit(page_url), urllib.parse.urlsplit(wheel_url)
    if "@" in page.netloc and wheel.netloc == page.netloc.rpartition("@")[2]:
        wheel_url = urllib.parse.urlunsplit(wheel._replace(netloc=page.netloc))  # the same host wants the same login
    content = fetch(wheel_url)[0]
    if hashlib.sha256(content).hexdigest() != sha256.lower():
        raise BootstrapError(
            "%s is damaged: its SHA-256 is not the one that the index gives" % without_credentials(wheel_url),
            "try again; if it stays so, something between here and the index changes files",
        )
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(content)
    return path


# ---------------------------------------------------------------------------------------------------- the environment


def runs(interpreter: str, code: str) -> bool:
    """Whether a line of code runs on an interpreter."""
    command = [interpreter, "-c", code]
    try:
        finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return finished.returncode == 0


def runs_module(interpreter: str, *arguments: str) -> bool:
    """Runs a module as a script and says whether it succeeded; its complaints are shown where it did not."""
    finished = subprocess.run(
        [interpreter, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if finished.returncode != 0:
        print(finished.stdout.decode("utf-8", "replace").strip(), file=sys.stderr)
    return finished.returncode == 0


def clear(venv: str) -> None:
    """Empties the folder of an environment, and makes it where there is none.

    Raises:
        BootstrapError: the folder holds something else than an environment.
    """
    os.makedirs(venv, exist_ok=True)
    entries = os.listdir(venv)
    if entries and not {"pyvenv.cfg", INSTALLING_MARKER} & set(entries):
        raise BootstrapError("%s holds something else than a virtual environment" % venv, "move it out of the way")
    for entry in sorted(entries, key=INSTALLING_MARKER.__eq__):  # the marker last: it says whose the rest is
        path = os.path.join(venv, entry)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def make_environment(interpreter: str, venv: str) -> None:
    """Makes a virtual environment with pip in it, in place of whatever is there.

    Raises:
        BootstrapError: the interpreter cannot, or pip cannot be fetched.
    """
    missing = "apt install python3-venv"
    clear(venv)
    set_marker(venv)
    if runs(interpreter, "from ensurepip import bootstrap") and runs_module(interpreter, "venv", venv):
        return
    print("this python cannot install pip by itself: fetching pip from the package index", flush=True)
    clear(venv)
    set_marker(venv)
    if not runs_module(interpreter, "venv", "--without-pip", venv):
        raise BootstrapError("making %s failed" % venv, missing)
    python = environment_python(venv)
    version = interpreter_version(python)
    if version is None:
        raise BootstrapError("%s does not run" % python, missing)
    with tempfile.TemporaryDirectory(prefix="farlayer-pip-") as folder:
        wheel = fetch_pip_wheel(folder, version)
        pip_of_the_wheel = [python, os.path.join(wheel, "pip")]
        arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel]
        if subprocess.run(pip_of_the_wheel + arguments, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise BootstrapError("installing pip from %s failed" % wheel, missing)


def environment_python(venv: str) -> str:
    """The interpreter inside an environment."""
    return os.path.join(venv, "bin", "python")


def set_marker(venv: str) -> None:
    """Notes in the environment that it is being written to: a note found later means an interrupted install."""
    with open(os.path.join(venv, INSTALLING_MARKER), "w", encoding="utf-8") as file:
        file.write("An install is running here, or was interrupted.\n")


def clear_marker(venv: str) -> None:
    """Notes that the environment is whole again."""
    os.remove(os.path.join(venv, INSTALLING_MARKER))


def usable(venv: str) -> bool:
    """Whether an environment is there, runs, is new enough, has pip and was not left by an interrupted install."""
    python = environment_python(venv)
    if os.path.exists(os.path.join(venv, INSTALLING_MARKER)) or not os.path.exists(python):
        return False
    version = interpreter_version(python)
    return version is not None and version >= MINIMUM_VERSION and runs(python, "import pip")


def install(venv: str, arguments: List[str]) -> None:
    """Lets the environment's pip install.

    Raises:
        BootstrapError: pip failed. Where pip itself gave up (no network, say) the environment is still whole; where
            pip was killed, the marker stays.
    """
    print("installing %s into %s" % (" ".join(arguments), venv), flush=True)
    set_marker(venv)
    pip = [environment_python(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    quiet = dict(os.environ, PYTHONWARNINGS="ignore")  # setuptools warns about every editable install
    returncode = subprocess.run(pip + arguments, env=quiet, stdin=subprocess.DEVNULL, check=False).returncode
    if returncode >= 0:
        clear_marker(venv)
    if returncode != 0:
        raise BootstrapError(
            "pip install failed (exit code %d)" % returncode,
            "read pip's message above; where the network is the reason: https_proxy, PIP_INDEX_URL and pip.conf are "
            "honoured",
        )


def bootstrap(venv: str, wanted_interpreter: str, pip_arguments: List[str]) -> None:
    """Makes the environment where there is none that works, and installs into it.

    Raises:
        BootstrapError: any step failed; running again after the remedy goes on from there.
    """
    if not usable(venv):
        interpreter = choose_interpreter(wanted_interpreter)
        print("making %s on %s" % (venv, interpreter), flush=True)
        make_environment(interpreter, venv)
        clear_marker(venv)
    if pip_arguments:
        install(venv, pip_arguments)


def main() -> int:
    """Reads the command line, waits for its turn, and reports an error with its remedy."""
    parser = argparse.ArgumentParser(description="make a virtual environment and install into it")
    parser.add_argument("--venv", default=".venv", help="folder of the environment (default: .venv)")
    parser.add_argument("--python", default="", help="interpreter to build on (default: the newest suitable one)")
    parser.add_argument("pip_arguments", nargs="*", metavar="-- ARGUMENT", help="what pip install is given, after --")
    options = parser.parse_args()
    try:
        with open(os.path.abspath(__file__), "rb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # freed with the process, however it ends
            bootstrap(options.venv, options.python, options.pip_arguments)
    except BootstrapError as error:
        print("error: %s\n  Remedy: %s" % (error.message, error.remedy), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
