import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from farlayer.engine.data.databases import Backend, new_database, open_database
from farlayer.protos.errors import InputError
from tests.engine.data.support import BACKENDS, write_database

RECORDS = {f"{index:08}_file {index}.png": bytes([index]) * (1000 * index) for index in range(20)}
both = pytest.mark.parametrize("backend", BACKENDS)


def read(path: Path, backend: Backend) -> dict[str, bytes]:
    database = open_database(str(path), backend)
    try:
        return {key.decode(): value for key, value in database.records()}
    finally:
        database.close()


@both
def test_records_come_in_the_order_of_their_keys(tmp_path: Path, backend: Backend) -> None:
    path = write_database(tmp_path / "db", backend, dict(reversed(RECORDS.items())))
    assert list(read(path, backend).items()) == list(RECORDS.items())


@both
def test_what_is_written_is_read_back_by_the_package_itself(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "db"
    with new_database(str(path), backend) as database:
        for key, value in RECORDS.items():
            database.put(key.encode(), value)
        assert not path.exists(), "it appears when it is complete"
    if backend == "lmdb":
        import lmdb

        with lmdb.open(str(path), readonly=True) as environment, environment.begin() as transaction:
            found = dict(transaction.cursor())
    else:
        import plyvel

        with plyvel.DB(str(path), create_if_missing=False) as opened:
            found = dict(opened)
    assert found == {key.encode(): value for key, value in RECORDS.items()}
    assert os.listdir(tmp_path) == ["db"]


@both
def test_many_records_are_written_in_several_parts(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlayer.engine.data.databases._WRITTEN_TOGETHER", 3)
    with new_database(str(tmp_path / "db"), backend) as database:
        for key, value in RECORDS.items():
            database.put(key.encode(), value)
    assert read(tmp_path / "db", backend) == RECORDS


def test_an_lmdb_grows_as_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farlayer.engine.data.lmdb_database._FIRST_MAP_BYTES", 1 << 15)
    with new_database(str(tmp_path / "db"), "lmdb") as database:
        for key, value in RECORDS.items():
            database.put(key.encode(), value)
    assert read(tmp_path / "db", "lmdb") == RECORDS


@both
def test_two_readers_share_a_database_and_read_independently(tmp_path: Path, backend: Backend) -> None:
    path = write_database(tmp_path / "db", backend, RECORDS)
    first, second = open_database(str(path), backend), open_database(os.path.relpath(path), backend)
    ours, theirs = first.records(), second.records()
    assert next(ours)[0] == next(theirs)[0]
    ours.close()
    first.close()
    assert len(list(theirs)) == len(RECORDS) - 1
    second.close()
    assert read(path, backend) == RECORDS


@both
def test_the_working_directory_may_change_while_a_database_is_open(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_database(tmp_path / "db", backend, RECORDS)
    monkeypatch.chdir(tmp_path)
    database = open_database("db", backend)
    monkeypatch.chdir("/")
    assert len(list(database.records())) == len(RECORDS)
    database.close()
    assert read(tmp_path / "db", backend) == RECORDS


@both
def test_after_an_error_nothing_is_left(tmp_path: Path, backend: Backend) -> None:
    def fail() -> None:
        with new_database(str(tmp_path / "db"), backend) as database:
            database.put(b"key", b"value")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert os.listdir(tmp_path) == []


@both
def test_an_existing_path_is_not_replaced(tmp_path: Path, backend: Backend) -> None:
    with pytest.raises(InputError, match="exists already"), new_database(str(tmp_path), backend):
        pytest.fail("not reached")


@both
def test_a_missing_folder_is_told(tmp_path: Path, backend: Backend) -> None:
    path = str(tmp_path / "missing" / "db")
    with pytest.raises(InputError, match=f"the folder of '{path}' does not exist"), new_database(path, backend):
        pytest.fail("not reached")


@both
def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the answer of the system, since root may write everywhere."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    path = str(tmp_path / "db")
    with (
        pytest.raises(InputError, match=f"the folder of '{path}' cannot be written to") as caught,
        new_database(path, backend),
    ):
        pytest.fail("not reached")
    assert caught.value.remedy
    assert os.listdir(tmp_path) == []


def test_a_key_that_lmdb_cannot_hold_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="longer than 511 bytes"),
        new_database(str(tmp_path / "db"), "lmdb") as records,
    ):
        records.put(b"x" * 600, b"")
    assert os.listdir(tmp_path) == []


@both
def test_a_missing_database_is_told_with_where_it_was_looked_for(tmp_path: Path, backend: Backend) -> None:
    with pytest.raises(InputError, match=r"the database '.*nowhere' does not exist") as error:
        open_database(str(tmp_path / "nowhere"), backend)
    assert os.getcwd() in error.value.remedy
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, expected a folder"):
        open_database(str(tmp_path / "file"), backend)


@both
def test_a_database_of_the_other_kind_is_recognised(tmp_path: Path, backend: Backend) -> None:
    other: Backend = "leveldb" if backend == "lmdb" else "lmdb"
    path = write_database(tmp_path / "db", other, RECORDS)
    with pytest.raises(InputError, match=f"is not of the backend {backend.upper()} but {other.upper()}") as error:
        open_database(str(path), backend)
    assert f"backend: {other.upper()}" in error.value.remedy


@both
def test_a_folder_that_is_no_database_is_told(tmp_path: Path, backend: Backend) -> None:
    with pytest.raises(InputError, match=f"no {backend.upper()} database"):
        open_database(str(tmp_path), backend)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 4096], ids=["empty", "nonsense"])
def test_a_damaged_lmdb_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(InputError, match=f"the LMDB database '{tmp_path}'"):
        open_database(str(tmp_path), "lmdb")


def test_a_truncated_lmdb_is_refused_before_reading_it_kills_the_process(tmp_path: Path) -> None:
    path = write_database(tmp_path / "db", "lmdb", RECORDS)
    content = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(content[: len(content) // 2])
    message = rf"is truncated: data.mdb has {len(content) // 2} bytes, expected {len(content)}"
    with pytest.raises(InputError, match=message):
        open_database(str(path), "lmdb")


def test_a_damaged_leveldb_is_refused(tmp_path: Path) -> None:
    path = write_database(tmp_path / "db", "leveldb", RECORDS)
    import plyvel

    with plyvel.DB(str(path)) as database:
        database.compact_range()
    (table,) = path.glob("*.ldb")
    content = bytearray(table.read_bytes())
    content[len(content) // 4] ^= 255
    table.write_bytes(content)
    with pytest.raises(InputError, match=f"the LevelDB database '{re.escape(str(path))}': Corruption"):
        read(path, "leveldb")


def test_a_leveldb_that_another_process_reads_is_told_as_such(tmp_path: Path) -> None:
    path = write_database(tmp_path / "db", "leveldb", RECORDS)
    holder = "import plyvel, sys; d = plyvel.DB(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="LOCK") as error:
            open_database(str(path), "leveldb")
        process.communicate()
    assert "one process at a time" in error.value.remedy
    assert read(path, "leveldb") == RECORDS


@pytest.mark.parametrize(("backend", "module"), [("lmdb", "lmdb"), ("leveldb", "plyvel")])
def test_a_missing_package_is_told_with_its_extra(
    tmp_path: Path, backend: Backend, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_database(tmp_path / "db", backend, RECORDS)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"needs the package {module}") as error:
        open_database(str(path), backend)
    assert f"farlayer[{backend}]" in error.value.remedy
    with pytest.raises(InputError, match=f"needs the package {module}"), new_database(str(tmp_path / "new"), backend):
        pytest.fail("not reached")
