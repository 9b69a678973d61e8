"""One host for each carrier: the behaviours in this folder must hold on all of them."""

from collections.abc import Iterator

import pytest

from farlayer.blobs.segment import heap, shared
from tests.remote_support import CARRIERS, Host, open_host


@pytest.fixture(scope="module", params=list(CARRIERS))
def carrier_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host, for the whole module."""
    with open_host(request.param) as host:
        yield host


@pytest.fixture
def host(carrier_host: Host) -> Iterator[Host]:
    """A host whose blobs lie where an engine would allocate them; its layers are released after each test."""
    carrier_host.allocate = carrier_host.pool.allocator("any")
    yield carrier_host
    carrier_host.close_runs()


@pytest.fixture(params=["heap", "shared"])
def any_memory(host: Host, request: pytest.FixtureRequest) -> Host:
    """The host, with blobs in memory that may not be what its carrier needs."""
    host.allocate = {"heap": heap, "shared": shared}[request.param]
    return host
