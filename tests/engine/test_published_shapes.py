"""The blocks that published architectures are made of, each as a small net: shapes, both passes, and one gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.net_spec import NetSpec, Top
from farlayer.engine.net_spec import layers as L  # noqa: N812  # as users import them
from farlayer.engine.net_spec import params as P  # noqa: N812
from farlayer.protos import caffe_pb2

Shape = tuple[int, ...]
Array = NDArray[np.floating]
Fill = Callable[[np.random.Generator, Shape], Array]

SEED = 2
TOLERANCE = 1e-2  # of the gradient's norm, which is the usual size of its product with a direction of ones


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        define: gives a NetSpec its layers; ends in losses, or in tops whose gradient is drawn.
        shapes: of tops, as the architecture's paper or Caffe's formulas give them.
        checked: the layer whose first param's gradient is compared: an early one, so that all layers take part.
        fill: what the inputs hold that are no images.
        batched: whether the first axis of every input is the batch of 2.
        step: how far the param is moved: so little that no ReLU and no maximum changes sides, where there are any.
    """

    define: Callable[[NetSpec], None]
    shapes: Mapping[str, Shape]
    checked: str
    fill: Mapping[str, Fill] = field(default_factory=dict)
    batched: bool = True
    step: float = 1e-4

    def build(self, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN) -> Net:
        spec = NetSpec()
        self.define(spec)
        definition = spec.to_proto()
        definition.force_backward = not any(name.startswith("loss") for name in spec.keys())  # noqa: SIM118
        net = build_net(definition, phase, host=InProcessHost(), rng=np.random.default_rng(3))
        self.fill_inputs(net)
        return net

    def fill_inputs(self, net: Net) -> None:
        rng = np.random.default_rng(SEED)
        for name in net.inputs:
            blob = net.blobs[name]
            blob.data[...] = self.fill.get(name, images)(rng, blob.shape)


