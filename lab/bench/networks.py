"""The networks of the benchmarks: where each comes from, its images, and how they become its input."""
import pathlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"

# name -> (ONNX file, `--preprocess` of exbit, scaling of peers.py); None: weights made by code.
NETWORKS = {
    "resnet20": ("resnet20_cifar10.onnx", "cifar10", "torch"),
    "mobilenet": ("mobilenet_v2_folded.onnx", "tf", "tf"),
    "lite0": ("efficientnet_lite0.onnx", "efficientnet_lite0_crop.toml", "lite"),
    "resnet18": (None, "efficientnet_lite0_crop.toml", "lite"),
}


def resnet18(path, width=64):
    """ResNet-18 of 1000 classes with random weights (BatchNorm folded): its time is that of any others."""
    first = width
    random = np.random.default_rng(0)
    nodes, tensors = [], []

    def tensor(name, array):
        tensors.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(x, name, shape, stride, relu=True):
        depth = np.prod(shape[1:])
        weight = tensor(f"{name}.weight", random.standard_normal(shape) * np.sqrt(2 / depth))
        bias = tensor(f"{name}.bias", random.standard_normal(shape[0]) * 0.1)
        nodes.append(helper.make_node("Conv", [x, weight, bias], [name], name=name, kernel_shape=shape[2:],
                                      strides=[stride] * 2, pads=[shape[2] // 2] * 4))
        return unary("Relu", name) if relu else name

    def unary(op, x, **attributes):
        nodes.append(helper.make_node(op, [x], [f"{x}.{op}"], name=f"{x}.{op}", **attributes))
        return f"{x}.{op}"

    x = conv("image", "conv1", (first, 3, 7, 7), 2)
    x = unary("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage in range(4):
        for block in range(2):
            out, stride = first << stage, 2 if stage and not block else 1
            name = f"layer{stage + 1}.{block}"
            y = conv(x, f"{name}.conv1", (out, width, 3, 3), stride)
            y = conv(y, f"{name}.conv2", (out, out, 3, 3), 1, relu=False)
            if stride == 2:
                x = conv(x, f"{name}.downsample", (out, width, 1, 1), 2, relu=False)
            nodes.append(helper.make_node("Add", [y, x], [f"{name}.sum"], name=f"{name}.sum"))
            x, width = unary("Relu", f"{name}.sum"), out
    x = unary("Flatten", unary("GlobalAveragePool", x))
    fc = [tensor("fc.weight", random.standard_normal((1000, width)) * 0.05), tensor("fc.bias", np.zeros(1000))]
    nodes.append(helper.make_node("Gemm", [x, *fc], ["logits"], name="fc", transB=1))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "resnet18", [value("image", 1, ["batch", 3, 224, 224])],
                              [value("logits", 1, ["batch", 1000])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
