from __future__ import annotations

from stages.teacher.engines.engine_wear import LOOK_SECONDS, EngineWear


class Machine:
    """A clock and a measure of memory that stand where they are put."""

    def __init__(self) -> None:
        self.seconds, self.gib, self.looks = 0.0, 1.0, 0
        self.said: list[str] = []

    def measure(self) -> float:
        self.looks += 1
        return self.gib

    def wear(self, after: int = 0, above_gib: float = 0) -> EngineWear:
        wear = EngineWear(after, above_gib, self.said.append, lambda: self.seconds)
        wear.begin(self.measure)
        return wear


def test_an_engine_is_worn_after_its_answers_and_fresh_once_loaded_anew() -> None:
    machine = Machine()
    wear = machine.wear(after=2)
    wear.count()
    assert wear.reason() == ""
    wear.count()
    assert wear.reason() == "2 answers since it was loaded"
    wear.begin(machine.measure)
    assert wear.reason() == ""


def test_zero_bounds_nothing() -> None:
    machine = Machine()
    wear = machine.wear()
    machine.gib, machine.seconds = 500.0, 1000.0
    for _ in range(100_000):
        wear.count()
    assert wear.reason() == ""


def test_memory_is_looked_at_every_so_often() -> None:
    machine = Machine()
    wear = machine.wear(above_gib=2)
    machine.gib = 2.5
    assert wear.reason() == ""
    assert machine.looks == 1
    machine.seconds = LOOK_SECONDS
    assert wear.reason() == "2.5 GiB held, more than recycle_above_gib 2"
    assert wear.reason()
    assert machine.looks == 2


def test_the_peak_outlives_the_engine() -> None:
    machine = Machine()
    wear = machine.wear(above_gib=2)
    machine.gib, machine.seconds = 3.0, LOOK_SECONDS
    assert wear.reason()
    machine.gib = 1.0
    wear.begin(machine.measure)
    assert wear.reason() == ""
    assert wear.peak_gib == 3.0


def test_a_bound_that_a_fresh_engine_breaks_does_not_load_it_for_ever() -> None:
    machine = Machine()
    machine.gib = 5.0
    wear = machine.wear(above_gib=2)
    assert wear.reason() == ""
    assert machine.said == [
        "recycle_above_gib 2 is less than the 5.0 GiB held right after loading, so memory no longer recycles "
        "the engine; set it well above that"
    ]
