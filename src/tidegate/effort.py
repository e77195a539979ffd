"""What a training took: time, processor time and energy, measured while it runs and summed over resumed parts.

The counters themselves are in `energy.py`. Where there is none the energy of processors is estimated, and said to be.
Nothing here may end a training: what cannot be measured is reported as not measured, with the reason.
"""

import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tidegate import files
from tidegate.energy import Nvml, Rapl
from tidegate.errors import DataError
from tidegate.fitting import Fitting

WATTS_A_CORE = 10.0
"""Assumed of a busy core where nothing is measured; common processors are rated at 3 to 11 W a core."""
_JOULES_A_KWH = 3.6e6
_EVERY = 20.0
"""Seconds between two looks: a kill loses no more, and no counter begins anew twice in between."""


class _Counter(Protocol):
    def joules(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process took, from its start to its end or to its last look before it was killed."""

    seconds: float
    cpu_seconds: float
    processors: float | None
    """Joules; None where they were not measured."""
    gpus: float | None
    """Joules; None where they were not measured, 0 where no card took part."""


class Meter:
    """Measures one part, from now on.

    Args:
        notes: the file in which the parts of an unfinished training are kept.
        gpus: how many graphics cards take part at most; None for all there are, 0 for none.
    """

    def __init__(self, notes: Path, *, gpus: int | None) -> None:
        self._notes, self._gpus = notes, gpus
        self._key: str | None = None
        self._before: list[Part] = []
        self._started, self._cpu_before = time.monotonic(), _cpu_seconds()
        self._reasons: dict[str, str] = {}
        self._writing = threading.Lock()  # else a look could bring the notes back that `write` drops
        self._rapl: _Counter | None = self._opened("processors", Rapl)
        self._nvml: _Counter | None = None if gpus == 0 else self._opened("gpus", lambda: Nvml(gpus))

    def _opened(self, what: str, make: Callable[[], _Counter]) -> _Counter | None:
        try:
            return make()
        except Exception as error:  # whatever it is, it is no reason to end a training
            self._reasons[what] = str(error)
            return None

    def go_on(self, key: str) -> None:
        """Adds the parts of a killed run of the same key, the digest of all that shapes the training."""
        self._key, self._before = key, _read(self._notes, key)

    def keep(self) -> None:
        """Notes the parts so far, for the run that goes on with this one."""
        with self._writing, suppress(DataError, OSError):
            if self._key is not None and _is_first():
                files.write_json(self._notes, {"key": self._key, "parts": [asdict(part) for part in self._parts()]})

    def write(self, path: Path) -> None:
        """Writes what the whole training took, and drops the notes."""
        with self._writing:
            files.write_json(path, self.report())
            self._key = None
            self._notes.unlink(missing_ok=True)

    def report(self) -> dict[str, Any]:
        """What `<stage>_effort.json` holds, see docs/artifacts.md."""
        parts = self._parts()
        return {
            "seconds": sum(part.seconds for part in parts),
            "cpu_seconds": sum(part.cpu_seconds for part in parts),
            "parts": len(parts),
            "cores": os.cpu_count(),
            "processor": _processor(),
            "gpus": getattr(self._nvml, "names", []),
            "energy": energy(parts, self._reasons),
        }

    def _parts(self) -> list[Part]:
        now = Part(
            seconds=time.monotonic() - self._started,
            cpu_seconds=_cpu_seconds() - self._cpu_before,
            processors=self._joules("processors", self._rapl),
            gpus=self._joules("gpus", self._nvml) if self._nvml or self._computes_elsewhere() else 0.0,
        )
        return [*self._before, now]

    def _joules(self, what: str, counter: _Counter | None) -> float | None:
        try:
            return counter.joules() if counter else None
        except Exception as error:  # as above
            self._reasons[what] = str(error)
            return None

    def _computes_elsewhere(self) -> bool:
        """Whether torch, where it is loaded, computes on a card that has no counter here."""
        if self._gpus == 0 or (torch := sys.modules.get("torch")) is None:
            return False
        return bool(torch.cuda.is_initialized() or torch.backends.mps.is_available())


@contextmanager
def measuring(out: Path, settings: Fitting) -> Iterator[Meter]:
    """A meter that runs for the time of a stage; a thread looks at the counters until then.

    Args:
        out: the artifact that `Meter.write` is to make; the notes lie beside it until then.
    """
    cards = 0 if settings.accelerator in ("cpu", "mps") else None if settings.devices == "auto" else settings.devices
    if settings.accelerator == "mps":
        cards = None  # has no counter that can be read, and the report says so
    meter, ended = Meter(out.with_suffix(".partial"), gpus=cards), threading.Event()

    def look() -> None:
        while not ended.wait(_EVERY):
            meter.keep()

    thread = threading.Thread(target=look, name="effort", daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        ended.set()
        thread.join()
        meter.keep()


def energy(parts: Sequence[Part], reasons: dict[str, str]) -> dict[str, Any]:
    """Kilowatt hours of all parts, each with how they were found.

    Args:
        reasons: by `processors` and `gpus`, why nothing was measured.

    Returns:
        `kwh`, null where a share of it is not known; `processors` and `gpus`: `kwh`, `how` (`measured`, `estimated`,
        `not measured`) and `basis`, a sentence; `gpus` is null where no card took part.
    """
    found = {"processors": _of_processors(parts, reasons.get("processors", "")), "gpus": _of_gpus(parts, reasons)}
    shares = [share["kwh"] for share in found.values() if share is not None]
    return {"kwh": None if None in shares else sum(shares), **found}


def _of_processors(parts: Sequence[Part], reason: str) -> dict[str, Any]:
    measured = [part.processors for part in parts if part.processors is not None]
    if len(measured) == len(parts):
        basis = "RAPL, the counters of all processors of the machine, so other work on them is in it"
        return {"kwh": sum(measured) / _JOULES_A_KWH, "how": "measured", "basis": basis}
    busy = sum(part.cpu_seconds for part in parts)
    basis = (
        f"Processor time at {WATTS_A_CORE:g} W a core, which is an assumption: {reason or 'a part was not measured'}"
    )
    return {"kwh": busy * WATTS_A_CORE / _JOULES_A_KWH, "how": "estimated", "basis": basis}


def _of_gpus(parts: Sequence[Part], reasons: dict[str, str]) -> dict[str, Any] | None:
    joules = [part.gpus for part in parts if part.gpus is not None]
    if len(joules) < len(parts):
        return {"kwh": None, "how": "not measured", "basis": reasons.get("gpus") or "a part was not measured"}
    if not any(joules):
        return None
    return {"kwh": sum(joules) / _JOULES_A_KWH, "how": "measured", "basis": "NVML, the counters of the whole cards"}


def _read(notes: Path, key: str) -> list[Part]:
    """The parts that were noted under a key; none where the notes are missing, damaged or of another training."""
    try:
        content = files.read_json(notes, "key", "parts")
        return [_part(noted) for noted in content["parts"]] if content["key"] == key else []
    except (DataError, OSError, AttributeError, TypeError, ValueError):
        return []


def _part(noted: dict[str, Any]) -> Part:
    return Part(**{name: value if value is None else float(value) for name, value in noted.items()})  # type: ignore[arg-type]


def _is_first() -> bool:
    """Whether this is the one process, or the first of several, of a training."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _cpu_seconds() -> float:
    """Of this process and all that it started, on this machine."""
    import psutil

    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):  # the children that have ended
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                total += sum(child.cpu_times()[:2])
    return total


def _processor() -> str:
    """The processor's name, as the system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
