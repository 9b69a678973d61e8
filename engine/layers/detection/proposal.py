"""Proposal: the regions of an image that most look like objects, from scores and codes of anchors."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.detection.boxes import Array, BoxCode
from farlayer.engine.layers.detection.nms import best_first, suppress
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

_CODE = BoxCode(caffe_pb2.PriorBoxParameter.CENTER_SIZE, variance_in_target=True)


def generate_anchors(base_size: int, ratios: list[float], scales: list[float]) -> Array:
    """Gives the anchors of the first cell as corners, in whole pixels that both belong to the box; shape (A, 4).

    A square of base_size is given each ratio of height to width at the same area, rounded to whole pixels, then each
    scale, about the same center.

    Source: py-faster-rcnn, lib/rpn/generate_anchors.py.
    """
    area = base_size * base_size
    center = (base_size - 1) / 2
    anchors = []
    for ratio in ratios:
        width = np.floor(np.sqrt(area / ratio) + 0.5)
        height = np.floor(width * ratio + 0.5)
        for scale in scales:
            half = np.array([width * scale - 1, height * scale - 1]) / 2
            anchors.append([*(center - half), *(center + half)])
    return np.array(anchors, np.float32)


@register("Proposal")
class ProposalLayer(Layer):
    """Of A anchors a cell, moved as the net says, the best that non-maximum suppression leaves.

    bottom[0]: scores, shape (N, 2 A, H, W), those of objects in the second half of the channels.
    bottom[1]: codes of the anchors (CENTER_SIZE), shape (N, 4 A, H, W).
    bottom[2]: size of the images, a row each or one for all: height, width, scale, or scale of height and of width.
    top[0]: regions, shape (R, 5): image, x1, y1, x2, y2 in pixels that both belong to the region, best first for each
        image, at most post_nms_topn an image; R is known in forward. top[1], where named: their scores, shape (R,).
    Boxes are clipped to the image; one smaller than min_size * scale in width or height gets a score of 0. Of the best
    pre_nms_topn boxes those remain that overlap no better one by more than nms_thresh.
    What is allocated is in proportion to the smaller of pre_nms_topn and the number of anchors.
    Differs from Caffe (the forks): each image of a batch may have a size of its own, where theirs all have the first
    one's, or there is but one; backward gives the bottoms zeros, since the choice of regions has no gradient, where
    theirs stops the run; equal scores keep their order, cell by cell, which a quicksort there mixes up.
    Source: the C++ Proposal layer of PVANET's Caffe, as in openvinotoolkit/training_toolbox_caffe and
    happynear/caffe-windows, src/caffe/layers/proposal_layer.cpp, src/caffe/util/nms.cpp.
    """

    exact_num_bottom = 3
    min_num_top = 1
    max_num_top = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.proposal_param
        ratios, scales = list(param.ratio), list(param.scale)
        if not ratios or not scales or not min(*ratios, *scales) > 0:
            raise self.error(f"ratio is {ratios} and scale is {scales}", remedy="give one or more of both, all above 0")
        for field in ("feat_stride", "base_size", "pre_nms_topn", "post_nms_topn"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} is 0", remedy="use 1 or more")
        if not param.nms_thresh >= 0:
            raise self.error(f"nms_thresh is {param.nms_thresh:g}", remedy="use 0 or more")
        self._anchors = generate_anchors(param.base_size, ratios, scales)
        # With corners on the borders of their pixels: width and height are then differences.
        self._anchors_on_borders = self._anchors + np.array([0, 0, 1, 1], np.float32)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        num_anchors = len(self._anchors)
        num, height, width = bottom[0].num, bottom[0].height, bottom[0].width
        for blob, what, values in ((bottom[0], "scores", 2), (bottom[1], "codes", 4)):
            expected = (num, values * num_anchors, height, width)
            if blob.shape != expected:
                raise self.error(
                    f"the {what} have shape {blob.shape}, expected {expected} for {num_anchors} anchors a cell",
                    remedy="correct ratio, scale or the layers that predict",
                )
        info = bottom[2].shape
        self._info_length = math.prod(info[1:])
        if info[:1] not in {(1,), (num,)} or self._info_length < 3:
            raise self.error(
                f"the sizes of images have shape {info}, expected ({num}, 3) or ({num}, 4)",
                remedy="give a row of height, width and scale for each image, or one for all",
            )
        self._shape_tops(top, num * self.param.proposal_param.post_nms_topn)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        num_anchors = len(self._anchors)
        info = bottom[2].data.reshape(len(bottom[2].data), self._info_length)
        regions, scores = [], []
        for image in range(bottom[0].num):
            found, their_scores = self._propose(
                bottom[0].data[image, num_anchors:], bottom[1].data[image], info[image % len(info)]
            )
            regions.append(np.insert(found, 0, image, axis=1))
            scores.append(their_scores)
        self._shape_tops(top, sum(len(found) for found in regions))
        if regions:
            np.concatenate(regions, out=top[0].data)
        if regions and len(top) > 1:
            np.concatenate(scores, out=top[1].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                blob.diff.fill(0)

    def _shape_tops(self, top: Blobs, num_regions: int) -> None:
        top[0].reshape(num_regions, 5)
        if len(top) > 1:
            top[1].reshape(num_regions)

    def _propose(self, scores: Array, codes: Array, info: Array) -> tuple[Array, Array]:
        """The regions of one image and their scores.

        Args:
            scores: shape (A, H, W).
            codes: shape (4 A, H, W).
            info: height, width and scale of the image.
        """
        param = self.param.proposal_param
        num_anchors, height, width = scores.shape
        # Cell by cell, then anchor by anchor: the order in which equal scores come first.
        by_cell = codes.reshape(num_anchors, 4, height, width).transpose(2, 3, 0, 1)
        boxes = _CODE.decode(by_cell, self._anchors_on_borders, self._anchors_on_borders, self.workspace)
        stride = np.float32(param.feat_stride)
        boxes[..., 0::2] += stride * np.arange(width, dtype=np.float32)[:, None, None]
        boxes[..., 1::2] += stride * np.arange(height, dtype=np.float32)[:, None, None, None]
        for axis, length in ((0, info[1]), (1, info[0])):
            np.clip(boxes[..., axis::2], 0, length - 1, out=boxes[..., axis::2])
        counted = self.workspace.array("proposal scores", (height, width, num_anchors))
        np.copyto(counted, scores.transpose(1, 2, 0))
        side = self.workspace.array("proposal side", counted.shape)
        small = self.workspace.array_of("small proposals", counted.shape, np.bool_)
        scale_high, scale_wide = info[2], info[3] if len(info) > 3 else info[2]
        for axis, scale in ((0, scale_wide), (1, scale_high)):
            np.subtract(boxes[..., axis + 2], boxes[..., axis], out=side)
            side += 1
            np.less(side, np.float32(param.min_size) * scale, out=small)
            np.copyto(counted, 0, where=small)
        boxes, counted = boxes.reshape(-1, 4), counted.reshape(-1)
        best = best_first(counted, self.workspace, param.pre_nms_topn)
        kept = best[suppress(boxes[best], param.nms_thresh, self.workspace, extent=1, most=param.post_nms_topn)]
        return boxes[kept], counted[kept]
