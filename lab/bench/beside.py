#!/usr/bin/env python3
r"""exbit beside other runtimes: the same network, images and threads, taking turns in one run.

  python3 -m venv VENV && VENV/bin/pip install numpy pillow onnx onnxruntime openvino
  cargo build --release -p exbit-cli && cargo build --release -p exbit-engine --examples
  VENV/bin/python lab/bench/beside.py --record lab/records/beside.csv

  cargo build --release --manifest-path lab/bench/rten/Cargo.toml && VENV/bin/pip install tract
  VENV/bin/python lab/bench/beside.py --isas avx2 --precisions w8a8 w7a8 \
      --peers onnxruntime-avx2 rten-avx2 tract --record lab/records/avx2.csv

Needs `../shared` (models, images, and `bench/peers.py`, which prepares and runs the peers at their best: int8 QDQ from
ONNX Runtime's quantizer with weights per channel, which both peers run). A round visits every row once: a rest, in
which idle threads go to sleep, some calls that do not count, then the timed ones. Ours run in a child process, which is
told how many calls to make and answers with their times; so do the peers that `peer.py` and `rten` hold. The other peers'
times hold a call from Python, and the rows of an empty network say how much that is. `onnxruntime-avx2` and `rten-avx2`
are kept from AVX-512 (see `mask.py`). rten and tract run the float file too, and rten one whose activations are quantized
at run time (`dynamic`), which is how it wants a network quantized.
"""
import argparse
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from mask import mask_program
from networks import NETWORKS, SHARED, resnet18
from record import write, write_steps

sys.path.insert(0, str(SHARED / "bench"))
import peers  # noqa: E402  (lies in ../shared)

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = ROOT / "target" / "release"
REST, WARM = 0.02, 0.02
# Peers that run in this process, and those that do not with the files that they run.
INSIDE = {"onnxruntime": peers.ort_runner, "openvino": peers.ov_runner}
OTHERS = {"onnxruntime-avx2": ["int8"], "rten": ["int8", "dynamic", "float"],
          "rten-avx2": ["int8", "dynamic", "float"], "tract": ["int8", "float"]}
RTEN = HERE / "rten/target/release/rten-turns"
# Weights and activations; below eight bits, first and last layer keep 8x8.
PRECISIONS = ["w8a8", "w7a8", "w4a8", "w4a4", "w2a2", "w1a2", "w1a1", "w4a4p", "w2a2p"]


def images(name, folder):
    if name == "resnet20":
        return folder / "cifar-10-batches-bin"
    return SHARED / "data" / "imagenet_calib"


def prepare(name, args):
    """-> what the rows of a network run: float and int8 ONNX files, a Program for each precision, raw pixels."""
    work = args.work / name
    work.mkdir(parents=True, exist_ok=True)
    file, _, scale = NETWORKS[name]
    source = SHARED / "models" / file if file else work / "synthetic.onnx"
    if not source.exists():
        resnet18(source)
    float_path, int8_path = str(work / "float.onnx"), str(work / "int8.onnx")
    shape, entry = peers.prepare(str(source), float_path)
    pictures, _ = peers.read_images(images(name, args.unpacked), "calib", shape[1], "center", 64)
    if not pathlib.Path(int8_path).exists():
        peers.quantize(float_path, int8_path, entry, peers.scaled(pictures, scale), "minmax")
    for precision in args.precisions:
        quantize(name, source, work / f"{precision}.exbit", precision, args)
    return work, shape, pictures, scale


