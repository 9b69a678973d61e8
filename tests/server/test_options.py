"""What a server is told at its start is checked before anything runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.protos.errors import InputError
from farlayer.protos.protocol import check_address
from farlayer.server.options import ServerOptions


@pytest.mark.parametrize(
    "address",
    ["unix:/run/farlayer/w.sock", "localhost:0", "0.0.0.0:7070", "[::1]:7070", "host-1.example.org:65535"],
)
def test_addresses_that_make_sense_are_taken(address: str) -> None:
    check_address(address)
    assert ServerOptions(listen=address).listen == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":7070",
        "localhost:http",
        "localhost:123456",
        "http://localhost:7070",
        "unix:relative.sock",
        "unix:",
        "unix:/" + "x" * 100,
        "unix:/" + "ü" * 50,
        "a b:1",
        "::1:7070",
    ],
)
def test_addresses_that_make_none_are_refused_with_the_address(address: str) -> None:
    with pytest.raises(InputError) as caught:
        ServerOptions(listen=address)
    assert f"'{address}'" in caught.value.message
    assert caught.value.remedy


def test_the_path_of_a_unix_address_is_known() -> None:
    assert ServerOptions(listen="unix:/run/w.sock").unix_path == "/run/w.sock"
    assert ServerOptions(listen="localhost:1").unix_path == ""


def test_a_server_without_workers_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 worker, not max_workers=0"):
        ServerOptions(listen="localhost:0", max_workers=0)


@pytest.mark.parametrize("name", ["drain_s", "resume_window_s", "worker_end_s"])
def test_negative_times_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is a time in seconds, not -1"):
        ServerOptions(listen="localhost:0", **{name: -1})  # type: ignore[arg-type]


@given(
    st.builds(
        ServerOptions,
        listen=st.just("localhost:0"),
        max_workers=st.integers(1, 1000),
        python=st.text(),
        python_path=st.lists(st.text()).map(tuple),
        drain_s=st.floats(0, 1e6),
        lifeline=st.integers(-1, 1000),
    )
)
def test_options_survive_their_way_over_the_command_line(options: ServerOptions) -> None:
    assert ServerOptions.from_json(options.to_json()) == options
