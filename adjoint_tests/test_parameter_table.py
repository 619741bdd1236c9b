"""The table of what a model owns says what is there."""

import pytest
from theorems import GRIDS

import refimpl as ri
from refimpl import layers, wire
from refimpl.arrays import to_host
from refimpl.layers import parameter_table
from refimpl.layers.parameter_table import Row, ranges


def test_a_table_reads_like_this():
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1, 1)), (2, 3, 8))
    F = layers.Sequential({"linear": layers.Linear(X, 5), "norm": layers.BatchNorm(X.replace(shape=(2, 5, 8)))})
    assert str(parameter_table(F)).splitlines() == [
        "name             shape  dtype    cut into  ranks  bytes a rank  numbers",
        "-----------------------------------------------------------------------",
        "linear.W         5x3    float64  whole     0               120       15",
        "linear.b         5      float64  whole     0                40        5",
        "norm.w           5      float64  whole     0                40        5",
        "norm.b           5      float64  whole     0                40        5",
        "(norm.mean)      5      float64  whole     0                40        5",
        "(norm.variance)  5      float64  whole     0                40        5",
        "-----------------------------------------------------------------------",
        "total                                      0               320       30",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_table_of_an_fno_is_what_its_ranks_hold_and_fits_a_terminal(team, dtype):
    P = ri.Partition(team, (1, 1, *GRIDS[team.size], 1))
    F = ri.models.FNO(ri.Space(P, (1, 4, 12, 12, 8), dtype), 20, (5, 5, 4))
    table = parameter_table(F)
    held = wire.pool(team, sum(to_host(p).nbytes for p in F.parameters.values()))
    assert table.bytes == {r: n for r, n in enumerate(held) if n}
    assert table.numbers == F.parameter_count and [row.name for row in table.rows] == list(F.parameters)
    assert all(len(line) <= 100 for line in str(table).splitlines())
    spectral = table.rows[3]
    assert spectral.parts == (*GRIDS[team.size], 1, 1, 1) and list(spectral.bytes) == list(range(team.size))
    assert len(set(wire.pool(team, str(table)))) == 1


def test_ranks_are_told_in_runs():
    assert [ranges(r) for r in ([], [0], [0, 1, 2], [0, 2, 3, 5])] == ["none", "0", "0-2", "0, 2-3, 5"]


def test_a_layer_without_parameters_has_an_empty_table():
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), (3,))
    table = parameter_table(layers.Tanh(X))
    assert (table.rows, table.numbers, table.bytes) == ((), 0, {}) and "none" in str(table)


def test_the_total_says_the_most_that_one_rank_has(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (team.size, 13))
    table = parameter_table(layers.LayerNorm(X, sharded=True))
    sizes = [2 * 8 * (b - a) for a, b in ri.blocks(13, team.size)]
    assert list(table.bytes.values()) == sizes
    assert str(table).splitlines()[-1].split()[-2:] == [str(max(sizes)), "26"]


def test_what_holds_no_numbers_is_owned_by_nobody_and_takes_no_bytes():
    assert Row("W", (0, 3), "float64", (1, 1), {}, 0, True).cells()[3:] == ("whole", "none", "0", "0")
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), (4,))
    assert str(parameter_table(layers.ReLU(X))).splitlines()[-1].split() == ["total", "none", "0", "0"]