def quantize(name, source, program, precision, args):
    """Makes a Program, unless it is there: first and last layer at 8x8 bits, codes to nearest, which takes no time.
    With a `p` behind its bits all activations lie packed that can: a budget that nothing meets asks for it."""
    if program.exists():
        return
    _, preprocess, _ = NETWORKS[name]
    if preprocess.endswith(".toml"):
        preprocess = ROOT / "examples" / "preprocess" / preprocess
    bits, packed = precision.removesuffix("p"), []
    if bits != precision:
        packed = ["--budget", "peak-activations=1B"]
    weights, activations = ([str(b) for b in sorted({int(bit), 8})] for bit in bits[1::2])
    keep = [f"--keep=*={bits}", "--keep=first=w8a8", "--keep=last=w8a8"]
    done = subprocess.run([BIN / "exbit", "quantize", "--quiet", source, "--calib", images(name, args.unpacked), "--images", "32",
                           "--effort", "nearest", "--preprocess", preprocess, "--weight-bits", ",".join(weights),
                           "--activation-bits", ",".join(activations), *keep, *packed, "-o", program],
                          stdout=subprocess.DEVNULL)
    # 3: a budget is not met.
    if done.returncode != (3 if packed else 0):
        raise SystemExit(f"quantize failed: {program}")


class Child:
    """A network in a child process, and what it says of itself."""

    def __init__(self, command, environment=None):
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      env=environment)
        facts = self.child.stdout.readline().split()
        self.facts = dict(zip(facts[::2], facts[1::2]))
        self.answer = np.array(self.child.stdout.readline().split(), np.float32)

    def ask(self, what):
        self.child.stdin.write(f"{what}\n")
        self.child.stdin.flush()
        return [float(v) for v in self.child.stdout.readline().split()]

    def calls(self, count):
        return [t / 1e9 for t in self.ask(count)]

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Ours(Child):
    """A Program."""

    def __init__(self, program, pixels, batch, threads, isa=None):
        command = [BIN / "examples" / "turns", program, pixels, str(batch), str(threads)]
        super().__init__(command, {"EXBIT_ISA": isa} if isa else None)

    def steps(self):
        """[kernel, MACs, nanoseconds] of each step, the least of some profiles; and the peak in MACs per second."""
        self.child.stdin.write("steps\n" * 5)
        self.child.stdin.flush()
        profiles = [self.child.stdout.readline().split() for _ in range(5)]
        kernels, macs = profiles[0][::3], profiles[0][1::3]
        times = zip(*([int(t) for t in profile[2::3]] for profile in profiles))
        steps = [[k, int(m), min(t)] for k, m, t in zip(kernels, macs, times)]
        return steps, max(self.ask("peak")[0] for _ in range(5))


def other_peers(work, x, threads, names):
    """-> {key: Child} of the peers that run in processes of their own."""
    if not set(names) - set(INSIDE):
        return {}
    np.save(work / "x.npy", x)
    x.tofile(work / "x.raw")
    files = {precision: fixed(work, precision, len(x)) for precision in ("int8", "float", "dynamic")}
    shape, children = ",".join(map(str, x.shape)), {}
    for name in names:
        for precision in OTHERS.get(name, []):
            command = [sys.executable, HERE / "peer.py", name, files[precision], work / "x.npy", str(threads)]
            runtime, _, isa = name.partition("-")
            if runtime == "rten":
                program = RTEN if not isa else mask_program(RTEN, work / f"{name}.{precision}")
                command = [program, files[precision], work / "x.raw", shape, str(threads)]
            children[runtime, precision, isa] = Child(command)
    return children


def fixed(work, precision, batch):
    """The file of a network for one batch size."""
    source, path = work / f"{precision}.onnx", work / f"{precision}.batch{batch}.onnx"
    if precision == "dynamic" and not source.exists():
        quantize_dynamic(work / "float.onnx", source, weight_type=QuantType.QInt8,
                         op_types_to_quantize=["Conv", "Gemm", "MatMul"])
    model = onnx.load(source)
    del model.graph.value_info[:]
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, path)
    return path


def python_calls(run, x):
    def calls(count):
        times = []
        for _ in range(count):
            start = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - start)
        return times
    return calls


