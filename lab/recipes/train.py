#!/usr/bin/env python3
"""Trains a network of this folder, judges it on all test images, and records what it gives.

    lab/recipes/train.py NAME... [--record lab/records/trained.csv]

NAME is a recipe of this folder without `.toml`, with `@SEED` behind it for another seed than the recipe's. What it begins with is
in its first comments: `# method`, `# from` (another recipe: its run, or its Program in models/, or else it is trained first). The
teacher is ResNet-56 at eight bits. All of it goes on where it was interrupted; files lie in target/train.
"""
import argparse
import csv
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED, HERE, OUT = ROOT.parent / "shared", Path(__file__).parent, ROOT / "target/train"
CIFAR = ROOT / "target/real-data/cifar-10-batches-bin"
TEACHER = OUT / "resnet56_w8a8.exbit"
EXBIT = ROOT / "target/release/exbit"
# Bit-operations of the float network: 32 x 32 for each multiplication.
FLOAT_BOPS = 40_551_040 * 32 * 32
COLUMNS = ["network", "commit", "epochs", "policy", "top1", "bops_mean", "times_fewer", "bops_full", "exits_top1", "fractions",
           "latency_ratio", "bytes"]


def exbit(*arguments, text=False):
    command = [EXBIT, *map(str, arguments)]
    print("$ exbit", *map(str, arguments), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE if text else None, text=text)
    # 3: done, but no policy keeps to what the recipe asks for; or nothing was begun, and nothing is there to be judged.
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    return done.stdout


def commit():
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()


def told(text, key):
    found = re.search(rf"^# {key}: (\S+)$", text, re.M)
    return found and found[1]


def train(name):
    recipe, _, seed = name.partition("@")
    text = (HERE / f"{recipe}.toml").read_text()
    if seed:
        text = re.sub(r"^seed = .*\n", "", text, flags=re.M) + f"seed = {seed}\n"
    if not TEACHER.exists():
        exbit("quantize", SHARED / "models/resnet56_cifar10.onnx", "--calib", CIFAR, "--images", 512, "--weight-bits", 8,
              "-o", TEACHER)
    output, more = OUT / f"{name}.exbit", []
    if base := told(text, "from"):
        more = ["--from", begins_with(base)]
    # A run is of the commit that began it.
    if not (OUT / f"{name}.exbit.run").exists():
        output.unlink(missing_ok=True)
        (OUT / f"{name}.commit").write_text(commit())
    (OUT / f"{name}.toml").write_text(text)
    exbit("train", SHARED / "models/resnet20_cifar10.onnx", "--method", told(text, "method"), "--data", CIFAR,
          "--teacher", TEACHER, "--recipe", OUT / f"{name}.toml", "--report", OUT / f"{name}.html", "-o", output, *more)
    return output


def begins_with(base):
    """The run of `base`; where it is gone, the Program that the project keeps of it; else it is trained."""
    run, kept = OUT / f"{base}.exbit.run", ROOT / f"models/{base}.exbit"
    if not run.exists() and kept.exists():
        return kept
    train(base)
    return run


def judge(name, program, policy):
    asked = ["--policy", policy] if policy else []
    found = json.loads(exbit("eval", program, "--data", CIFAR, "--json", "--quiet", *asked, text=True))
    run = json.loads(header(program.with_name(program.name + ".run")))
    exits = [e for e in found.get("exits") or [] if e.get("top1_alone") is not None]
    mean = found.get("bops_mean") or found["bops_full"]
    beside = found.get("beside_full") or {}
    return {
        "network": name,
        "commit": (OUT / f"{name}.commit").read_text(),
        "epochs": len(run["records"]),
        "policy": found.get("policy") or "",
        "top1": f"{found['top1']:.2f}",
        "bops_mean": round(mean),
        "times_fewer": f"{FLOAT_BOPS / mean:.1f}",
        "bops_full": found["bops_full"],
        "exits_top1": " ".join(f"{e['top1_alone']:.2f}" for e in exits),
        "fractions": " ".join(f"{e['fraction']:.3f}" for e in exits),
        "latency_ratio": f"{beside['latency_ratio']:.3f}" if beside else "",
        "bytes": found["file_bytes"],
    }


def header(run):
    """What a saved run says of itself: its metadata."""
    with open(run, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(length))["__metadata__"]
    return next(iter(metadata.values()))


def write(path, columns, rows):
    """The rows into the CSV `path`, in the place of those of the same networks."""
    old = list(csv.DictReader(path.open())) if path.exists() else []
    new = {row["network"] for row in rows}
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, columns, lineterminator="\n")
        out.writeheader()
        out.writerows([row for row in old if row["network"] not in new] + rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--record", type=Path, help="add the figures to this CSV")
    parser.add_argument("--policy", action="append", default=[], help="judge it under this policy too")
    args = parser.parse_args()
    for need in (SHARED / "models", CIFAR):
        if not need.is_dir():
            parser.exit(4, f"no real data: {need} is absent (exbit-lab import unpacks CIFAR-10); nothing was trained\n")
    OUT.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        program = train(name)
        rows = [judge(name, program, None)]
        own = rows[0]["policy"]
        policies = {*args.policy, "never"} - {own} if own else set()
        rows += [judge(name, program, policy) for policy in sorted(policies)]
        for row in rows:
            print(json.dumps(row), flush=True)
        if args.record:
            write(args.record, COLUMNS, rows)


if __name__ == "__main__":
    main()
