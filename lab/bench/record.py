"""What a run of `beside.py` found: printed, or written as a record (CSV)."""
import csv

import numpy as np

FIELDS = ["network", "threads", "batch", "runtime", "version", "precision", "isa", "median_us", "p10_us", "p90_us",
          "least_us", "calls", "of_the_faster_peer", "of_our_w8a8", "ratio_p10", "ratio_p90", "ratio_of_least", "peak_gmacs",
          "arena"]
PEERS = ["onnxruntime", "openvino"]


def write(results, versions, path):
    rows = [row for result in results for row in rows_of(result, versions)]
    if path is None:
        show(rows)
        return
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_steps(results, path):
    """The steps of our W8A8 on one thread, and the share of the peak that the same child measured after them."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "step", "kernel", "macs", "microseconds", "gmacs_per_second", "share_of_peak"])
        for result in results:
            steps, peak = result["steps"] or ([], 1)
            for i, (kernel, macs, time) in enumerate(steps):
                rate = macs / max(time, 1)
                writer.writerow([result["network"], i, kernel, macs, f"{time / 1e3:.1f}", f"{rate:.1f}",
                                 f"{rate * 1e9 / peak:.3f}"])


def rows_of(result, versions):
    """A row for each thing timed. Ratios are of medians over all rounds, their spread that of the rounds' medians."""
    times = result["times"]
    medians = {key: np.median(np.concatenate(rounds)) for key, rounds in times.items()}
    peers = [key for key in times if key[0] in PEERS and key[1] == "int8"]
    for key, rounds in times.items():
        every = np.concatenate(rounds) * 1e6
        p10, p50, p90 = np.percentile(every, [10, 50, 90])
        row = {"network": result["network"], "threads": result["threads"], "batch": result["batch"], "runtime": key[0],
               "version": result["facts"].get(key, {}).get("version") or versions[key[0]], "precision": key[1], "isa": key[2], "median_us": f"{p50:.1f}",
               "p10_us": f"{p10:.1f}", "p90_us": f"{p90:.1f}", "least_us": f"{every.min():.1f}", "calls": len(every)}
        if key[0] == "exbit":
            facts = result["facts"][key]
            row["isa"], row["arena"] = facts["isa"], facts["arena"]
            row["peak_gmacs"] = f"{result['peak'] / 1e9:.0f}"
            own = ("exbit", "w8a8", key[2])
            if own in times and own != key:
                row["of_our_w8a8"] = f"{medians[key] / medians[own]:.3f}"
        base = min(peers, key=medians.get) if peers else ("exbit", "w8a8", key[2])
        if base in times and key != base:
            ratios = [np.median(a) / np.median(b) for a, b in zip(rounds, times[base])]
            least = [min(map(min, times[k])) for k in (key, base)]
            row["ratio_of_least"] = f"{least[0] / least[1]:.3f}"
            row["ratio_p10"], row["ratio_p90"] = (f"{v:.3f}" for v in np.percentile(ratios, [10, 90]))
            if peers:
                row["of_the_faster_peer"] = f"{medians[key] / medians[base]:.3f}"
        yield row


def show(rows):
    for row in rows:
        ratio = row.get("of_the_faster_peer") or row.get("of_our_w8a8") or ""
        spread = f"[{row['ratio_p10']} {row['ratio_p90']}] of least {row['ratio_of_least']}" if "ratio_p10" in row else ""
        print(f"{row['network']:10} {row['threads']} threads, batch {row['batch']:2}  {row['runtime']:12}"
              f"{row['precision']:9}{row['isa']:11}{row['median_us']:>10} us [{row['p10_us']} {row['p90_us']}] "
              f"least {row['least_us']}  {ratio:>6} {spread}", flush=True)
