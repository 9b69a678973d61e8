"""A placement file says which layer runs where; what makes no sense in it is told with its place."""

import os
from pathlib import Path

import pytest

from farlayer.blobs.segment import heap, shared
from farlayer.client import ClientOptions, InProcessHost, LayerSpec
from farlayer.client.placement import Placement, PlacementHost, PoolPlan, Rule, load_placement
from farlayer.client.pool import Pool, local_pool
from farlayer.protos.errors import PlacementError
from tests.remote_support import LAYERS, layers_on_path
from tests.server.server_support import ServerProcess


def load(folder: Path, text: str) -> Placement:
    path = folder / "placement.toml"
    path.write_text(text, encoding="utf-8")
    return load_placement(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
        [pools.big]
        workers = 2
        python = "/venvs/old/bin/python"
        python_path = ["layers/old", "/abs"]
        [pools.far]
        addresses = ["10.0.0.7:7070", "unix:/run/farlayer.sock"]
        [[layers]]
        name = "loss*"
        on = "in-process"
        [[layers]]
        name = "data"
        on = "pool:big"
        [[layers]]
        name = "slow_[0-9]"
        on = "10.0.0.8:7070"
        """,
    )
    assert found == Placement(
        rules=(Rule("loss*", "in-process"), Rule("data", "pool:big"), Rule("slow_[0-9]", "10.0.0.8:7070")),
        pools={
            "big": PoolPlan((), 2, "/venvs/old/bin/python", (str(tmp_path / "layers/old"), "/abs")),
            "far": PoolPlan(("10.0.0.7:7070", "unix:/run/farlayer.sock")),
        },
    )


def test_an_empty_file_places_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Placement()
    assert Placement().target("any") == ""


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    placement = load(
        tmp_path,
        """
        layers = [
            { name = "conv1", on = "a:1" },
            { name = "conv?", on = "b:1" },
            { name = "[xy]*", on = "c:1" },
            { name = "Conv*", on = "d:1" },
        ]
        """,
    )
    targets = [placement.target(name) for name in ("conv1", "conv2", "conv12", "yes", "Conv1", "")]
    assert targets == ["a:1", "b:1", "", "c:1", "d:1", ""]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layers = [", ["TOML"]),
        ("layer = []", ["the file has an unknown key 'layer'", "known keys: pools, layers"]),
        ("layers = 3", ["layers: expected an array of tables", "[[layers]]"]),
        ("layers = [3]", ["layers entry 1: expected a table"]),
        ("[[layers]]\nname = 'a'", ["layers entry 1: expected name = a pattern and on = a place"]),
        ("[[layers]]\nname = 3\non = 'a:1'", ["layers entry 1"]),
        ("[[layers]]\nname = 'a'\non = 'a:1'\nat = 1", ["layers entry 1 has an unknown key 'at'", "name, on"]),
        ("[[layers]]\nname = 'a'\non = 'a:1'\n[[layers]]\nname = 'b'\non = 'nowhere'", ["layers entry 2", "'nowhere'"]),
        ("[pools.big]\n[[layers]]\nname = 'a'\non = 'pool:bog'", ["not 'bog'", "known pools: big"]),
        ("[[layers]]\nname = 'a'\non = 'pool:big'", ["not 'big'", "known pools: none"]),
        ("pools = 3", ["pools: expected a table"]),
        ("[pools]\nbig = 3", ["pools.big: expected a table"]),
        ("[pools.big]\nworker = 3", ["pools.big has an unknown key 'worker'", "workers"]),
        ("[pools.big]\nworkers = 0", ["pools.big.workers: expected a whole number above 0"]),
        ("[pools.big]\nworkers = true", ["pools.big.workers: expected a whole number above 0"]),
        ("[pools.big]\nworkers = 1.5", ["pools.big.workers"]),
        ("[pools.big]\npython = 3", ["pools.big.python: expected a path"]),
        ("[pools.big]\npython_path = 'a'", ["pools.big.python_path: expected an array of strings"]),
        ("[pools.big]\naddresses = ['a:1', 3]", ["pools.big.addresses: expected an array of strings"]),
        ("[pools.big]\naddresses = ['nowhere']", ["'nowhere' is no address"]),
        ("[pools.big]\naddresses = []", ["pools.big.addresses"]),
        ("[pools.big]\naddresses = ['a:1']\npython = 'p'", ["either addresses, or python and python_path"]),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(PlacementError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code == 2
    for part in says:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match="No such file"):
        load_placement(tmp_path / "absent.toml")
    with pytest.raises(PlacementError, match="directory"):
        load_placement(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlacementError, match="TOML"):
        load_placement(tmp_path / "binary.toml")


def test_layers_run_where_the_file_says(tmp_path: Path) -> None:
    with ServerProcess() as server:
        placement = load(
            tmp_path,
            f"""
            [pools.own]
            workers = 1
            python_path = ["{LAYERS}"]
            [[layers]]
            name = "here*"
            on = "in-process"
            [[layers]]
            name = "own*"
            on = "pool:own"
            [[layers]]
            name = "far"
            on = "{server.address}"
            """,
        )
        with layers_on_path(), InProcessHost() as default, PlacementHost(default, placement) as host:
            reports = {}
            for name in ("here1", "own1", "own2", "far", "elsewhere"):
                session = host.session(LayerSpec(name, "contract_layers", "Source"))
                assert host.allocator(name) is (shared if name in {"own1", "own2", "far"} else heap)
                session.setup([], [])
                reports[name] = session.report()
            assert reports["here1"].pid == reports["elsewhere"].pid == os.getpid()
            assert reports["far"].server == server.address
            assert reports["own1"].pid == reports["own2"].pid != os.getpid()
            assert reports["own1"].server not in {"", server.address}


def test_the_local_pools_of_a_file_come_from_whoever_makes_the_host_and_end_with_it() -> None:
    plans = {"one": PoolPlan(workers=1, python_path=("/abs",)), "two": PoolPlan()}
    placement = Placement((Rule("a*", "pool:one"), Rule("b", "pool:two")), plans)
    asked: list[PoolPlan] = []
    pools: list[Pool] = []

    def start_local(plan: PoolPlan) -> Pool:
        asked.append(plan)
        pools.append(local_pool(plan.workers, python_path=[str(LAYERS)]))
        pools[-1].start()
        return pools[-1]

    with InProcessHost() as default, PlacementHost(default, placement, start_local=start_local) as host:
        for name in ("a1", "a2", "elsewhere"):
            host.allocator(name)
        assert asked == [plans["one"]]
        session = host.session(LayerSpec("a1", "contract_layers", "Source"))
        session.setup([], [])
        assert session.report().pid != os.getpid()
    assert pools[0].connections == []


def test_the_folders_of_a_pool_come_on_top_of_our_own(tmp_path: Path) -> None:
    placement = Placement((Rule("*", "pool:own"),), {"own": PoolPlan(python_path=(str(tmp_path),))})
    with layers_on_path(), InProcessHost() as default, PlacementHost(default, placement) as host:
        session = host.session(LayerSpec("a", "contract_layers", "Source"))
        session.setup([], [])
        assert session.report().pid != os.getpid()


def test_pools_that_no_layer_uses_are_not_started() -> None:
    placement = Placement((Rule("a", "pool:one"),), {"one": PoolPlan(("10.255.255.1:1",))})
    with InProcessHost() as default, PlacementHost(default, placement, ClientOptions()) as host:
        host.session(LayerSpec("b", "contract_layers", "Source"))
        assert host.allocator("b") is heap
