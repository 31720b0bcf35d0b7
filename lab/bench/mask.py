"""Programs that choose AVX-512 by themselves, kept from it: neither ONNX Runtime nor rten has an option for that.

What XGETBV answers says which registers the system saves, and so which instructions may be used. In a copy of the program
the answer is replaced by that of a system that saves no registers of AVX-512; nothing else is changed.
"""
import importlib.util
import os
import pathlib
import sys

# In ONNX Runtime, whose kernels and whose CPU detection each ask once, and in Rust's standard library: `xgetbv`, and how its
# answer is put together from two halves. There, `and al, 7` takes the place of a move of eax to itself; here, `push 7; pop rax`
# that of the question.
FORMS = {"0f01d089c048c1e2204809c2": "0f01d0240748c1e2204809c2", "31c90f01d048c1e2204809d0": "31c96a075848c1e2204809d0"}


def masked(path):
    """The bytes of a program, made to believe that there is no AVX-512."""
    code, found = path.read_bytes(), 0
    for asked, answered in FORMS.items():
        found += code.count(bytes.fromhex(asked))
        code = code.replace(bytes.fromhex(asked), bytes.fromhex(answered))
    if found != 2:
        sys.exit(f"{path}: asks for the CPU's registers in another way than mask.py knows")
    return code


def mask_program(path, target):
    target.write_bytes(masked(path))
    target.chmod(0o755)
    return target


def mask_onnxruntime(folder):
    """Links a copy of the package into `folder`, its library masked."""
    package = pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent
    for source in package.rglob("*"):
        target = folder / "onnxruntime" / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() or target.exists():
            continue
        if source.name.startswith("onnxruntime_pybind11_state"):
            target.write_bytes(masked(source))
        else:
            os.symlink(source, target)