def images(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.standard_normal(shape)


def labels_below(count: int, *, ignored: int | None = None) -> Fill:
    def fill(rng: np.random.Generator, shape: Shape) -> Array:
        labels = rng.integers(0, count, shape).astype(np.float64)
        if ignored is not None:
            labels.reshape(-1)[::5] = ignored
        return labels

    return fill


def boxes(rng: np.random.Generator, shape: Shape) -> Array:
    """Ground truth of SSD: item, label, instance, corners between 0 and 1, difficult."""
    truth = np.zeros(shape)
    truth[0, 0, :, 0] = [0, 0, 1]
    truth[0, 0, :, 1] = [1, 2, 1]
    truth[0, 0, :, 3:5] = 0.4 * rng.random((3, 2))
    truth[0, 0, :, 5:7] = truth[0, 0, :, 3:5] + 0.2 + 0.3 * rng.random((3, 2))
    return truth


def rois(rng: np.random.Generator, shape: Shape) -> Array:
    corners = rng.integers(0, 20, (shape[0], 2))
    return np.hstack([np.zeros((shape[0], 1)), corners, corners + rng.integers(8, 20, (shape[0], 2))])


def later_sentences(rng: np.random.Generator, shape: Shape) -> Array:
    """0 where a sentence begins."""
    marks = np.ones(shape)
    marks[0] = 0
    marks[3, 1] = 0
    return marks


def given(*shape: int) -> Top:
    top: Top = L.Input(shape=dict(dim=list(shape)))
    return top


def conv(bottom: Top, num_output: int, kernel_size: int = 1, **params: object) -> Top:
    top: Top = L.Convolution(
        bottom, num_output=num_output, kernel_size=kernel_size, weight_filler=dict(type="msra"), **params
    )
    return top


def fully_connected(bottom: Top, num_output: int, **params: object) -> Top:
    top: Top = L.InnerProduct(bottom, num_output=num_output, weight_filler=dict(type="xavier"), **params)
    return top


def normalized(n: NetSpec, name: str, convolved: Top, *, relu: bool = True) -> Top:
    """The usual four layers over one blob: Convolution, then BatchNorm, Scale and ReLU in place."""
    n[name] = convolved
    n[f"{name}/bn"] = L.BatchNorm(n[name], in_place=True)
    last = n[f"{name}/scale"] = L.Scale(n[f"{name}/bn"], bias_term=True, in_place=True)
    if relu:
        last = n[f"{name}/relu"] = L.ReLU(last, in_place=True)
    top: Top = last
    return top


def alexnet(n: NetSpec) -> None:
    n.data, n.label = given(2, 3, 39, 39), given(2)
    n.conv1 = conv(n.data, 6, 11, stride=4)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.norm1 = L.LRN(n.relu1, local_size=5, alpha=1e-1, beta=0.75)
    n.pool1 = L.Pooling(n.norm1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.conv2 = conv(n.pool1, 8, 5, pad=2, group=2)
    n.relu2 = L.ReLU(n.conv2, in_place=True)
    n.norm2 = L.LRN(n.relu2, local_size=3, alpha=5e-2, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL)
    n.fc = fully_connected(n.norm2, 5)
    n.accuracy = L.Accuracy(n.fc, n.label, top_k=2)
    n.loss = L.SoftmaxWithLoss(n.fc, n.label)


def resnet(n: NetSpec) -> None:
    n.data = given(2, 8, 7, 7)
    shortcut = normalized(n, "branch1", conv(n.data, 16, stride=2, bias_term=False), relu=False)
    a = normalized(n, "branch2a", conv(n.data, 4, stride=2, bias_term=False))
    b = normalized(n, "branch2b", conv(a, 4, 3, pad=1, bias_term=False))
    c = normalized(n, "branch2c", conv(b, 16, bias_term=False), relu=False)
    n.res = L.Eltwise(shortcut, c)
    n.relu = L.ReLU(n.res, in_place=True)


def inception(n: NetSpec) -> None:
    n.data = given(2, 6, 8, 8)
    n.reduce3, n.reduce5 = conv(n.data, 3), conv(n.data, 2)
    for name in ("reduce3", "reduce5"):
        n[f"relu_{name}"] = L.ReLU(n[name], in_place=True)
    n.one, n.three = conv(n.data, 4), conv(n.relu_reduce3, 5, 3, pad=1)
    n.five = conv(n.relu_reduce5, 3, 5, pad=2)
    n.pool = L.Pooling(n.data, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
    n.proj = conv(n.pool, 2)
    n.output = L.Concat(n.one, n.three, n.five, n.proj)


def inception_v4(n: NetSpec) -> None:
    n.data = given(2, 4, 9, 9)
    n.one_by_seven = conv(n.data, 5, kernel_size=[1, 7], pad=[0, 3])
    n.seven_by_one = L.Convolution(
        n.one_by_seven, num_output=6, kernel_h=7, kernel_w=1, pad_h=3, pad_w=0, weight_filler=dict(type="msra")
    )
    n.reduction = conv(n.seven_by_one, 3, 3, stride=2)
    n.pool = L.Pooling(n.data, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.output = L.Concat(n.pool, n.reduction)


def densenet(n: NetSpec) -> None:
    n.data = given(2, 6, 8, 8)
    bottom = n.data
    for step in (1, 2):
        n[f"bn{step}"] = L.BatchNorm(bottom)
        n[f"scale{step}"] = L.Scale(n[f"bn{step}"], bias_term=True, in_place=True)
        n[f"relu{step}"] = L.ReLU(n[f"scale{step}"], in_place=True)
        narrow = normalized(n, f"narrow{step}", conv(n[f"relu{step}"], 8, bias_term=False))
        n[f"grown{step}"] = conv(narrow, 4, 3, pad=1, bias_term=False)
        bottom = n[f"concat{step}"] = L.Concat(bottom, n[f"grown{step}"])
    n.transition = conv(bottom, 7)
    n.pool = L.Pooling(n.transition, pool=P.Pooling.AVE, kernel_size=2, stride=2)


def mobilenet(depthwise: Callable[..., Top]) -> Callable[[NetSpec], None]:
    def define(n: NetSpec) -> None:
        n.data = given(2, 6, 9, 9)
        n.stem = conv(n.data, 6)
        deep = depthwise(
            n.stem,
            convolution_param=dict(
                num_output=6,
                group=6,
                kernel_size=3,
                stride=2,
                pad=1,
                bias_term=False,
                weight_filler=dict(type="msra"),
            ),
        )
        n.sep = conv(normalized(n, "dw", deep), 10, bias_term=False)

    return define


def shufflenet(n: NetSpec) -> None:
    n.data = given(2, 12, 8, 8)
    first = normalized(n, "conv1", conv(n.data, 6, group=3, bias_term=False))
    n.shuffle = L.ShuffleChannel(first, group=3)
    second = normalized(n, "conv2", conv(n.shuffle, 6, 3, group=6, stride=2, pad=1, bias_term=False), relu=False)
    third = normalized(n, "conv3", conv(second, 12, group=3, bias_term=False), relu=False)
    n.match = L.Pooling(n.data, pool=P.Pooling.AVE, kernel_size=3, stride=2)
    n.concat = L.Concat(n.match, third)
    n.relu = L.ReLU(n.concat, in_place=True)


def shufflenet_v2(n: NetSpec) -> None:
    n.data = given(2, 3, 6, 6)
    n.stem = conv(n.data, 8)
    n.kept, n.taken = L.Slice(n.stem, axis=1, slice_point=4, ntop=2)
    first = normalized(n, "conv1", conv(n.taken, 4, bias_term=False))
    second = normalized(n, "conv2", conv(first, 4, 3, group=4, pad=1, bias_term=False), relu=False)
    n.concat = L.Concat(n.kept, second)
    n.shuffle = L.ShuffleChannel(n.concat, group=2)


def squeeze_and_excitation(n: NetSpec) -> None:
    n.data = given(2, 8, 6, 6)
    x = normalized(n, "increase", conv(n.data, 8, 3, pad=1, bias_term=False), relu=False)
    n.squeeze = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    n.down = conv(n.squeeze, 4)
    n.down_relu = L.ReLU(n.down, in_place=True)
    n.up = conv(n.down_relu, 8)
    n.prob = L.Sigmoid(n.up, in_place=True)
    n.axpy = L.Axpy(n.prob, x, n.data)
    n.relu = L.ReLU(n.axpy, in_place=True)


def fcn(n: NetSpec) -> None:
    """Two scores of different strides, fused; all sizes are those that convolution and rounding up leave over."""
    n.data, n.label = given(2, 3, 16, 16), given(2, 1, 16, 16)
    n.conv1 = conv(n.data, 5, 3, pad=4)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.conv2 = conv(n.pool1, 6, 3, pad=1)
    n.relu2 = L.ReLU(n.conv2, in_place=True)
    n.pool2 = L.Pooling(n.relu2, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.score2 = conv(n.pool2, 4, 3)
    twice = dict(num_output=4, group=4, kernel_size=4, stride=2, bias_term=False, weight_filler=dict(type="bilinear"))
    n.upscore2 = L.Deconvolution(n.score2, convolution_param=twice, param=dict(lr_mult=0))
    n.score1 = conv(n.pool1, 4)
    n.score1c = L.Crop(n.score1, n.upscore2, axis=2, offset=1)
    n.fuse = L.Eltwise(n.upscore2, n.score1c, operation=P.Eltwise.SUM)
    n.upscore = L.Deconvolution(n.fuse, convolution_param=twice, param=dict(lr_mult=0))
    n.score = L.Crop(n.upscore, n.data, axis=2, offset=3)
    n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param=dict(ignore_label=255, normalize=False))


def segnet(n: NetSpec) -> None:
    n.data, n.label = given(2, 3, 9, 12), given(2, 1, 9, 12)
    n.norm = L.LRN(n.data, local_size=5, alpha=1e-4, beta=0.75)
    fillers = dict(scale_filler=dict(type="constant", value=1), shift_filler=dict(type="constant", value=0.001))
    n.conv1 = conv(n.norm, 6, 3, pad=1)
    n.bn1 = L.BN(n.conv1, in_place=True, **fillers)
    n.relu1 = L.ReLU(n.bn1, in_place=True)
    n.pool1, n.mask1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2, ntop=2)
    n.decode1 = L.Upsample(n.pool1, n.mask1, scale=2, pad_out_h=True)
    n.conv_decode1 = conv(n.decode1, 6, 3, pad=1)
    n.bn_decode1 = L.BN(n.conv_decode1, in_place=True, **fillers)
    n.classes = conv(n.bn_decode1, 3)
    n.loss = L.SoftmaxWithLoss(
        n.classes,
        n.label,
        loss_param=dict(ignore_label=3, weight_by_label_freqs=True, class_weighting=[0.5, 2, 1]),
    )


def pspnet(n: NetSpec) -> None:
    n.data = given(2, 4, 12, 12)
    n.conv5 = conv(n.data, 6, 3, pad=2, dilation=2)
    levels = []
    for size in (12, 6, 4):
        n[f"pool{size}"] = L.Pooling(n.conv5, pool=P.Pooling.AVE, kernel_size=size, stride=size)
        n[f"conv{size}"] = conv(n[f"pool{size}"], 3, bias_term=False)
        n[f"bn{size}"] = L.BN(n[f"conv{size}"], slope_filler=dict(type="constant", value=1), in_place=True)
        n[f"level{size}"] = L.Interp(n[f"bn{size}"], height=12, width=12)
        levels.append(n[f"level{size}"])
    n.pyramid = L.Concat(n.conv5, *levels)
    n.conv6 = conv(n.pyramid, 5)
    n.output = L.Interp(n.conv6, zoom_factor=4)


def ssd_predictions(n: NetSpec) -> list[Top]:
    """Locations, confidences and priors: 4 a place, over 8x8 and 4x4 places, for 3 classes."""
    n.data = given(2, 3, 32, 32)
    n.conv4 = conv(n.data, 6, 4, stride=4)
    n.relu4 = L.ReLU(n.conv4, in_place=True)
    n.fc7 = conv(n.relu4, 8, 3, stride=2, pad=1)
    n.norm4 = L.Normalize(
        n.relu4, across_spatial=False, channel_shared=False, scale_filler=dict(type="constant", value=20)
    )
    found: dict[str, list[Top]] = {"loc": [], "conf": [], "prior": []}
    for source, min_size in (("norm4", 6.0), ("fc7", 12.0)):
        for kind, values in (("loc", 4), ("conf", 3)):
            predicted = n[f"{source}_{kind}"] = conv(n[source], 4 * values, 3, pad=1)
            permuted = n[f"{source}_{kind}_perm"] = L.Permute(predicted, order=[0, 2, 3, 1])
            found[kind].append(L.Flatten(permuted, axis=1))
        prior = L.PriorBox(
            n[source],
            n.data,
            min_size=min_size,
            max_size=2 * min_size,
            aspect_ratio=2.0,
            flip=True,
            variance=[0.1, 0.1, 0.2, 0.2],
        )
        found["prior"].append(prior)
    n.loc, n.conf = L.Concat(*found["loc"], axis=1), L.Concat(*found["conf"], axis=1)
    n.prior = L.Concat(*found["prior"], axis=2)
    return [n.loc, n.conf, n.prior]


def ssd(n: NetSpec) -> None:
    predictions = ssd_predictions(n)
    n.label = given(1, 1, 3, 8)
    n.loss = L.MultiBoxLoss(
        *predictions,
        n.label,
        num_classes=3,
        code_type=P.PriorBox.CENTER_SIZE,
        mining_type=P.MultiBoxLoss.MAX_NEGATIVE,
        neg_pos_ratio=3.0,
        propagate_down=[True, True, False, False],
    )


def faster_rcnn(n: NetSpec) -> None:
    n.data, n.rois, n.labels = given(1, 3, 40, 48), given(7, 5), given(7)
    for name in ("targets", "inside", "outside"):
        n[name] = given(7, 16)
    n.conv5 = conv(n.data, 6, 4, stride=4)
    n.relu5 = L.ReLU(n.conv5, in_place=True)
    n.pool5 = L.ROIPooling(n.relu5, n.rois, pooled_h=3, pooled_w=3, spatial_scale=0.25)
    n.fc6 = fully_connected(n.pool5, 20)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.cls_score, n.bbox_pred = fully_connected(n.relu6, 4), fully_connected(n.relu6, 16)
    n.loss_cls = L.SoftmaxWithLoss(n.cls_score, n.labels, propagate_down=[True, False], loss_weight=1)
    n.loss_bbox = L.SmoothL1Loss(n.bbox_pred, n.targets, n.inside, n.outside, sigma=3.0, loss_weight=2)


def rfcn(n: NetSpec) -> None:
    n.data, n.rois, n.labels = given(1, 3, 40, 48), given(7, 5), given(7)
    n.conv5 = conv(n.data, 3 * 3 * 3, 4, stride=4)
    n.by_place = L.PSROIPooling(n.conv5, n.rois, output_dim=3, group_size=3, spatial_scale=0.25)
    n.cls_score = L.Pooling(n.by_place, pool=P.Pooling.AVE, kernel_size=3, stride=3)
    n.loss = L.SoftmaxWithLoss(n.cls_score, n.labels, loss_param=dict(ignore_label=-1))


def siamese(n: NetSpec) -> None:
    n.pair, n.same = given(6, 2, 9, 9), given(6)
    n.data, n.data_p = L.Slice(n.pair, slice_point=1, ntop=2)
    for end in ("", "_p"):
        n[f"conv{end}"] = conv(n[f"data{end}"], 4, 3, param=[dict(name="conv_w"), dict(name="conv_b", lr_mult=2)])
        n[f"pool{end}"] = L.Pooling(n[f"conv{end}"], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        n[f"feat{end}"] = fully_connected(n[f"pool{end}"], 2, param=[dict(name="feat_w"), dict(name="feat_b")])
    n.loss = L.ContrastiveLoss(n.feat, n.feat_p, n.same, margin=1)


def lrcn(n: NetSpec) -> None:
    n.words, n.cont, n.target = given(5, 3), given(5, 3), given(5, 3)
    n.image = given(3, 4, 2, 2)
    n.fc8 = fully_connected(n.image, 6)
    uniform = dict(type="uniform", min=-0.5, max=0.5)
    n.embedded = L.Embed(n.words, input_dim=11, num_output=7, bias_term=False, weight_filler=uniform)
    n.lstm1 = L.LSTM(n.embedded, n.cont, recurrent_param=dict(num_output=8, weight_filler=uniform))
    n.lstm2 = L.LSTM(n.lstm1, n.cont, n.fc8, recurrent_param=dict(num_output=8, weight_filler=uniform))
    n.predict = fully_connected(n.lstm2, 11, axis=2)
    n.loss = L.SoftmaxWithLoss(
        n.predict, n.target, loss_weight=20, loss_param=dict(ignore_label=-1), softmax_param=dict(axis=2)
    )


MOBILENET = {"dw": (2, 6, 5, 5), "sep": (2, 10, 5, 5)}
ROIS: Mapping[str, Fill] = {"rois": rois, "labels": labels_below(3)}
WORDS: Mapping[str, Fill] = {"words": labels_below(11), "cont": later_sentences, "target": labels_below(11, ignored=-1)}

BLOCKS = {
    "AlexNet": Block(
        alexnet,
        {"conv1": (2, 6, 8, 8), "pool1": (2, 6, 4, 4), "norm2": (2, 8, 4, 4), "fc": (2, 5), "accuracy": (), "loss": ()},
        checked="conv1",
        fill={"label": labels_below(5)},
    ),
    "ResNet bottleneck": Block(
        resnet, {"branch1": (2, 16, 4, 4), "branch2b": (2, 4, 4, 4), "res": (2, 16, 4, 4)}, checked="branch2a"
    ),
    "Inception block": Block(inception, {"pool": (2, 6, 8, 8), "output": (2, 14, 8, 8)}, checked="reduce5"),
    "Inception-v4 reduction": Block(
        inception_v4,
        {"one_by_seven": (2, 5, 9, 9), "seven_by_one": (2, 6, 9, 9), "output": (2, 7, 4, 4)},
        checked="one_by_seven",
    ),
    "dense block": Block(
        densenet, {"concat1": (2, 10, 8, 8), "concat2": (2, 14, 8, 8), "pool": (2, 7, 4, 4)}, checked="narrow1"
    ),
    "depthwise separable by groups": Block(mobilenet(L.Convolution), MOBILENET, checked="stem"),
    "depthwise separable": Block(mobilenet(L.DepthwiseConvolution), MOBILENET, checked="stem"),
    "shuffle unit": Block(
        shufflenet,
        {"shuffle": (2, 6, 8, 8), "conv2": (2, 6, 4, 4), "match": (2, 12, 4, 4), "concat": (2, 24, 4, 4)},
        checked="conv1",
    ),
    "shuffle unit of version 2": Block(
        shufflenet_v2, {"taken": (2, 4, 6, 6), "concat": (2, 8, 6, 6), "shuffle": (2, 8, 6, 6)}, checked="stem"
    ),
    "squeeze and excitation": Block(
        squeeze_and_excitation,
        {"squeeze": (2, 8, 1, 1), "down": (2, 4, 1, 1), "axpy": (2, 8, 6, 6)},
        checked="increase",
    ),
    "FCN fusion": Block(
        fcn,
        {
            "conv1": (2, 5, 22, 22),
            "pool2": (2, 6, 6, 6),
            "upscore2": (2, 4, 10, 10),
            "score1": (2, 4, 11, 11),
            "score1c": (2, 4, 10, 10),
            "upscore": (2, 4, 22, 22),
            "score": (2, 4, 16, 16),
            "loss": (),
        },
        checked="conv1",
        fill={"label": labels_below(4, ignored=255)},
    ),
    "SegNet": Block(
        segnet,
        {"pool1": (2, 6, 5, 6), "mask1": (2, 6, 5, 6), "decode1": (2, 6, 9, 12), "classes": (2, 3, 9, 12)},
        checked="conv1",
        fill={"label": labels_below(3, ignored=3)},
    ),
    "PSP pyramid": Block(
        pspnet,
        {
            "pool12": (2, 6, 1, 1),
            "pool6": (2, 6, 2, 2),
            "pool4": (2, 6, 3, 3),
            "pyramid": (2, 15, 12, 12),
            "output": (2, 5, 45, 45),
        },
        checked="conv5",
    ),
    "SSD head": Block(
        ssd,
        {
            "conv4": (2, 6, 8, 8),
            "fc7": (2, 8, 4, 4),
            "norm4_loc_perm": (2, 8, 8, 16),
            "loc": (2, 4 * 320),
            "conf": (2, 3 * 320),
            "prior": (1, 2, 4 * 320),
            "loss": (),
        },
        checked="conv4",
        fill={"label": boxes},
        batched=False,
    ),
    "Faster R-CNN head": Block(
        faster_rcnn,
        {"conv5": (1, 6, 10, 12), "pool5": (7, 6, 3, 3), "cls_score": (7, 4), "bbox_pred": (7, 16), "loss_bbox": ()},
        checked="conv5",
        fill=ROIS,
        batched=False,
    ),
    "R-FCN head": Block(
        rfcn,
        {"conv5": (1, 27, 10, 12), "by_place": (7, 3, 3, 3), "cls_score": (7, 3, 1, 1)},
        checked="conv5",
        fill=ROIS,
        batched=False,
    ),
    "siamese net": Block(
        siamese,
        {"data_p": (6, 1, 9, 9), "pool": (6, 4, 4, 4), "pool_p": (6, 4, 4, 4), "feat_p": (6, 2), "loss": ()},
        checked="conv",
        fill={"same": labels_below(2)},
        batched=False,
    ),
    "captioning with LSTMs": Block(
        lrcn,
        {"embedded": (5, 3, 7), "lstm1": (5, 3, 8), "lstm2": (5, 3, 8), "predict": (5, 3, 11), "loss": ()},
        checked="embedded",
        fill=WORDS,
        batched=False,
        step=1e-2,
    ),
}
every_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())


def shapes_of(net: Net, names: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name: net.blobs[name].shape for name in names}


def write_gradients_of_outputs(net: Net) -> dict[str, Array]:
    """Draws the gradient of each output that is no loss; gives those of all outputs."""
    rng, weights = np.random.default_rng(5), net.loss_weights()
    gradients = {
        name: np.full((), weights[name]) if name in weights else rng.standard_normal(net.blobs[name].shape)
        for name in net.outputs
    }
    for name, gradient in gradients.items():
        net.blobs[name].diff[...] = gradient
    return gradients


@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST], ids=["TRAIN", "TEST"])
@every_block
def test_tops_have_the_shapes_of_the_architecture(block: Block, phase: caffe_pb2.Phase.ValueType) -> None:
    net = block.build(phase)
    assert shapes_of(net, block.shapes) == block.shapes
    net.forward()
    assert shapes_of(net, block.shapes) == block.shapes
    for name, blob in net.blobs.items():
        assert np.isfinite(blob.data).all(), name


@every_block
def test_every_layer_that_learns_gets_a_gradient(block: Block) -> None:
    net = block.build()
    net.forward()
    write_gradients_of_outputs(net)
    net.clear_param_diffs()
    net.backward()
    for layer in net.layers:
        for param in layer.params:
            assert np.isfinite(param.diff).all(), layer.name
        # BatchNorm's params are statistics, which have no gradient.
        if any(layer.param_propagate_down) and layer.type_name != "BatchNorm":
            assert np.any(layer.params[0].diff), layer.name


@every_block
def test_the_gradient_through_the_whole_block_is_that_of_finite_differences(block: Block) -> None:
    net = block.build()
    net.forward()
    gradients = write_gradients_of_outputs(net)
    net.clear_param_diffs()
    net.backward()
    param = net.layer(block.checked).params[0]
    values, gradient = param.data.copy(), param.diff.astype(np.float64)
    rng = np.random.default_rng(6)

    def objective(moved: Array) -> float:
        param.data[...] = moved
        net.forward()
        return sum(float(np.vdot(weights, net.blobs[name].data)) for name, weights in gradients.items())

    for _ in range(2):
        direction = rng.choice([-1.0, 1.0], param.shape)
        numeric = (objective(values + block.step * direction) - objective(values - block.step * direction)) / (
            2 * block.step
        )
        assert numeric == pytest.approx(np.vdot(gradient, direction), abs=TOLERANCE * np.linalg.norm(gradient))
    assert np.any(gradient)


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS.values() if block.batched],
    ids=[name for name in BLOCKS if BLOCKS[name].batched],
)
def test_a_larger_batch_is_followed_in_the_same_pass(block: Block) -> None:
    net = block.build()
    net.forward()
    for name in net.inputs:
        net.blobs[name].reshape(5, *net.blobs[name].shape[1:])
    block.fill_inputs(net)
    net.forward()
    assert shapes_of(net, block.shapes) == {
        name: (5, *shape[1:]) if shape else () for name, shape in block.shapes.items()
    }
    write_gradients_of_outputs(net)
    net.backward()


