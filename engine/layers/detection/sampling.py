"""Which priors a MultiBoxLoss counts: those that stand for an object, and which of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from farlayer.engine.layers.detection.boxes import Array, Indices, areas, crosses_border
from farlayer.engine.layers.detection.matching import UNMATCHED, GroundTruth, match
from farlayer.engine.layers.detection.multibox_settings import MultiBoxSettings, Param
from farlayer.engine.layers.detection.nms import best_first, suppress
from farlayer.engine.layers.detection.predictions import Priors
from farlayer.engine.scratch import Scratch

_SMALLEST_AREA = 1e-5  # boxes below it are no candidates in mining with suppression


@dataclass(frozen=True)
class Positives:
    """Priors that stand for an object.

    Attributes:
        rows: image * P + prior of each, shape (M,).
        truths: the row of its object in the ground truth.
        labels: the label of its object.
    """

    rows: Indices
    truths: Indices
    labels: Indices


@dataclass(frozen=True)
class Samples:
    """What counts in a batch: positives, and the rows (image * P + prior) of priors taken as background."""

    positives: Positives
    negatives: Indices


class Sampler:
    """Matches the priors of a batch with its objects, and mines among the rest.

    Images without objects have no samples.

    Args:
        settings: of the layer.
        truth: the objects of the batch.
        priors: the same P for all images.
        loc: predicted locations, shape (N, P, location classes, 4).
        conf: predicted scores, shape (N, P, classes).
        workspace: of the layer.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (FindMatches, MineHardExamples).
    """

    def __init__(
        self,
        settings: MultiBoxSettings,
        truth: GroundTruth,
        priors: Priors,
        loc: Array,
        conf: Array,
        workspace: Scratch,
    ) -> None:
        self._settings = settings
        self._truth = truth
        self._priors = priors
        self._loc = loc
        self._conf = conf
        self._workspace = workspace

    def samples(self) -> Samples:
        """Chooses the samples of all images."""
        positives: list[Positives] = []
        negatives: list[Indices] = []
        for image in range(len(self._loc)):
            rows = np.flatnonzero(self._truth.images == image)
            for loc_class, some_rows in self._groups(rows):
                found, rest = self._sample(image, loc_class, some_rows)
                positives.append(found)
                negatives.append(rest)
        return Samples(
            Positives(
                _joined([part.rows for part in positives]),
                _joined([part.truths for part in positives]),
                _joined([part.labels for part in positives]),
            ),
            _joined(negatives),
        )

    def location_error(self, positives: Positives) -> Array:
        """Gives predicted minus true code of each positive, shape (M, 4), as the location loss sees it.

        Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (EncodeLocPrediction).
        """
        settings, code = self._settings, self._settings.code
        images, priors = np.divmod(positives.rows, len(self._priors.boxes))
        predicted = self._loc[images, priors, settings.loc_classes(positives.labels)]
        boxes, variances = self._priors.boxes[priors], self._priors.variances[priors]
        error = predicted - code.encode(self._truth.boxes[positives.truths], boxes, variances)
        if settings.param.bp_inside:
            if not settings.param.use_prior_for_matching:
                boxes = code.decode(predicted, boxes, variances, self._workspace)
            error[crosses_border(boxes)] = 0
        if code.variance_in_target:
            error /= variances
        return error

    def _groups(self, rows: Indices) -> Iterator[tuple[int, Indices]]:
        """Which predicted boxes are matched with which objects: a class's own where each class has boxes."""
        param = self._settings.param
        if param.share_location or param.use_prior_for_matching:
            if rows.size:
                yield 0, rows
            return
        labels = self._truth.labels[rows]
        for label in np.unique(labels):
            yield int(label), rows[labels == label]

    def _sample(self, image: int, loc_class: int, rows: Indices) -> tuple[Positives, Indices]:
        param = self._settings.param
        matched, overlap = match(
            self._priors.boxes if param.use_prior_for_matching else self._predicted(image, loc_class),
            self._truth.boxes[rows],
            self._workspace,
            per_prediction=param.match_type == Param.PER_PREDICTION,
            threshold=param.overlap_threshold,
            ignore_outside=param.ignore_cross_boundary_bbox,
        )
        first_row = image * len(matched)
        priors = np.flatnonzero(matched > UNMATCHED)
        truths = rows[matched[priors]]
        positives = Positives(first_row + priors, truths, self._truth.labels[truths])
        if not self._settings.mines:
            return positives, np.empty(0, np.intp)
        chosen = self._mine(image, matched, overlap, positives)
        if self._settings.mining_type == Param.HARD_EXAMPLE:
            stays = np.isin(priors, chosen)
            positives = Positives(positives.rows[stays], positives.truths[stays], positives.labels[stays])
        return positives, first_row + chosen[matched[chosen] == UNMATCHED]

    def _predicted(self, image: int, loc_class: int) -> Array:
        priors = self._priors
        return self._settings.code.decode(
            self._loc[image, :, loc_class], priors.boxes, priors.variances, self._workspace
        )

    def _mine(self, image: int, matched: Indices, overlap: Array, positives: Positives) -> Indices:
        """Chooses the priors of the largest loss: among those without an object, or among all (HARD_EXAMPLE)."""
        settings, param = self._settings, self._settings.param
        if settings.mining_type == Param.HARD_EXAMPLE:
            candidates = np.arange(len(matched))
            wanted = param.sample_size
        else:
            candidates = np.flatnonzero((matched == UNMATCHED) & (overlap < param.neg_overlap))
            wanted = max(int(np.float32(len(positives.rows)) * np.float32(param.neg_pos_ratio)), 0)
        losses = self._losses(image, positives)[candidates]
        if not settings.nms_threshold > 0:
            return candidates[best_first(losses, self._workspace, wanted)]
        boxes = (self._priors.boxes if param.use_prior_for_nms else self._predicted(image, 0))[candidates]
        order = best_first(losses, self._workspace, param.nms_param.top_k)
        order = order[areas(boxes[order]) >= _SMALLEST_AREA]
        kept = suppress(boxes[order], settings.nms_threshold, self._workspace, most=wanted)
        return candidates[order[kept]]

    def _losses(self, image: int, positives: Positives) -> Array:
        """The loss of each prior of an image, shape (P,)."""
        settings = self._settings
        scores = self._conf[image]
        priors = positives.rows - image * len(scores)
        targets = settings.targets(len(scores), priors, positives.labels, rest_is_background=True)
        prob = self._workspace.array("mining prob", scores.shape)
        losses = settings.confidence_losses(scores, targets, prob, self._workspace)
        if settings.mining_type == Param.HARD_EXAMPLE:
            losses[priors] += settings.location.losses(self.location_error(positives))
        return losses


def _joined(parts: list[Indices]) -> Indices:
    return np.concatenate(parts) if parts else np.empty(0, np.intp)
