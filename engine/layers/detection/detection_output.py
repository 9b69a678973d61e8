"""DetectionOutput: predicted boxes and scores to a list of detections."""

from __future__ import annotations

import logging

import numpy as np

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.detection.boxes import Array, BoxCode
from farlayer.engine.layers.detection.detection_files import open_detection_files
from farlayer.engine.layers.detection.nms import best_first, suppress
from farlayer.engine.layers.detection.predictions import check_predictions, read_priors
from farlayer.engine.layers.no_gradient import NoGradientLayer
from farlayer.engine.registry import register

logger = logging.getLogger(__name__)

_ROW_LENGTH = 7  # image, label, score, xmin, ymin, xmax, ymax


@register("DetectionOutput")
class DetectionOutputLayer(NoGradientLayer):
    """For each image and class the boxes with a score above confidence_threshold that non-maximum suppression leaves.

    bottom[0]: locations, N samples of 4 values for each of P priors (and of C classes, without share_location).
    bottom[1]: scores, N samples of C values a prior. bottom[2]: priors, shape (1, 2, 4 P): boxes, then variances.
    bottom[3], where named: the image, not looked at.
    top[0]: shape (1, 1, K, 7), K known in forward, the best keep_top_k rows an image, sorted by image, label and
        falling score: image, label, score, xmin, ymin, xmax, ymax. Where nothing at all is found there is one row an
        image: its number, then -1.
    nms_param: of a class's boxes the best top_k count; a box that overlaps a better one by more than nms_threshold is
    left out; eta below 1 lowers the threshold, while above 0.5, with each box that is kept.
    save_output_param: files of detections, see detection_files.
    Indices and scores of the boxes that pass the threshold are allocated, an image and class at a time.
    Differs from Caffe: visualize opens no window, and says so in the log. force_backward leaves the layer out, where
    Caffe's stops the run. A background_label_id that is no class, as -1, is allowed with share_location, too. Of equal
    scores at the end of keep_top_k those of the first classes stay, where Caffe's choice is undefined.
    Source: weiliu89/caffe (branch ssd), src/caffe/layers/detection_output_layer.cpp.
    """

    min_num_bottom = 3
    max_num_bottom = 4
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.detection_output_param
        nms = param.nms_param
        if param.num_classes < 1:
            raise self.error(
                f"detection_output_param.num_classes is {param.num_classes or 'not given'}",
                remedy="give the number of classes, the background among them",
            )
        if not nms.nms_threshold >= 0:
            raise self.error(f"nms_threshold is {nms.nms_threshold}", remedy="use 0 or more")
        if not 0 < nms.eta <= 1:
            raise self.error(f"nms_param.eta is {nms.eta}", remedy="use a value above 0, at most 1")
        if param.visualize:
            logger.warning(
                "layer '%s': visualize has no effect, since this engine opens no windows; draw the rows of its top in "
                "a Python layer or script",
                self.name,
            )
        self._code = BoxCode(param.code_type, param.variance_encoded_in_target)
        self._num_loc_classes = 1 if param.share_location else param.num_classes
        self._top_k = nms.top_k if nms.HasField("top_k") else -1
        self._least_score = np.float32(
            param.confidence_threshold if param.HasField("confidence_threshold") else np.finfo(np.float32).min
        )
        self._classes = [label for label in range(param.num_classes) if label != param.background_label_id]
        self._files = open_detection_files(self, param.save_output_param, self._classes)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        num_classes = self.param.detection_output_param.num_classes
        self._num_priors = check_predictions(self, bottom, num_classes, self._num_loc_classes)
        top[0].reshape(1, 1, 1, _ROW_LENGTH)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        num = bottom[0].num
        priors = read_priors(self, bottom[2], self._code)
        codes = bottom[0].data.reshape(num, self._num_priors, self._num_loc_classes, 4)
        scores = bottom[1].data.reshape(num, self._num_priors, self.param.detection_output_param.num_classes)
        boxes = self._code.decode(codes, priors.boxes[:, None], priors.variances[:, None], self.workspace)
        images = [self._detect(image, boxes[image], scores[image]) for image in range(num)]
        if self._files is not None:
            for rows in images:
                self._files.add(rows[:, 1], rows[:, 2], rows[:, 3:])
        num_rows = sum(len(rows) for rows in images)
        top[0].reshape(1, 1, num_rows or num, _ROW_LENGTH)
        table = top[0].data[0, 0]
        if num_rows:
            np.concatenate(images, out=table)
        else:
            table.fill(-1)
            table[:, 0] = np.arange(num)

    def _detect(self, image: int, boxes: Array, scores: Array) -> Array:
        """The rows of one image.

        Args:
            image: its number.
            boxes: shape (P, location classes, 4).
            scores: shape (P, C).
        """
        param = self.param.detection_output_param
        parts = []
        for label in self._classes:
            of_class = scores[:, label]
            found = np.flatnonzero(of_class > self._least_score)
            found = found[best_first(of_class[found], self.workspace, self._top_k)]
            class_boxes = boxes[found, 0 if param.share_location else label]
            kept = suppress(class_boxes, param.nms_param.nms_threshold, self.workspace, eta=param.nms_param.eta)
            rows = np.empty((len(kept), _ROW_LENGTH), np.float32)
            rows[:, 0], rows[:, 1] = image, label
            rows[:, 2], rows[:, 3:] = of_class[found[kept]], class_boxes[kept]
            parts.append(rows)
        rows = np.concatenate(parts) if parts else np.empty((0, _ROW_LENGTH), np.float32)
        if -1 < param.keep_top_k < len(rows):
            # The best of all classes, then again in the order of classes; each class is sorted already.
            rows = rows[np.sort(best_first(rows[:, 2], self.workspace, param.keep_top_k))]
        return rows