def test_the_two_halves_of_a_siamese_net_learn_one_set_of_weights() -> None:
    net = BLOCKS["siamese net"].build()
    first, second = (net.layer(name).params for name in ("conv", "conv_p"))
    assert len(net.learnable_params) == 4
    for ours, theirs in zip(first, second, strict=True):
        assert np.shares_memory(ours.data, theirs.data)
        assert np.shares_memory(ours.diff, theirs.diff)


def test_an_ssd_head_in_phase_test_gives_rows_of_seven_values() -> None:
    def define(n: NetSpec) -> None:
        loc, conf, prior = ssd_predictions(n)
        n.rows = L.Reshape(conf, shape=dict(dim=[0, -1, 3]))
        n.softmax = L.Softmax(n.rows, axis=2)
        n.flat = L.Flatten(n.softmax, axis=1)
        n.found = L.DetectionOutput(
            loc,
            n.flat,
            prior,
            detection_output_param=dict(
                num_classes=3,
                code_type=P.PriorBox.CENTER_SIZE,
                nms_param=dict(nms_threshold=0.45, top_k=40),
                keep_top_k=20,
                confidence_threshold=0.3,
            ),
        )

    block = Block(define, {"rows": (2, 320, 3), "flat": (2, 960)}, checked="conv4")
    net = block.build(caffe_pb2.TEST)
    net.forward()
    assert shapes_of(net, block.shapes) == block.shapes
    found = net.blobs["found"]
    assert found.shape == (1, 1, 40, 7)  # 20 of each image
    image, label, score = found.data[0, 0, :, :3].T
    np.testing.assert_array_equal(image, np.repeat([0, 1], 20))
    assert set(label) <= {1, 2}
    assert (score > 0.3).all()
