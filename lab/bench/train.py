#!/usr/bin/env python3
"""Training steps of ResNet-20 in exbit and in PyTorch, in turns, and the ratios of their medians.

    lab/bench/train.py [--threads 1 2] [--rounds 4] [--steps 4] [--record lab/records/train.csv]

PyTorch's networks and steps are those of `../shared/bench/torch_qat_step.py`, in both layouts, eager or (--compile)
compiled; exbit by `cargo run --release --example training_speed` (built first). Batch 128, images in memory.
Each round runs every case once; what is written is the median over all rounds, images a second.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
KINDS = ("float", "lsq", "mcqueen")
# What of PyTorch each kind is compared with, and the ratio asked for.
ASKED = {"float": (("nhwc",), 0.8), "lsq": (("nchw", "nhwc"), 1.0), "mcqueen": (("nchw", "nhwc"), 2.0)}


def exbit(kind, threads, args):
    command = [ROOT / "target/release/examples/training_speed", SHARED / "models/resnet20_cifar10.onnx",
               kind, str(threads), str(args.steps), str(args.batch)]
    return json.loads(subprocess.check_output(command))["seconds"]


def torch(threads, args):
    command = [sys.executable, __file__, "--worker", "--threads", str(threads), "--steps", str(args.steps), "--batch",
               str(args.batch)] + ["--compile"] * args.compile
    result = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    return result["torch"], {tuple(key.split()): times for key, times in result["seconds"].items()}


def worker(args):
    """Times PyTorch's steps: the networks and steps are those of torch_qat_step.py, whose own main needs --compile."""
    sys.path.insert(0, str(SHARED / "bench"))
    import torch
    import torch_qat_step as peer

    if args.compile:  # two backward passes through one compiled graph need this
        import torch._functorch.config as config
        config.donated_buffer = False
    torch.set_num_threads(args.threads[0])
    args.bits, args.target_bits = 4, 4
    seconds = {}
    for kind in KINDS:
        for layout in ("nchw", "nhwc"):
            step, times = peer.make(kind, layout, args), []
            for _ in range(2 + args.steps):
                before = time.perf_counter()
                step()
                times.append(time.perf_counter() - before)
            seconds[f"{kind} {layout}"] = times[2:]
    print(json.dumps({"torch": torch.__version__, "seconds": seconds}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[2])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--compile", action="store_true", help="compile PyTorch's forward")
    parser.add_argument("--record", help="add the figures to this CSV")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "training_speed"], cwd=ROOT, check=True)
    times, version = {}, ""
    for _ in range(args.rounds):
        for threads in args.threads:
            version, found = torch(threads, args)
            for (kind, layout), seconds in found.items():
                times.setdefault((kind, f"torch {layout}", threads), []).extend(seconds)
            for kind in KINDS:
                times.setdefault((kind, "exbit", threads), []).extend(exbit(kind, threads, args))
    rate = {key: args.batch / statistics.median(seconds) for key, seconds in times.items()}
    mode = "compiled" if args.compile else "eager"
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    rows = []
    for key, seconds in sorted(times.items()):
        low, high = (statistics.quantiles(seconds, n=10, method="inclusive")[i] for i in (0, -1))
        print(f"{key[0]:8} {key[1]:11} {key[2]} threads {rate[key]:7.0f} img/s "
              f"[{args.batch / high:.0f} {args.batch / low:.0f}]")
        rows.append([commit, version, mode, *key, f"{rate[key]:.1f}", f"{args.batch / high:.1f}",
                     f"{args.batch / low:.1f}", len(seconds)])
    for threads in args.threads:
        for kind, (layouts, asked) in ASKED.items():
            best = max(rate[(kind, f"torch {layout}", threads)] for layout in layouts)
            ratio = rate[(kind, "exbit", threads)] / best
            print(f"{kind:8} {threads} threads: {ratio:.2f} of PyTorch {mode} ({', '.join(layouts)}; asked {asked})")
    if args.record:
        new = not os.path.exists(args.record)
        with open(args.record, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["commit", "torch", "mode", "kind", "runner", "threads", "images_per_second", "p10",
                                 "p90", "steps"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
