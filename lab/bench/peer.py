#!/usr/bin/env python3
"""A peer that waits to be timed in a process of its own: `peer.py RUNTIME MODEL.onnx INPUT.npy THREADS`.

RUNTIME is onnxruntime, onnxruntime-avx2 (the same, kept from AVX-512) or tract. Speaks as `crates/engine/examples/turns.rs`
does: a line of facts, the first image's answer, then for each number of calls on standard input their times in nanoseconds.
"""
import pathlib
import sys
import time

import numpy as np

from mask import mask_onnxruntime

def onnxruntime(path, x, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("batch", len(x))
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source, sink = session.get_inputs()[0].name, session.get_outputs()[0].name
    return ort.__version__, lambda: session.run([sink], {source: x})[0]


def tract(path, x, threads):
    import tract as runtime
    if threads != 1:
        sys.exit("tract runs on one thread")
    model = runtime.onnx().load(path).into_model().into_runnable()
    return runtime.version(), lambda: model.run([x])[0].to_numpy()


def main():
    runtime, path, pixels, threads = sys.argv[1:]
    if runtime == "onnxruntime-avx2":
        folder = pathlib.Path(path).parent.parent / "onnxruntime-avx2"
        mask_onnxruntime(folder)
        sys.path.insert(0, str(folder))
    x = np.load(pixels)
    make = tract if runtime == "tract" else onnxruntime
    version, run = make(path, x, int(threads))
    answer = np.asarray(run())
    print("version", version)
    print(*answer[0].ravel(), flush=True)
    for wanted in sys.stdin:
        times = []
        for _ in range(int(wanted)):
            start = time.perf_counter_ns()
            run()
            times.append(time.perf_counter_ns() - start)
        print(*times, flush=True)


if __name__ == "__main__":
    main()
