"""The mutants are what they say; that tests kill them is proved by ``make mutants``, which takes longer than the suite may."""

from pathlib import Path

import mutants
import pytest

SOURCE = """
class Pair:
    def forward(self, x: tuple[int, int]):
        '''Text.'''
        self.domain.check(x)
        if not x.size:
            raise ValueError(f"{self.size + 1} is wrong")
        return (x.conj() + 1, max(x, 2.0))
"""
CHANGES = [
    "self.domain.check(x) -> pass",
    "self.domain -> self.range",
    "if not x.size: -> if not not x.size:",
    "not x.size -> x.size",
    "(x.conj() + 1, max(x, 2.0)) -> (max(x, 2.0), x.conj() + 1)",
    "x.conj() + 1 -> x.conj() - 1",
    "x.conj() + 1 -> x.conj()",
    "x.conj() -> x",
    "1 -> 2",
    "1 -> 0",
    "max -> min",
    "2.0 -> 3.0",
    "2.0 -> 1.0",
]


def test_each_mutant_is_one_change_and_errors_texts_and_annotations_stay(tmp_path, monkeypatch):
    (tmp_path / "pair.py").write_text(SOURCE)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    found = {name: make() for name, make in mutants.mutants(Path("pair.py"))}
    assert list(found) == [f"pair.py Pair.forward: {change}" for change in CHANGES]
    assert all(compile(source, name, "exec") for name, source in found.items())
    assert all("tuple[int, int]" in source and "self.size + 1" in source for source in found.values())
    assert len(set(found.values())) == len(found)
    assert "return (x.conj() - 1, max(x, 2.0))" in found["pair.py Pair.forward: x.conj() + 1 -> x.conj() - 1"]


@pytest.mark.parametrize("room", mutants.ROOMS)
def test_the_tests_of_every_module_exist_and_so_does_every_equivalent_mutant(room):
    modules = [f.relative_to(mutants.ROOT) for f in (mutants.ROOT / "refimpl" / room).glob("[a-z]*.py")]
    for module in modules:
        assert all((mutants.ROOT / test).exists() for test in mutants.tests_of(module)["all"])
    names = {name for module in modules for name, _ in mutants.mutants(module)}
    assert {name for name in mutants.EQUIVALENT if f"/{room}/" in name} <= names


def test_a_planted_survivor_and_an_equivalent_mutant_are_counted_apart(monkeypatch):
    monkeypatch.setattr(mutants, "EQUIVALENT", {"a.py f: 1 -> 2": "nobody sees it"})
    ends = {
        "a.py f: 1 -> 2": "survived",
        "a.py f: x -> y": "survived",
        "a.py f: 1 -> 0": "hung",
        "b.py f: 1 -> 0": "killed",
    }
    lines = mutants.table({name: {"end": end} for name, end in ends.items()})
    assert [line.split()[0] for line in lines[:4]] == ["module", "a.py", "b.py", "all"]
    assert lines[1].split()[1:] == ["3", "1", "1", "1", "1", "50.0%"]
    assert lines[4:] == ["equivalent: a.py f: 1 -> 2: nobody sees it", "survived: a.py f: x -> y"]