def empty(path):
    """A network that does nothing: what a call costs."""
    value = [helper.make_tensor_value_info(n, 1, ["batch", 3, 8, 8]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "empty", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def take_turns(rows, args):
    """rows: {key: calls(count) -> seconds of each}. -> {key: [the times of each round]}."""
    counts = {}
    for key, calls in rows.items():
        once = min(calls(3))
        counts[key] = max(args.calls, int(args.seconds / args.rounds / once)), max(1, int(WARM / once))
    times = {key: [] for key in rows}
    for _ in range(args.rounds):
        for key, calls in rows.items():
            time.sleep(REST)
            calls(counts[key][1])
            times[key].append(calls(counts[key][0]))
    return times


def measure(name, batch, threads, args):
    work, shape, pictures, scale = prepare(name, args)
    pixels = work / f"pixels{batch}.raw"
    chosen = np.resize(pictures, (batch, *shape))
    chosen.transpose(0, 2, 3, 1).tofile(pixels)
    x = peers.scaled(chosen, scale)
    ours = {("exbit", p, isa or "best"): Ours(work / f"{p}.exbit", pixels, batch, threads, isa)
            for isa in args.isas for p in args.precisions}
    empty(work / "empty.onnx")
    others = other_peers(work, x, threads, args.peers)
    rows = {key: child.calls for key, child in [*ours.items(), *others.items()]}
    nothing = np.zeros((batch, 3, 8, 8), np.float32)
    for key, child in others.items():
        agreement(name, key, child.answer, ours)
    for runtime in set(args.peers) & set(INSIDE):
        make = INSIDE[runtime]
        run = make(str(work / "int8.onnx"), batch, threads)
        rows[runtime, "int8", ""] = python_calls(run, x)
        rows[runtime, "empty", ""] = python_calls(make(str(work / "empty.onnx"), batch, threads), nothing)
        agreement(name, (runtime, "int8"), run(x)[0], ours)
    if "openvino" in args.peers:
        run = peers.ov_runner(str(work / "float.onnx"), batch, threads, "bf16")
        rows["openvino", "bfloat16", ""] = python_calls(run, x)
    first = next(iter(ours.values()))
    peak = []
    for key, calls in list(rows.items())[:1]:
        rows[key] = lambda count: (peak.append(first.ask("peak")[0]), calls(count))[1]
    times = take_turns(rows, args)
    steps = first.steps() if (threads, batch) == (1, 1) else None
    for child in [*ours.values(), *others.values()]:
        child.close()
    facts = {key: child.facts for key, child in [*ours.items(), *others.items()]}
    return {"network": name, "batch": batch, "threads": threads, "times": times, "facts": facts, "peak": max(peak),
            "steps": steps}


def agreement(name, peer, answer, ours):
    """Warns where a Program at eight bits and a peer do not answer alike: one would be another network, or wrong."""
    for (_, precision, _), child in ours.items():
        likeness = np.corrcoef(answer.ravel(), child.answer)[0, 1]
        if precision == "w8a8" and likeness < 0.9:
            print(f"{name}: {' '.join(peer)} and ours answer with a correlation of {likeness:.3f}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["w8a8"])
    parser.add_argument("--isas", nargs="+", default=[None], metavar="ISA", help="EXBIT_ISA of our rows")
    parser.add_argument("--settings", nargs="+", default=["1x1"], metavar="THREADSxBATCH", help="such as 1x1 2x1 2x32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5, help="timed calls of a turn, at least")
    parser.add_argument("--seconds", type=float, default=1.5, help="timed seconds of a row, over all rounds")
    parser.add_argument("--peers", nargs="*", choices=[*INSIDE, *OTHERS], default=list(INSIDE),
                        help="none: our precisions beside each other")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "bench")
    parser.add_argument("--unpacked", type=pathlib.Path, default=ROOT / "target" / "real-data")
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE.csv")
    args = parser.parse_args()
    versions = {"exbit": exbit_version(), "onnxruntime": onnxruntime.__version__,
                "openvino": openvino.__version__.split("-")[0]}
    print(versions, platform.machine())
    results = []
    for name in args.networks:
        for setting in args.settings:
            threads, batch = (int(n) for n in setting.split("x"))
            results.append(measure(name, batch, threads, args))
            write(results[-1:], versions, None)
    if args.record:
        write(results, versions, args.record)
        write_steps(results, args.record.with_suffix(".steps.csv"))


def exbit_version():
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return commit.stdout.strip()


if __name__ == "__main__":
    main()
