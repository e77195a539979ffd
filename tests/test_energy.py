"""Counters of energy, on folders made like the kernel's and on a library made like the driver's."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from tidegate import energy
from tidegate.energy import Nvml, Rapl, UnmeasuredError, chosen


def zone(folder: Path, name: str, used: int, largest: int = 1_000_000_000) -> Path:
    made = folder / name.replace("/", "_")
    made.mkdir(parents=True)
    kind = name.rpartition("/")[2]
    for file, content in (("name", kind), ("energy_uj", used), ("max_energy_range_uj", largest)):
        (made / file).write_text(f"{content}\n")
    return made


@pytest.fixture
def powercap(tmp_path: Path) -> dict[str, Path]:
    names = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}
    found = {}
    for name, kind in names.items():
        made = zone(tmp_path / "made", kind, 5_000_000)
        found[kind] = made.rename(tmp_path / name)
    return found


def use(zone: Path, microjoules: int) -> None:
    (zone / "energy_uj").write_text(str(microjoules))


def test_processors_and_memory_count_once(powercap: dict[str, Path], tmp_path: Path) -> None:
    counter = Rapl(tmp_path)
    for place in powercap.values():  # of which the core is part of the package, and psys is all
        use(place, 7_000_000)
    assert counter.joules() == 4.0
    use(powercap["dram"], 8_500_000)
    assert counter.joules() == 5.5


def test_a_register_that_begins_anew_is_followed(powercap: dict[str, Path], tmp_path: Path) -> None:
    use(powercap["package-0"], 999_000_000)
    counter = Rapl(tmp_path)
    use(powercap["package-0"], 1_000_000)
    assert counter.joules() == pytest.approx(2.0)
    use(powercap["package-0"], 3_000_000)
    assert counter.joules() == pytest.approx(4.0)


def test_a_system_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnmeasuredError, match="shows no energy counter"):
        Rapl(tmp_path / "nothing")
    zone(tmp_path, "intel-rapl:0", 1)
    with pytest.raises(UnmeasuredError, match="shows no energy counter"):
        Rapl(tmp_path)  # neither a package nor memory


def test_a_counter_that_ends_says_which(powercap: dict[str, Path], tmp_path: Path) -> None:
    counter = Rapl(tmp_path)
    (powercap["dram"] / "energy_uj").unlink()
    with pytest.raises(UnmeasuredError, match=r"intel-rapl:0:1/energy_uj cannot be read"):
        counter.joules()


@pytest.mark.parametrize(
    ("visible", "places"),
    [(None, [0, 1, 2]), ("", []), ("1", [1]), ("2, 0", [2, 0]), ("GPU-b,GPU-a", [1, 0]), ("0,7,1", [0]), ("-1", [])],
)
def test_only_the_cards_that_cuda_sees_count(visible: str | None, places: list[int]) -> None:
    assert chosen(visible, ["GPU-aa", "GPU-bb", "GPU-cc"]) == places


def test_a_part_of_a_card_has_no_counter() -> None:
    with pytest.raises(UnmeasuredError, match="MIG"):
        chosen("MIG-1234", ["GPU-aa"])


class Driver:
    """Answers as the driver's library does; cards have used 1 and 2 kJ when it is loaded."""

    def __init__(self, cards: int = 2, failing: str | None = None) -> None:
        self.used, self.failing = [1_000_000 * (n + 1) for n in range(cards)], failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            return 3 if name == self.failing else int(getattr(self, f"_{name[4:].removesuffix('_v2')}")(*arguments))

        return call

    def _Init(self) -> int:  # noqa: N802
        return 0

    def _DeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.used)
        return 0

    def _DeviceGetHandleByIndex(self, index: Any, card: Any) -> int:  # noqa: N802
        card._obj.value = index.value + 100
        return 0

    def _DeviceGetName(self, card: Any, buffer: Any, length: Any) -> int:  # noqa: N802
        buffer.value = f"Card {card.value - 100}"[: length.value].encode()
        return 0

    def _DeviceGetUUID(self, card: Any, buffer: Any, length: Any) -> int:  # noqa: N802
        buffer.value = f"GPU-{card.value - 100}"[: length.value].encode()
        return 0

    def _DeviceGetTotalEnergyConsumption(self, card: Any, value: Any) -> int:  # noqa: N802
        value._obj.value = self.used[card.value - 100]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(energy.ctypes, "CDLL", lambda name: made)
    return made


def test_cards_count_from_the_start_of_the_counter(driver: Driver) -> None:
    counter = Nvml(environment={})
    driver.used = [1_500_000, 2_250_000]  # millijoules
    assert counter.names == ["Card 0", "Card 1"]
    assert counter.joules() == 750.0


def test_cards_that_take_no_part_do_not_count(driver: Driver) -> None:
    first, second = Nvml(1, environment={}), Nvml(environment={"CUDA_VISIBLE_DEVICES": "1"})
    driver.used = [1_500_000, 2_250_000]
    assert (first.joules(), second.joules()) == (500.0, 250.0)


def test_a_card_without_a_counter_says_so(driver: Driver) -> None:
    driver.failing = "nvmlDeviceGetTotalEnergyConsumption"
    with pytest.raises(UnmeasuredError, match="TotalEnergyConsumption of the driver of NVIDIA gave the error 3"):
        Nvml(environment={})


def test_a_machine_without_a_card_or_a_driver_says_so(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.used = []
    with pytest.raises(UnmeasuredError, match="no graphics card"):
        Nvml(environment={})

    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(energy.ctypes, "CDLL", missing)
    with pytest.raises(UnmeasuredError, match="no driver"):
        Nvml(environment={})
