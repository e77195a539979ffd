"""The chosen candidate against what a user would pick instead, in one run on the same test texts at their real lengths.

Instead: `transformers.pipeline` in float32, plain torch in sorted batches padded to the longest, and ONNX Runtime in
float32, all with the teacher. They take turns text block by text block, so that a machine that is slow for a while is
slow for all. Needs `make repro` first. Usage: python benchmarks/inference.py [TEXTS]
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH = 32  # texts
BLOCK = 256  # texts between two turns; each contender may order a block as it likes
SINGLES = 16  # texts of a block that are also asked for one by one
TEXTS = 2_048
CONTENDERS = ("pipeline", "torch", "onnxruntime fp32", "candidate")

Labels = Callable[[Sequence[str]], list[str]]
"""Texts to the names of their labels."""


def contender(name: str, data: Path) -> Labels:
    """Loads one way of predicting."""
    if name in ("onnxruntime fp32", "candidate"):
        from tidegate.package import Package

        package = Package.load(data / ("candidate" if name == "candidate" else "exported/teacher"))
        return lambda texts: [package.labels[best] for best in package.predict(texts, batch_size=BATCH).argmax(axis=1)]
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model = AutoModelForSequenceClassification.from_pretrained(data / "teacher")
    tokenizer = AutoTokenizer.from_pretrained(data / "teacher")
    if name == "pipeline":
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", batch_size=BATCH)
        return lambda texts: [answer["label"] for answer in classify(list(texts), truncation=True)]
    return lambda texts: _by_torch(model.eval(), tokenizer, texts)


def _by_torch(model, tokenizer, texts: Sequence[str]) -> list[str]:  # type: ignore[no-untyped-def]
    import torch

    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found = [""] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = tokenizer([texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt")
            for row, best in zip(rows, model(**batch).logits.argmax(dim=1).tolist(), strict=True):
                found[row] = model.config.id2label[best]
    return found


def timed(data: Path, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """By contender texts a second in batches of 32, milliseconds of one text (p50, p95), and its labels."""
    import numpy as np

    ways = {name: contender(name, data) for name in CONTENDERS}
    blocks: dict[str, list[float]] = {name: [] for name in ways}
    singles: dict[str, list[float]] = {name: [] for name in ways}
    for turn, start in enumerate(range(0, len(texts) - BLOCK + 1, BLOCK)):
        block = texts[start : start + BLOCK]
        for name in [*CONTENDERS[turn % len(ways) :], *CONTENDERS[: turn % len(ways)]]:
            ways[name](block[:BATCH])  # brings its weights into the caches
            blocks[name].append(_seconds(ways[name], block))
            singles[name] += [_seconds(ways[name], [text]) for text in block[:SINGLES]]
    found = {}
    for name in ways:
        p50, p95 = np.percentile(np.array(singles[name]) * 1000, [50, 95])
        # The median block, not the mean: a stall of the machine hits one contender's block alone.
        found[name] = {
            "texts_per_second": BLOCK / float(np.median(blocks[name])),
            "p50_ms": float(p50),
            "p95_ms": float(p95),
        }
    return found


def _seconds(way: Labels, texts: Sequence[str]) -> float:
    start = time.perf_counter()
    way(texts)
    return time.perf_counter() - start


def memory_mb(name: str) -> float:
    """Peak resident memory, in 10^6 bytes, of a process of its own that loads a contender and predicts 256 texts."""
    words = [sys.executable, __file__, "--alone", name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def alone(name: str) -> None:
    """Predicts in this process and prints its peak memory."""
    contender(name, ROOT / "data")(test_texts(256))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) * 1024 / 1e6)


def size_mb(folder: Path) -> float:
    """Size of a model's files, in 10^6 bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def test_texts(count: int) -> list[str]:
    """The first texts of the test split, which are in no order of length."""
    import polars

    found: list[str] = polars.read_parquet(ROOT / "data" / "test.parquet", columns=["text"])["text"][:count].to_list()
    return found


def hardware() -> dict[str, object]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wide = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"}
    return {
        "processor": facts.get("model name", platform.processor()), "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)), "instructions": sorted(wide & set(facts.get("flags", "").split())),
        "system": platform.system(),
    }  # fmt: skip


def main(count: int) -> None:
    """Measures, prints the table, and writes it to `results/inference.json`."""
    data, texts = ROOT / "data", test_texts(count)
    found = timed(data, texts)
    folders = {"candidate": data / "candidate", "onnxruntime fp32": data / "exported" / "teacher"}
    for name, figures in found.items():
        figures["memory_mb"] = memory_mb(name)
        figures["size_mb"] = size_mb(folders.get(name, data / "teacher"))
    print(f"{'':<18}{'texts/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'memory MB':>11}{'size MB':>9}   candidate is")
    for name, figures in found.items():
        faster = found["candidate"]["texts_per_second"] / figures["texts_per_second"]
        p50, p95 = (figures[key] / found["candidate"][key] for key in ("p50_ms", "p95_ms"))
        print(
            f"{name:<18}{figures['texts_per_second']:9.0f}{figures['p50_ms']:9.2f}{figures['p95_ms']:9.2f}"
            f"{figures['memory_mb']:11.0f}{figures['size_mb']:9.1f}"
            f"   {faster:.1f} x the throughput, 1/{p50:.1f} of p50, 1/{p95:.1f} of p95"
        )
    chosen = json.loads((data / "selection.json").read_text(encoding="utf-8"))["chosen"]
    result = {"chosen": chosen, "texts": len(texts), "batch_size": BATCH, "contenders": found, "hardware": hardware()}
    target = Path(__file__).parent / "results" / "inference.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS)
