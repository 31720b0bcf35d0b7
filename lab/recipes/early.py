#!/usr/bin/env python3
"""What leaving early saves in time: thresholds from held-out training images, judged on all test images.

    lab/recipes/early.py NETWORK.exbit [--drop POINTS] [--rule RULE] [--rounds N] [--record lab/records/early.csv]

Each round times single images and batches of 64 on one thread, by the policy and to the end in turns. Give it an otherwise
idle machine.
"""
import argparse
import json
import statistics
import tempfile
from pathlib import Path

from train import CIFAR, commit, exbit, write

COLUMNS = ["network", "commit", "isa", "policy", "drop_held_out", "top1", "top1_end", "bops_mean", "rounds", "time", "time_least",
           "time_most", "time_batch64"]


def found(*arguments):
    return json.loads(exbit(*arguments, "--data", CIFAR, "--json", "--quiet", text=True))


def measure(network, drop, rule, rounds):
    with tempfile.TemporaryDirectory() as folder:
        early = Path(folder) / "early.exbit"
        chosen = found("exits", network, "--drop", drop, "--rule", rule, "--per-exit", "-o", early)
        judged = [found("eval", early, "--threads", 1) for _ in range(rounds)]
        batches = [found("bench", early, "--threads", 1, "--batch", 64) for _ in range(rounds)]
    ratios = [j["beside_full"]["latency_ratio"] for j in judged]
    return {
        "network": network.stem,
        "commit": commit(),
        "isa": judged[0]["isa"],
        "policy": chosen["policy"],
        "drop_held_out": f"{chosen['drop']:.2f}",
        "top1": f"{judged[0]['top1']:.2f}",
        "top1_end": f"{judged[0]['exits'][-1]['top1_alone']:.2f}",
        "bops_mean": round(judged[0]["bops_mean"]),
        "rounds": rounds,
        "time": f"{statistics.median(ratios):.3f}",
        "time_least": f"{min(ratios):.3f}",
        "time_most": f"{max(ratios):.3f}",
        "time_batch64": f"{statistics.median(b['beside_full']['latency_ratio'] for b in batches):.3f}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--drop", type=float, default=0.16, help="points of top-1 that may be lost on held-out images (0.16)")
    parser.add_argument("--rule", default="entropy", help="max-softmax, entropy (the default) or patience")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", type=Path, help="add the figures to this CSV")
    args = parser.parse_args()
    if not CIFAR.is_dir():
        parser.exit(4, f"no real data: {CIFAR} is absent (exbit-lab import unpacks CIFAR-10)\n")
    row = measure(args.network, args.drop, args.rule, args.rounds)
    lost = float(row["top1_end"]) - float(row["top1"])
    print(json.dumps(row))
    print(f"{lost:.2f} points below the end (at most 0.1 asked), {row['time']} of its time (at most 0.75 asked)")
    if args.record:
        write(args.record, COLUMNS, [row])


main()
