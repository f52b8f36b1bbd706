"""Inputs and arguments for every block of tokens, attention, recurrent and necks, for the contracts.

block name -> [(input shape, arguments)]; a tuple of shapes where the block reads several inputs.
"""

from __future__ import annotations

from typing import Any

from nasforge.blocks.core.shapes import Tokens

EXAMPLES: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    # tokens
    "embedding": [(Tokens(5, 11), {"out": 6}), (Tokens(5, 11), {"out": 6, "scale": True})],
    "tied_embedding": [(Tokens(5, 11), {"out": 6})],
    "tied_linear": [(((5, 6), (11, 6)), {}), (((6,), (11, 6)), {"bias": False})],
    "transpose": [((5, 6), {})],
    "positions": [((5, 6), {}), ((5, 6), {"kind": "sinusoidal_split"}), ((5, 6), {"kind": "learned"})],
    "patches": [((3, 8, 8), {"size": 4, "out": 6}), ((3, 9, 9), {"size": 3, "out": 6, "stride": 2, "pad": 1})],
    "class_token": [((5, 6), {})],
    "take": [((5, 6), {}), ((5, 6), {"index": "last"}), ((5, 6), {"index": -2})],
    "to_image": [((9, 6), {}), ((7, 6), {"size": [2, 3], "skip": 1})],
    "to_sequence": [
        ((3, 4, 5), {}),
        ((3, 4, 5), {"by": "row"}),
        ((3, 4, 5), {"by": "column"}),
        ((3, 4, 5, 5), {"by": "frame"}),
        ((7,), {"by": "value"}),
    ],
    "join_steps": [((7, 3), {"count": 2})],
    "patch_merging": [((16, 6), {}), ((15, 6), {"size": [3, 5], "out": 8})],
    # attention
    "attention": [
        ((5, 8), {"heads": 2}),
        ((5, 8), {"heads": 2, "causal": True, "dropout": 0.1, "bias": False}),
        ((5, 8), {"heads": 3, "head_width": 4, "value_width": 2, "out": 6}),
        ((7, 8), {"heads": 2, "window": 2, "causal": True}),
    ],
    "cross_attention": [
        (((5, 8), (7, 6)), {"heads": 2}),
        (((5, 8), (7, 6)), {"heads": 3, "head_width": 4, "value_width": 2, "out": 6, "dropout": 0.1, "bias": False}),
    ],
    "attend": [
        (((5, 6), (7, 6)), {}),
        (((6,), (7, 6)), {"score": "scaled", "join": "concat"}),
        (((5, 8), (7, 6)), {"score": "general"}),
        (((5, 8), (7, 6)), {"score": "additive", "hidden": 4, "join": "concat"}),
        (((8,), (7, 6)), {"score": "location"}),
        (((5, 6),), {}),
    ],
    "attention_pool": [((5, 6), {}), ((5, 6), {"hidden": 3})],
    "image_attention": [
        ((8, 4, 5), {}),
        ((8, 4, 5), {"heads": 2, "width": 6, "project": False, "scale": True, "relative": True}),
    ],
    "window_attention": [
        ((16, 8), {"heads": 2, "window": 2}),
        ((16, 8), {"heads": 2, "window": 2, "shift": True}),
        ((30, 8), {"heads": 2, "window": 4, "shift": True, "size": [5, 6], "dropout": 0.1}),
    ],
    "ffn": [((5, 6), {}), ((6,), {"hidden": 7, "act": "gelu", "dropout": 0.1})],
    "experts": [((5, 6), {"count": 3, "top": 2}), ((6,), {"count": 2, "hidden": 7})],
    "encoder_layer": [((5, 8), {"heads": 2}), ((5, 8), {"heads": 2, "hidden": 12, "order": "pre", "dropout": 0.1})],
    "decoder_layer": [(((5, 8), (7, 8)), {"heads": 2}), (((5, 8), (7, 6)), {"heads": 2, "order": "pre"})],
    "swin_pair": [((16, 8), {"heads": 2, "window": 2})],
    "bot": [
        ((16, 6, 6), {"out": 16, "heads": 2}),
        ((8, 5, 6), {"out": 16, "heads": 2, "stride": 2, "relative": False}),
    ],
    # recurrent
    "rnn": [((5, 6), {"hidden": 4}), ((5, 6), {"hidden": 4, "act": "relu", "layers": 2, "output": "last"})],
    "gru": [
        ((5, 6), {"hidden": 4}),
        ((5, 6), {"hidden": 4, "layers": 2, "bidirectional": True, "dropout": 0.1, "bias": "double"}),
        ((5, 6), {"hidden": 4, "layers": 2, "bidirectional": True, "merge": "add", "output": "last"}),
        ((5, 6), {"hidden": 4, "layers": 2, "bidirectional": True, "reset": "before", "dropout": 0.1}),
    ],
    "lstm": [
        ((5, 6), {"hidden": 4}),
        ((5, 6), {"hidden": 4, "layers": 2, "bidirectional": True, "merge": "add", "dropout": 0.1}),
        ((5, 6), {"hidden": 4, "bidirectional": True, "output": "last", "bias": "double"}),
        ((5, 6), {"hidden": 4, "cell": "peephole"}),
        ((5, 6), {"hidden": 4, "cell": "no_forget", "layers": 2, "bidirectional": True, "merge": "add"}),
    ],
    "recurrent_cell": [
        ((5, 6), {"hidden": 4, "nodes": {"f": {"op": "linear", "from": ["x", "h_prev_0"]}, "h_new_0": {"op": "tanh", "from": "f"}}}),
        (
            (5, 4),
            {
                "hidden": 4,
                "output": "last",
                "nodes": {
                    "h_new_0": {"op": "blend", "from": ["z", "both", "h_new_1"]},
                    "z": {"op": "sigmoid", "from": ["c"]},
                    "c": {"op": "linear", "from": ["h_prev_1", "h_prev_0"]},
                    "h_new_1": {"op": "linear", "from": ["x"]},
                    "bent": {"op": "leaky_relu", "from": ["h_prev_1"]},
                    "both": {"op": "mul", "from": ["bent", "sum", "x"]},
                    "sum": {"op": "add", "from": ["h_prev_0", "x"]},
                    "dead": {"op": "linear", "from": ["z"]},
                },
            },
        ),
    ],
    "conv_lstm": [((2, 3, 5, 4), {"hidden": 3}), ((2, 3, 5, 4), {"hidden": 3, "peephole": False, "output": "last"})],
    "renet": [((2, 4, 6), {"hidden": 3}), ((2, 4, 6), {"hidden": 3, "patch": 2, "cell": "lstm"})],
    "time_distributed": [
        ((5, 6), {"block": {"linear": {"out": 4}}}),
        ((2, 3, 5, 4), {"block": [{"conv": {"out": 3}}, {"pool": {"kind": "max", "kernel": 2}}]}),
        ((2, 3, 5, 4), {"block": [{"conv": {"out": 3}}, {"pool": {"kind": "avg"}}]}),
    ],
    "stacked": [((5, 6), {"cell": "gru", "widths": [4, 3], "dropout": 0.1, "output": "last"})],
    "residual_recurrent": [((5, 4), {"cell": "lstm", "hidden": 4, "layers": 2})],
    "pyramidal": [((9, 6), {"cell": "lstm", "hidden": 4, "layers": 3})],
    "tcn_block": [
        ((9, 4), {"out": 4}),
        ((9, 4), {"out": 6, "dilation": 2, "convs": 1, "dropout": 0.1, "weight": "plain"}),
    ],
    "tcn": [((9, 4), {"out": 6, "levels": 2})],
    # necks
    "concat": [
        (((2, 4, 4), (3, 4, 4)), {}),
        (((2, 4, 4), (3, 6, 7)), {"crop": True}),
        (((5, 2), (5, 3), (5, 1)), {}),
        (((2,), (3,)), {}),
    ],
    "add": [(((2, 4, 4), (2, 4, 4), (2, 4, 4)), {}), (((5, 2), (5, 2)), {})],
    "resize_to": [(((2, 3, 3), (3, 6, 7)), {}), (((2, 8, 8), (3, 4, 4)), {"kind": "nearest"})],
    "up": [
        ((4, 3, 5), {}),
        ((4, 3, 5), {"expand": 0.5, "kernel": 4}),
        ((4, 3, 5), {"kind": "bilinear", "factor": 3}),
        ((4, 3, 5), {"kind": "nearest", "out": 2}),
    ],
    "pooled_map": [((4, 6, 5), {}), ((4, 6, 5), {"bins": 3, "expand": 0.5, "norm": "none"})],
    "fuse_maps": [
        (((4, 8, 8), (6, 4, 4), (8, 2, 2)), {}),
        (((4, 7, 8), (6, 4, 4)), {"out": 3, "kind": "nearest"}),
        (((4, 8, 8), (6, 4, 4)), {"join": "concat"}),
    ],
    "fpn": [(((4, 8, 8), (6, 4, 4), (8, 2, 2)), {"out": 5}), (((4, 7, 9), (6, 4, 5)), {"out": 5, "extra": 1})],
    "bifpn": [(((4, 8, 8), (6, 4, 4), (8, 2, 2)), {"out": 6}), (((6, 7, 9), (6, 4, 5)), {"out": 6})],
    "double_conv": [((3, 6, 6), {"out": 4}), ((3, 6, 6), {"out": 4, "residual": True, "norm": "none"})],
    "unet_down": [((3, 6, 6), {"out": 4})],
    "unet_up": [
        (((8, 3, 3), (4, 6, 6)), {"out": 4}),
        (((8, 3, 3), (4, 7, 6)), {"out": 4, "kind": "bilinear", "residual": True}),
    ],
    "aspp": [((4, 7, 7), {"out": 5, "rates": [2, 3]}), ((4, 7, 7), {"out": 5, "image": False, "dropout": 0.1})],
    "pyramid_pooling": [((8, 6, 6), {}), ((8, 6, 6), {"bins": [1, 2]})],
    "extra_level": [
        ((6, 8, 8), {"squeeze": 3, "out": 5}),
        ((6, 3, 3), {"squeeze": 3, "out": 5, "stride": 1, "pad": "valid"}),
    ],
}
