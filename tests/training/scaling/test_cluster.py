"""Bytes and seconds of collectives, by hand and by the identities of rings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.training.scaling.cluster import ASSUMED, GPUS, NOTHING, Cluster, Gpu, Transfer, gpu_named, nodes_for

ROUND = Gpu("round", 0, 1.0, 1.0, 1.0, link=1250.0, network=125.0)  # at 0.8 of them 1,000 and 100 bytes per second
ranks = st.integers(1, 64)


def test_a_gather_within_a_node_moves_over_its_links() -> None:
    """Of 800 bytes 700 come from the other seven, at 1,000 per second; seven steps of 3.4 us after one of 8.4."""
    assert Cluster(ROUND, 8).all_gather(800.0) == Transfer(700.0, pytest.approx(0.7 + 8.4e-6 + 7 * 3.4e-6))


def test_a_gather_between_nodes_takes_each_nodes_share_over_the_network_once() -> None:
    """Four ranks on two nodes: half of 800 bytes within each node; of the other node's half each of two ranks fetches half."""
    found = Cluster(ROUND, 4, nodes=2).all_gather(800.0, pieces=3)
    assert found.bytes == 400 + 200
    assert found.seconds == pytest.approx(400 / 1000 + 200 / 100 + 3 * (8.4e-6 + 2 * 3.4e-6 + 9.6e-6))


@given(ranks, st.integers(1, 8))
def test_bytes_are_those_of_a_ring_however_the_ranks_are_placed(per_node: int, nodes: int) -> None:
    workers = per_node * nodes
    cluster = Cluster(ROUND, workers, nodes)
    assert cluster.all_reduce(1e6).bytes == pytest.approx(2 * (workers - 1) / workers * 1e6)
    assert cluster.reduce_scatter(1e6) == cluster.all_gather(1e6)


@given(ranks, ranks)
def test_more_ranks_take_longer(few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert Cluster(ROUND, few).all_reduce(1e6).seconds <= Cluster(ROUND, more).all_reduce(1e6).seconds


def test_one_rank_sends_nothing() -> None:
    assert Cluster(ROUND, 1).all_reduce(1e9) == NOTHING


@pytest.mark.parametrize(
    ("device", "gpu"),
    [("NVIDIA H200", "h200"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA L4", ASSUMED.name), (None, ASSUMED.name)],
)
def test_a_device_is_known_by_its_name(device: str | None, gpu: str) -> None:
    assert gpu_named(device) is GPUS[gpu]


@pytest.mark.parametrize(("workers", "nodes"), [(1, 1), (8, 1), (9, 2), (1024, 128)])
def test_a_node_has_eight(workers: int, nodes: int) -> None:
    assert nodes_for(workers) == nodes
