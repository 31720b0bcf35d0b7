#!/usr/bin/env python3
"""What a network takes before its first answer: memory and time, ours beside the peers'.

Set up as `beside.py` says. Ours is the arena with the packed weights, which a Session knows, and the process's growth
beside it; a peer's is the growth of resident memory from before its session is made until after its first answer, in a
process of its own that has loaded everything else. Times are from opening the file to the first answer, files in the
page cache; the median of some processes counts.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys

import beside
from networks import resnet18

FIELDS = ["network", "runtime", "precision", "file_bytes", "arena", "packed_weights", "resident_growth", "first_answer_ms",
          "runs"]
PEER = """
import sys, time, json, resource
sys.path[:0] = [{shared!r}]
import numpy as np, onnxruntime, openvino, peers
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
x = np.zeros((1, *{shape!r}), np.float32)
before, start = resident(), time.perf_counter()
peers.{runner}({path!r}, 1, 1)(x)
print(json.dumps([resident() - before, time.perf_counter() - start]))
"""


def ours(name, precision, program, pixels, runs):
    facts = []
    for _ in range(runs):
        child = beside.Ours(program, pixels, 1, 1)
        facts.append(child.facts)
        child.close()
    times = [float(f["load_us"]) / 1e3 for f in facts]
    return {"network": name, "runtime": "exbit", "precision": precision, "file_bytes": program.stat().st_size,
            "arena": facts[0]["arena"], "packed_weights": facts[0]["weights"], "runs": runs,
            "resident_growth": statistics.median(int(f["resident"]) for f in facts),
            "first_answer_ms": f"{statistics.median(times):.1f}"}


def peer(name, runtime, runner, path, shape, runs):
    code = PEER.format(shared=str(beside.SHARED / "bench"), runner=runner, path=str(path), shape=tuple(shape))
    found = [json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
             for _ in range(runs)]
    return {"network": name, "runtime": runtime, "precision": "int8", "file_bytes": path.stat().st_size, "runs": runs,
            "resident_growth": int(statistics.median(f[0] for f in found)),
            "first_answer_ms": f"{statistics.median(f[1] for f in found) * 1e3:.1f}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=beside.ROOT / "target" / "bench")
    parser.add_argument("--unpacked", type=pathlib.Path, default=beside.ROOT / "target" / "real-data")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE.csv")
    args = parser.parse_args()
    args.precisions = ["w8a8", "w4a4"]
    rows = []
    for name in "mobilenet", "resnet18":
        work, shape, pictures, _ = beside.prepare(name, args)
        pixels = work / "pixels1.raw"
        pictures[:1].transpose(0, 2, 3, 1).tofile(pixels)
        rows += [ours(name, p, work / f"{p}.exbit", pixels, args.runs) for p in args.precisions]
        rows.append(peer(name, "onnxruntime", "ort_runner", work / "int8.onnx", shape, args.runs))
        rows.append(peer(name, "openvino", "ov_runner", work / "int8.onnx", shape, args.runs))
    rows.append(ours("20 MB", "w8a8", wide(args), args.work / "resnet18" / "pixels1.raw", args.runs))
    for row in rows:
        print("  ".join(f"{key} {row[key]}" for key in FIELDS if key in row))
    if args.record:
        with open(args.record, "w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def wide(args):
    """A Program of 20 MB: ResNet-18, its layers wider by a third."""
    model, program = args.work / "wide.onnx", args.work / "wide.exbit"
    if not model.exists():
        resnet18(model, 86)
    beside.quantize("resnet18", model, program, "w8a8", args)
    return program


if __name__ == "__main__":
    main()
