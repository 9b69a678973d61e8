"""MultiBoxLoss: how far predicted boxes and scores are from the objects of an image."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.detection.boxes import Array, Indices
from farlayer.engine.layers.detection.matching import ROW_LENGTH, read_ground_truth
from farlayer.engine.layers.detection.multibox_settings import Param, read_settings
from farlayer.engine.layers.detection.predictions import check_predictions, read_priors
from farlayer.engine.layers.detection.sampling import Sampler
from farlayer.engine.layers.loss.loss_layer import LossLayer
from farlayer.engine.layers.loss.normalization import normalization_mode, normalizer
from farlayer.engine.registry import register


@register("MultiBoxLoss")
class MultiBoxLossLayer(LossLayer):
    """(loc_weight * sum of location losses + sum of confidence losses) / n, the loss of SSD.

    bottom[0]: locations, N samples of 4 values for each of P priors (and of C classes, without share_location).
    bottom[1]: scores, N samples of C values a prior. bottom[2]: priors, shape (1, 2, 4 P): boxes, then variances.
    bottom[3]: objects, shape (1, 1, G, 8): image, label, instance, xmin, ymin, xmax, ymax, difficult; image -1: none.
    top[0]: the loss, 0-d.
    Location losses count priors that are matched with an object: predicted code minus the object's code, by
    loc_loss_type. Confidence losses, by conf_loss_type, count all priors, or with mining the matched ones and some of
    the largest loss without an object. n is N, N P, the number of matched priors (VALID) or 1, at least 1.
    propagate_down tells which of the two parts count; where it is not given, both do.
    With encode_variance_in_target the locations' gradient lacks the factor 1 / variance, as in Caffe.
    What forward allocates are some values a prior (matches, targets, the order of losses), none a prior and class.
    Differs from Caffe:
    - LOGISTIC without mining: each image's labels go to its own priors, where Caffe's slip among those of the image
      before; all other targets are 0, where Caffe has the background's label.
    - map_object_to_agnostic: mining, too, takes objects as one class; without share_location labels that have no box
      are refused, where Caffe leaves their objects out.
    - where propagate_down is not given, layers that learn may lie below the priors, where Caffe stops.
    - do_neg_mining: false without mining_type means NONE, where Caffe stops.
    - mining takes the first of equal losses, where Caffe's choice is undefined.
    - mining with an nms_param whose top_k is 0 is refused, since it would choose nothing.
    Source: weiliu89/caffe (branch ssd), src/caffe/layers/multibox_loss_layer.cpp.
    """

    exact_num_bottom = 4

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        if not self.param.propagate_down:
            # Kept in the param, as in Caffe. Priors and objects have no gradient, whatever lies below them.
            self.param.propagate_down.extend([True, True, False, False])
        self._settings = read_settings(self)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        settings = self._settings
        self._num_priors = check_predictions(self, bottom, settings.num_classes, settings.num_loc_classes)
        if bottom[3].count != bottom[3].height * ROW_LENGTH:
            raise self.error(
                f"the ground truth has shape {bottom[3].shape}, expected (1, 1, number of objects, {ROW_LENGTH})",
                remedy="give it rows of image, label, instance, xmin, ymin, xmax, ymax, difficult",
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        settings, param = self._settings, self._settings.param
        truth = read_ground_truth(
            self,
            bottom[3],
            background=settings.background,
            num_labels=settings.num_labels,
            use_difficult=param.use_difficult_gt,
        )
        num, num_priors = bottom[0].num, self._num_priors
        loc = bottom[0].data.reshape(num, num_priors, settings.num_loc_classes, 4)
        conf = bottom[1].data.reshape(num, num_priors, settings.num_classes)
        priors = read_priors(self, bottom[2], settings.code)
        sampler = Sampler(settings, truth, priors, loc, conf, self.workspace)
        self._samples = sampler.samples()
        self._error = sampler.location_error(self._samples.positives)
        losses = (
            param.loc_weight * float(settings.location.losses(self._error).sum()),
            self._confidence_loss(conf.reshape(-1, settings.num_classes)),
        )
        mode = normalization_mode(self.param.loss_param)
        self._normalizer = normalizer(mode, num, num_priors, len(self._samples.positives.rows))
        counted = sum(loss for loss, counts in zip(losses, self.param.propagate_down, strict=False) if counts)
        top[0].data[...] = counted / self._normalizer

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if any(propagate_down[2:]):
            raise self.error(
                "priors and ground truth cannot have a gradient",
                remedy="leave propagate_down out, or set it to false for the third and fourth bottom",
            )
        settings, positives = self._settings, self._samples.positives
        weight = np.float32(top[0].diff.item() / self._normalizer)
        if propagate_down[0]:
            diff = bottom[0].diff.reshape(-1, settings.num_loc_classes, 4)
            diff.fill(0)
            scale = weight * np.float32(settings.param.loc_weight)
            classes = settings.loc_classes(positives.labels)
            diff[positives.rows, classes] = settings.location.gradient(self._error) * scale
        if propagate_down[1]:
            self._confidence_gradient(weight, bottom[1].diff.reshape(-1, settings.num_classes))

    # Confidence: of all priors, or of those that were mined

    def _confidence_loss(self, scores: Array) -> float:
        settings, positives = self._settings, self._samples.positives
        if settings.mines:
            rows = self._counted_rows()
            counted = self.workspace.array("counted scores", (len(rows), settings.num_classes))
            np.take(scores, rows, axis=0, out=counted, mode="clip")
            self._targets = settings.targets(
                len(rows), np.arange(len(positives.rows)), positives.labels, rest_is_background=True
            )
        else:
            counted = scores
            self._targets = settings.targets(
                len(scores),
                positives.rows,
                positives.labels,
                rest_is_background=settings.param.conf_loss_type == Param.SOFTMAX,
            )
        prob = self.scratch.array("prob", counted.shape)
        return float(settings.confidence_losses(counted, self._targets, prob, self.workspace).sum())

    def _confidence_gradient(self, weight: np.float32, diff: Array) -> None:
        if not self._settings.mines:
            prob = self.scratch.array("prob", diff.shape)
            np.multiply(prob, weight, out=diff)
            diff[self._targets.rows, self._targets.classes] -= weight
            return
        rows = self._counted_rows()
        gradient = self.workspace.array("gradient", (len(rows), self._settings.num_classes))
        np.multiply(self.scratch.array("prob", gradient.shape), weight, out=gradient)
        gradient[self._targets.rows, self._targets.classes] -= weight
        diff.fill(0)
        diff[rows] = gradient

    def _counted_rows(self) -> Indices:
        return np.concatenate([self._samples.positives.rows, self._samples.negatives])
