"""Inputs and arguments for every block of the convolutional families and the combinators, for the contracts.

block name -> [(input shape, arguments)]; a tuple of shapes where the block reads several inputs.
"""

from __future__ import annotations

from typing import Any, get_args

from nasforge.blocks.core.activation import Act

SMALL = (8, 6, 6)
CONV: dict[str, Any] = {"conv": {"out": 8}}
EDGE: list[Any] = [{"from": 0, "op": CONV}, {"from": 0, "op": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}}}]
PAIR: list[Any] = [{"from": 0, "op": "sep_conv"}, {"from": 1, "op": "identity"}]

EXAMPLES: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    # combine, cell
    "parallel": [
        (SMALL, {"branches": [[CONV], []]}),
        (SMALL, {"branches": [CONV, CONV], "join": "gate"}),
        (SMALL, {"branches": [[], CONV], "join": "max"}),
        (SMALL, {"branches": [["relu"], [{"conv": {}}]], "split": True, "join": "mul"}),
        ((5, 8), {"branches": [{"linear": {"out": 8}}, []], "join": "mean"}),
    ],
    "residual": [
        (SMALL, {"body": [CONV]}),
        (SMALL, {"body": [{"conv": {"out": 6, "stride": 2}}], "act": "relu", "drop_path": 0.5}),
        (SMALL, {"body": [{"conv": {"out": 12, "stride": 2}}], "shortcut": "pad", "scale": 0.5}),
        ((7, 5, 5), {"body": [{"conv": {"out": 6, "stride": 2}}], "shortcut": "pool"}),
        ((6,), {"body": [{"linear": {"out": 4}}]}),
    ],
    "dense": [(SMALL, {"layers": [[{"conv": {"out": 3}}], [{"conv": {"out": 2}}]]}), ((5, 4), {"layers": [{"linear": {"out": 3}}]})],
    "zero_pad": [(SMALL, {"out": 10, "stride": 2})],
    "identity": [(SMALL, {})],
    "stage": [(SMALL, {"block": "basic", "depth": 2, "stride": 2, "out": 12}), (SMALL, {"blocks": ["relu", CONV]})],
    "zero": [(SMALL, {})],
    "cell": [
        (SMALL, {"nodes": [EDGE]}),
        ((SMALL, SMALL), {"nodes": [EDGE, [{"from": 1, "op": CONV}]], "inputs": 2, "output": "concat"}),
    ],
    # cell_ops, cell_stack
    "factorized_reduction": [(SMALL, {"out": 6}), ((3, 7, 5), {"out": 5, "stride": 3, "act": "none"})],
    "reduced_conv": [(SMALL, {"kernel": 5, "factorized": True, "stride": 2, "pad": "tf"}), (SMALL, {"out": 12})],
    "sep_conv": [(SMALL, {"out": 6, "kernel": 5, "stride": 2, "pad": "tf"}), (SMALL, {"depth": 1, "dilation": 2})],
    "act_conv": [(SMALL, {"out": 6, "kernel": 3, "stride": 2}), (SMALL, {})],
    "cell_stack": [
        (SMALL, {"nodes": [PAIR, PAIR], "out": 6, "depth": 2, "stride": 2, "raw": True, "also": [1, 2]}),
        (((8, 6, 6), (4, 12, 12)), {"nodes": [PAIR], "out": 4, "depth": 2, "skip": "factorized", "drop_path": 0.2}),
        (SMALL, {"nodes": [PAIR, EDGE[1:]], "out": 6, "stride": 2, "pad": "tf"}),
        (SMALL, {"nodes": [PAIR], "out": 4, "depth": 0}),
    ],
    # random_wiring, regnet
    "randwire": [(SMALL, {"out": 6, "nodes": 5, "k": 2}), (SMALL, {"out": 8, "nodes": 4, "graph": "er", "stride": 1})],
    "regnet_block": [(SMALL, {"out": 12, "group_width": 4, "stride": 2, "se": 0.25}), (SMALL, {"ratio": 0.5, "group_width": 2})],
    "regnet": [(SMALL, {"depth": 3, "w_0": 8, "w_a": 8, "w_m": 2.0, "group_width": 8, "se": 0.25, "first_stride": 1})],
    # activation
    **{kind: [(SMALL, {})] for kind in get_args(Act) if kind != "none"},
    "act": [((5, 4), {"kind": "softmax"}), (SMALL, {"kind": "swish"}), ((6,), {"kind": "none"})],
    "maxout": [(SMALL, {}), ((5, 6), {"pieces": 3}), ((6,), {})],
    # conv, rearrange
    "conv": [
        (SMALL, {}),
        (SMALL, {"out": 6, "kernel": [3, 1], "stride": [1, 2], "act": "swish"}),
        (SMALL, {"expand": 2, "groups": "depthwise", "dilation": 2, "norm": "instance"}),
        (SMALL, {"out": 4, "groups": 2, "preact": True, "norm": "group", "norm_groups": 4, "weight": "standard"}),
        (SMALL, {"out": "classes", "kernel": 4, "norm": "none", "pad": 1, "weight": "norm", "drop_connect": 0.3}),
        ((9, 4), {"out": 6, "pad": "causal", "dilation": 2, "norm": "layer"}),
        ((9, 4), {"out": 6, "pad": [2, 1], "norm": "batch", "preact": True, "act": "softmax"}),
        ((2, 4, 5, 5), {"out": 3, "kernel": [1, 3, 3], "stride": [1, 2, 2]}),
        ((4, 6, 5), {"kernel": 5, "stride": 2, "pad": "tf"}),
    ],
    "deconv": [
        (SMALL, {}),
        (SMALL, {"out": 4, "kernel": 3, "stride": 1, "norm": "none"}),
        (SMALL, {"expand": 0.5, "kernel": 4, "groups": 2, "pad": "valid", "norm": "layer"}),
        ((6, 4), {"out": 5, "kernel": 3, "norm": "layer"}),
        ((2, 3, 4, 4), {"out": 3, "kernel": 3, "pad": 1}),
    ],
    "shuffle": [(SMALL, {"groups": 4}), ((4, 2, 3, 3), {})],
    "shift": [((11, 6, 6), {}), ((4, 5, 5), {}), ((27, 6, 5), {"kernel": 5, "dilation": 2})],
    "space_to_depth": [(SMALL, {}), ((2, 6, 9), {"block": 3})],
    "depth_to_space": [(SMALL, {}), ((9, 2, 3), {"block": 3})],
    "upsample": [
        (SMALL, {}),
        (SMALL, {"mode": "bilinear", "size": [9, 7]}),
        ((5, 4), {"scale": 3, "mode": "bilinear"}),
        ((2, 3, 4, 4), {"size": 5}),
    ],
    "depthwise": [(SMALL, {"kernel": 5, "stride": 2, "multiplier": 2}), ((9, 4), {})],
    "separable": [(SMALL, {"out": 6, "dilation": 2}), (SMALL, {"between": True}), ((9, 4), {"out": 6})],
    "asymmetric": [(SMALL, {"out": 6, "kernel": 5, "mid": 3, "stride": 2})],
    "flattened": [(SMALL, {"out": 6})],
    "mlpconv": [(SMALL, {"out": 6}), (SMALL, {"out": 6, "hidden": [5, 4], "norm": "batch"})],
    "maxout_conv": [(SMALL, {"out": 3}), (SMALL, {"out": 3, "kernel": 4, "pieces": 3, "pad": 1})],
    # norm
    "norm": [
        (SMALL, {}),
        (SMALL, {"kind": "layer"}),
        (SMALL, {"kind": "group", "groups": 4, "affine": False}),
        (SMALL, {"kind": "instance"}),
        ((5, 8), {"kind": "layer"}),
        ((5, 8), {"kind": "batch"}),
        ((8,), {"kind": "layer"}),
        ((4, 3, 4, 4), {"kind": "batch"}),
    ],
    "lrn": [(SMALL, {}), (SMALL, {"size": 3, "alpha": 0.1})],
    # pooling
    "pool": [
        *((SMALL, {"kind": kind, "kernel": 3, "stride": 2}) for kind in ("max", "avg", "min", "mixed", "lp", "stochastic")),
        *((SMALL, {"kind": kind}) for kind in ("max", "avg", "min", "mixed", "lp", "stochastic")),
        *(((9, 4), {"kind": kind, "kernel": 2, "ceil": True}) for kind in ("max", "avg", "mixed", "lp", "stochastic")),
        *((SMALL, {"kind": kind, "kernel": [2, 3], "stride": [2, 1], "pad": [0, 1]}) for kind in ("max", "avg", "lp", "stochastic")),
        *(((2, 4, 5, 5), {"kind": kind, "kernel": 2, "pad": 1, "p": 3.0}) for kind in ("min", "lp", "stochastic")),
        ((9, 4), {}),
        ((4, 6, 5), {"kind": "avg", "kernel": 3, "stride": 2, "pad": "tf"}),
    ],
    "spatial_pyramid": [((3, 5, 7), {}), ((3, 4, 4), {"levels": [3, 1], "kind": "avg"})],
    "bed_of_nails": [((3, 4, 5), {}), ((3, 4, 5), {"stride": 3})],
    "index_pool": [((3, 4, 6), {})],
    "index_unpool": [(((3, 4, 6), (3, 4, 6)), {})],
    # dropout
    "dropout": [(SMALL, {}), (SMALL, {"channels": True}), ((5, 4), {"channels": True, "p": 0.2}), ((6,), {"p": 0})],
    "drop_block": [(SMALL, {"size": 3}), (SMALL, {"p": 0.0})],
    # gating
    "se": [
        (SMALL, {"ratio": 0.25}),
        ((5, 8), {"width": 3, "gate": "hard_sigmoid", "act": "swish"}),
        ((8, 3, 4, 4), {"divisor": 4, "bias": False}),
    ],
    "eca": [(SMALL, {}), ((5, 8), {"kernel": 5})],
    "cbam": [(SMALL, {"ratio": 0.5, "kernel": 3})],
    "scse": [(SMALL, {}), (SMALL, {"join": "max"})],
    "highway": [(SMALL, {}), ((5, 4), {}), ((6,), {"act": "tanh", "carry": 2})],
    "sk": [(SMALL, {"groups": 4}), (SMALL, {"out": 12, "stride": 2, "groups": 2, "branches": 3, "least": 4})],
    # residual
    "residual_unit": [
        (SMALL, {"body": [CONV], "before": ["norm", "relu"]}),
        (SMALL, {"body": [{"conv": {"out": 6, "stride": 2}}], "before": ["norm", "relu"]}),
        (SMALL, {"body": [{"conv": {"out": 6}}], "norm": "batch", "act": "relu", "shortcut": "projection"}),
    ],
    "basic": [
        (SMALL, {}),
        (SMALL, {"out": 12, "stride": 2, "se": 0.25, "gate": "eca", "dropout": 0.1}),
        *((SMALL, {"out": 12, "ordering": o}) for o in ("norm_after_add", "act_before_add", "act_only_preact", "preact", "pyramid")),
        (SMALL, {"out": 12, "norm": "layer", "stride": 2, "shortcut": "pool"}),
        (SMALL, {"out": 12, "norm": "none"}),
    ],
    "bottleneck": [
        (SMALL, {"out": 16, "stride": 2, "stride_on": "1x1"}),
        (SMALL, {"out": 16, "groups": 2, "base_width": 32, "gate": {"cbam": {"ratio": 0.5}}}),
        (SMALL, {"out": 16, "middle": {"sk": {"groups": 2}}, "stride": 2}),
        (SMALL, {"out": 8, "ordering": "preact", "shortcut": "identity"}),
    ],
    "resnext": [(SMALL, {"out": 64, "groups": 4, "base_width": 8})],
    "preact_basic": [(SMALL, {}), (SMALL, {"out": 12, "stride": 2, "shortcut": "pad"})],
    "preact_bottleneck": [(SMALL, {"out": 16, "stride": 2})],
    "wide_basic": [(SMALL, {"out": 12, "stride": 2, "dropout": 0.3})],
    "pyramid": [(SMALL, {"alpha": 4, "depths": [1, 2], "start": 8}), (SMALL, {"alpha": 4, "depths": [1, 1], "block": "bottleneck"})],
    # inception
    "inception": [(SMALL, {"b1": 2, "b3": [2, 3], "b5": [2, 3], "pool": 2}), (SMALL, {"b1": 0, "b3": [2, 3], "b5": [2, 3], "pool": 0})],
    "inception_naive": [(SMALL, {"b1": 2, "b3": 3, "b5": 4})],
    "inception_factorised": [(SMALL, {"b1": 2, "b3": [2, 3], "b5": [2, 3, 4], "pool": 2, "kernel": 5})],
    "inception_asymmetric": [(SMALL, {"b1": 2, "single": [2, 3, 4], "double": [2, 3, 4, 5, 6], "pool": 2})],
    "inception_expanded": [(SMALL, {"b1": 2, "b3": [2, 3], "b5": [2, 3, 4], "pool": 2})],
    "reduction": [
        (SMALL, {"b3": [3], "double": [2, 3, 4]}),
        (SMALL, {"b3": [2, 3], "double": [2, 3, 4, 5], "kernel": 5, "pad": "valid"}),
    ],
    "fire": [(SMALL, {"squeeze": 2, "e1": 3, "e3": 4})],
    # dense
    "dense_layer": [(SMALL, {"growth": 3}), (SMALL, {"growth": 3, "bottleneck": 0, "dropout": 0.2})],
    "dense_block": [(SMALL, {"growth": 3, "depth": 2})],
    "transition": [(SMALL, {})],
    "dual": [(SMALL, {"body": [{"conv": {"out": 9}}], "width": 6}), (SMALL, {"body": CONV, "shortcut": CONV, "width": 8})],
    "dual_path": [(SMALL, {"width": 6, "growth": 2, "mid": 4, "groups": 2, "stride": 2, "first": True})],
    # mobile
    "depthwise_separable": [(SMALL, {"out": 6, "stride": 2}), (SMALL, {"out": 6, "stride": 2, "pad": "tf"})],
    "mbconv": [
        (SMALL, {"out": 8, "se": 0.25}),
        ((6, 8, 8), {"out": 8, "kernel": 5, "stride": 2, "pad": "tf"}),
        (SMALL, {"out": 6, "expand": 1, "stride": 2, "act": "relu"}),
        (SMALL, {"out": 6, "expand": 2.3, "divisor": 8, "se": 0.25, "se_of": "expanded", "se_act": "relu", "se_gate": "hard_sigmoid"}),
    ],
    "inverted_residual": [(SMALL, {"out": 8})],
    "csc": [(SMALL, {"out": 8, "expand": 3}), (SMALL, {"out": 12, "stride": 2, "of": "input", "kernel": 5})],
    "xception_block": [
        (SMALL, {"out": 12, "stride": 2, "act_first": False}),
        (SMALL, {"out": 12, "depth": 3, "grow": "second", "stride": 2, "aligned": True}),
    ],
    "shuffle_unit_v1": [
        (SMALL, {"groups": 2}),
        (SMALL, {"out": 16, "groups": 2}),
        (SMALL, {"out": 16, "groups": 2, "stride": 2, "group_first": False}),
    ],
    "shuffle_unit_v2": [(SMALL, {"se": 0.5, "residual": True}), (SMALL, {"out": 12, "stride": 2})],
    # active_shift, bottleneck_attention, masks, poly, streams
    "active_shift": [(SMALL, {}), ((5, 7, 6), {"stride": 2, "reach": 2.5})],
    "active_shift_unit": [(SMALL, {}), (SMALL, {"out": 12, "stride": 2})],
    "bam": [(SMALL, {"ratio": 0.5}), (SMALL, {"ratio": 0.25, "dilation": 2})],
    "cmpe": [
        (SMALL, {"body": [CONV], "ratio": 0.5, "fold": 2}),
        (SMALL, {"body": [{"conv": {"out": 12, "stride": 2}}], "before": ["relu"], "ratio": 0.25, "kernel": 1, "fold": 1}),
    ],
    "cmpe_wide": [(SMALL, {"out": 12, "stride": 2, "fold": 3})],
    "same_size": [(SMALL, {"body": [{"pool": {"kernel": 2}}, CONV]}), ((4, 5, 7), {"body": {"pool": {"kernel": 2}}, "kind": "nearest"})],
    "masked": [(SMALL, {"trunk": [CONV], "mask": [CONV, "sigmoid"]})],
    "attention_module": [(SMALL, {"unit": "basic"}), ((8, 9, 7), {"unit": {"preact_bottleneck": {"out": 8}}, "levels": 2})],
    "hourglass": [(SMALL, {"widths": [8, 6], "depths": [1, 2]}), ((4, 9, 7), {"widths": [4, 5, 6], "depths": [2, 1, 1], "act": "elu"})],
    "poly_inception": [
        (SMALL, {"single": 2, "triple": [2, 3, 4]}),
        (SMALL, {"single": 2, "triple": [2, 3, 4], "kernel": 5, "times": 2, "scale": 0.5}),
    ],
    "hr_stage": [
        (SMALL, {"widths": [4, 6], "depth": 1}),
        (((4, 8, 8), (6, 4, 4)), {"widths": [4, 6, 8], "modules": 2, "depth": 1, "block": {"basic": {"kernel": 1}}}),
        ((3, 9, 7), {"widths": [3, 4, 4], "depth": 1}),
    ],
    "hr_gather": [(((4, 8, 8), (6, 4, 4), (8, 2, 2)), {"widths": [4, 8, 8], "out": 10})],
    # heads
    "flatten": [(SMALL, {})],
    "linear": [((6,), {}), ((5, 6), {"out": 4, "act": "softmax", "drop_connect": 0.2, "bias": False})],
    "weighted_pool": [(SMALL, {})],
    "vector_head": [(SMALL, {"hidden": [6, 5]})],
    "gap_head": [(SMALL, {"dropout": 0.2})],
    "weighted_gap_head": [(SMALL, {})],
    "pixel_head": [(SMALL, {}), (SMALL, {"average": False})],
    "maxout_linear": [((6,), {"out": 4})],
    "aux_head": [(SMALL, {"conv": 4, "hidden": 6, "kernel": 3})],
}
