#!/usr/bin/env python3
"""Puts the table made from the records into README.md."""
import csv
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- table: made by table.py, do not edit -->\n", "<!-- end of table -->"
NAMES = {"resnet20": "ResNet-20", "mobilenet": "MobileNetV2", "lite0": "EfficientNet-Lite0", "resnet18": "ResNet-18"}


def read(name):
    path = HERE.parent / "records" / name
    return list(csv.DictReader(path.open())) if path.exists() else []


def ratio(row, key):
    low, high, least = (float(row[k]) for k in ("ratio_p10", "ratio_p90", "ratio_of_least"))
    return f"{float(row[key]):.2f} [{low:.2f} {high:.2f}] ({least:.2f})"


def beside(rows):
    """W8A8 against the faster of the peers' int8, and OpenVINO's bfloat16 against the same."""
    settings = sorted({(int(r["threads"]), int(r["batch"])) for r in rows})
    heads = [f"{t} thread{'s' * (t > 1)}, batch {b}" for t, b in settings]
    lines = ["| time, of the faster peer's int8 | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for network, title in NAMES.items():
        for runtime, precision, text in ("exbit", "w8a8", "W8A8"), ("openvino", "bfloat16", "OpenVINO bfloat16"):
            cells = []
            for setting in settings:
                found = [r for r in rows if (r["network"], r["runtime"], r["precision"]) == (network, runtime, precision)
                         and (int(r["threads"]), int(r["batch"])) == setting]
                cells.append(ratio(found[0], "of_the_faster_peer") if found else "")
            lines.append(f"| {title}: {text} | " + " | ".join(cells) + " |")
    return lines


def bits(rows):
    """Fewer bits against our own W8A8."""
    isas = list(dict.fromkeys(r["isa"] for r in rows))
    lines = ["", "| time, of our own W8A8, 1 thread | " + " | ".join(isas) + " |", "| --- |" + " ---: |" * len(isas)]
    for network, title in NAMES.items():
        for precision in dict.fromkeys(r["precision"] for r in rows if r["of_our_w8a8"] and r["network"] == network):
            found = {r["isa"]: r for r in rows if (r["network"], r["precision"]) == (network, precision)}
            cells = [ratio(found[isa], "of_our_w8a8") if isa in found else "" for isa in isas]
            lines.append(f"| {title}: {precision.upper()}, first and last 8x8 | " + " | ".join(cells) + " |")
    return lines


def avx2(rows):
    """Everything on AVX2 alone (tract chooses by itself), against ONNX Runtime's int8."""
    if not rows:
        return []
    networks = {n: t for n, t in NAMES.items() if any(r["network"] == n for r in rows)}
    lines = ["", "| time on AVX2, of ONNX Runtime's int8 | " + " | ".join(networks.values()) + " |",
             "| --- |" + " ---: |" * len(networks)]
    for runtime, precision in dict.fromkeys((r["runtime"], r["precision"]) for r in rows if r["of_the_faster_peer"]):
        found = {r["network"]: r for r in rows if (r["runtime"], r["precision"]) == (runtime, precision)}
        cells = [ratio(found[n], "of_the_faster_peer") if n in found else "" for n in networks]
        lines.append(f"| {runtime} {precision} | " + " | ".join(cells) + " |")
    return lines


def main():
    every = read("beside.csv") + read("bits.csv") + read("avx2.csv")
    versions = ", ".join(dict.fromkeys(f"{r['runtime']} {r['version']}" for r in every))
    lines = [*beside(read("beside.csv")), *bits(read("bits.csv")), *avx2(read("avx2.csv")), "", f"{versions}."]
    text = (HERE / "README.md").read_text()
    before, rest = text.split(BEGIN)
    (HERE / "README.md").write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
