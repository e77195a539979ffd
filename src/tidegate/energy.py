"""Energy counters of the hardware: what processors (RAPL) and graphics cards (NVML) say they have used.

Read from the kernel and from the driver's own library, so nothing is installed and nothing is sent. No estimate is made
here: a counter that cannot be read says why.
"""

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of processors and memory (docs.kernel.org, power/powercap)."""
_NAME_LENGTH = 96  # bytes that NVML gives to the name of a card, the end included


class UnmeasuredError(Exception):
    """Why there is no counter. Caught where energy is reported, so it is no domain error."""


class Rapl:
    """The processors of this machine and, where it is counted apart, their memory; other work on them included.

    Args:
        folder: where the kernel shows its counters.

    Raises:
        UnmeasuredError: there are none, or they may not be read.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if _counts(zone)]
        if not self._zones:
            raise UnmeasuredError("the system shows no energy counter of its processors")
        self._last = [_number(zone / "energy_uj") for zone in self._zones]
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in self._zones]
        self._used = 0

    def joules(self) -> float:
        """Used since the counter was made; a register that began anew, once since the last call, is followed."""
        for index, zone in enumerate(self._zones):
            now = _number(zone / "energy_uj")
            step = now - self._last[index]
            self._used += step if step >= 0 else step + self._ranges[index]
            self._last[index] = now
        return self._used / 1e6


def _counts(zone: Path) -> bool:
    """Packages, and memory: cores are part of a package, and `psys` is all of it again."""
    try:
        name = (zone / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return name.startswith("package") or name == "dram"


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise UnmeasuredError(f"{path} is readable by the administrator alone") from None
    except (OSError, ValueError) as error:
        raise UnmeasuredError(f"{path} cannot be read ({error})") from None


class Nvml:
    """Graphics cards of NVIDIA, by the counter that their driver keeps of each (Volta and later have one).

    Args:
        most: how many of the cards that the process may see are counted, the first ones; None counts all.
        environment: of the process; `CUDA_VISIBLE_DEVICES` says what it may see.

    Raises:
        UnmeasuredError: there is no driver, no card, or no counter.
    """

    def __init__(self, most: int | None = None, environment: Mapping[str, str] = os.environ) -> None:
        try:
            self._library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            raise UnmeasuredError("there is no driver of NVIDIA") from None
        self._call("nvmlInit_v2")
        self._cards = self._seen(environment.get("CUDA_VISIBLE_DEVICES"))[:most]
        if not self._cards:
            raise UnmeasuredError("there is no graphics card")
        self.names = [self._text("nvmlDeviceGetName", card) for card in self._cards]
        self._first = self._total()

    def joules(self) -> float:
        """Used since the counter was made, by the whole cards."""
        return self._total() - self._first

    def _total(self) -> float:
        total = 0
        for card in self._cards:
            value = ctypes.c_ulonglong()
            self._call("nvmlDeviceGetTotalEnergyConsumption", card, ctypes.byref(value))
            total += value.value
        return total / 1e3

    def _seen(self, visible: str | None) -> list[ctypes.c_void_p]:
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        cards = []
        for index in range(count.value):
            card = ctypes.c_void_p()
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(card))
            cards.append(card)
        return [cards[index] for index in chosen(visible, [self._text("nvmlDeviceGetUUID", card) for card in cards])]

    def _text(self, function: str, card: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(_NAME_LENGTH)
        self._call(function, card, buffer, ctypes.c_uint(_NAME_LENGTH))
        return buffer.value.decode(errors="replace")

    def _call(self, function: str, *arguments: object) -> None:
        try:
            code = getattr(self._library, function)(*arguments)
        except AttributeError:
            raise UnmeasuredError(f"the driver of NVIDIA lacks {function}") from None
        if code:
            raise UnmeasuredError(f"{function} of the driver of NVIDIA gave the error {code}")


def chosen(visible: str | None, names: Sequence[str]) -> list[int]:
    """The places of the cards that `CUDA_VISIBLE_DEVICES` lets a process see, in its order.

    Args:
        visible: its value, numbers or beginnings of the cards' unique names; None is all.
        names: the unique name of each card.

    Raises:
        UnmeasuredError: it names a part of a card, which has no counter of its own.
    """
    if visible is None:
        return list(range(len(names)))
    found: list[int] = []
    for word in filter(None, map(str.strip, visible.split(","))):
        if word.startswith("MIG"):
            raise UnmeasuredError("a part of a graphics card (MIG) has no energy counter of its own")
        fits = [n for n, name in enumerate(names) if (str(n) == word if word.isdigit() else name.startswith(word))]
        if not fits:
            break  # as CUDA does: what comes after an unknown card is not seen
        found.append(fits[0])
    return found
