"""What the layers of SSD compute, from the definition: plain Python, one box at a time, in double precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Box = Sequence[float]


def area(box: Box, extent: int = 0) -> float:
    width, height = box[2] - box[0], box[3] - box[1]
    return 0.0 if width < 0 or height < 0 else (width + extent) * (height + extent)


def overlap(a: Box, b: Box, extent: int = 0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width < 0 or height < 0:
        return 0.0
    common = (width + extent) * (height + extent)
    return common / (area(a, extent) + area(b, extent) - common) if common else 0.0


def encode(box: Box, prior: Box, variance: Box, code_type: str, variance_in_target: bool) -> list[float]:
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if code_type == "CENTER_SIZE":
        code = [
            ((box[0] + box[2]) / 2 - (prior[0] + prior[2]) / 2) / width,
            ((box[1] + box[3]) / 2 - (prior[1] + prior[3]) / 2) / height,
            math.log((box[2] - box[0]) / width),
            math.log((box[3] - box[1]) / height),
        ]
    else:
        code = [box[i] - prior[i] for i in range(4)]
        if code_type == "CORNER_SIZE":
            code = [code[0] / width, code[1] / height, code[2] / width, code[3] / height]
    return code if variance_in_target else [code[i] / variance[i] for i in range(4)]


def decode(code: Box, prior: Box, variance: Box, code_type: str, variance_in_target: bool) -> list[float]:
    code = [float(value) for value in code]
    if not variance_in_target:
        code = [code[i] * variance[i] for i in range(4)]
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if code_type == "CENTER_SIZE":
        x = code[0] * width + (prior[0] + prior[2]) / 2
        y = code[1] * height + (prior[1] + prior[3]) / 2
        w, h = math.exp(code[2]) * width, math.exp(code[3]) * height
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    if code_type == "CORNER_SIZE":
        code = [code[0] * width, code[1] * height, code[2] * width, code[3] * height]
    return [prior[i] + code[i] for i in range(4)]


def nms(
    boxes: Sequence[Box], scores: Sequence[float], threshold: float, eta: float = 1, top_k: int = -1, extent: int = 0
) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    if top_k >= 0:
        order = order[:top_k]
    kept: list[int] = []
    for index in order:
        if all(overlap(boxes[index], boxes[other], extent) <= threshold for other in kept):
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


def outside(box: Box) -> bool:
    return any(value < 0 or value > 1 for value in box)


def match(
    boxes: Sequence[Box], truths: Sequence[Box], per_prediction: bool, threshold: float, ignore_outside: bool
) -> tuple[list[int], list[float]]:
    matched, largest = [-1] * len(boxes), [0.0] * len(boxes)
    table: dict[tuple[int, int], float] = {}
    for p, box in enumerate(boxes):
        if ignore_outside and outside(box):
            matched[p] = -2
            continue
        for g, truth in enumerate(truths):
            value = overlap(box, truth)
            if value > 1e-6:
                table[p, g] = value
                largest[p] = max(largest[p], value)
    left = set(range(len(truths)))
    while left:
        pairs = [(value, -p, -g) for (p, g), value in table.items() if matched[p] == -1 and g in left]
        if not pairs:
            break
        value, p, g = max(pairs)
        matched[-p], largest[-p] = -g, value
        left.remove(-g)
    if per_prediction:
        for p in range(len(boxes)):
            choices = [(table[p, g], -g) for g in range(len(truths)) if table.get((p, g), -1) >= threshold]
            if matched[p] == -1 and choices:
                matched[p] = -max(choices)[1]
    return matched, largest


@dataclass
class MultiBox:
    """The parameters of a MultiBoxLoss, by the names of their fields."""

    num_classes: int = 3
    loc_loss_type: str = "SMOOTH_L1"
    conf_loss_type: str = "SOFTMAX"
    loc_weight: float = 1.0
    share_location: bool = True
    match_type: str = "PER_PREDICTION"
    overlap_threshold: float = 0.5
    use_prior_for_matching: bool = True
    background_label_id: int = 0
    use_difficult_gt: bool = True
    neg_pos_ratio: float = 3.0
    neg_overlap: float = 0.5
    code_type: str = "CORNER"
    encode_variance_in_target: bool = False
    map_object_to_agnostic: bool = False
    ignore_cross_boundary_bbox: bool = False
    bp_inside: bool = False
    mining_type: str = "MAX_NEGATIVE"
    sample_size: int = 64
    use_prior_for_nms: bool = False
    nms_threshold: float | None = None
    nms_top_k: int = -1

    def text(self) -> str:
        """As multibox_loss_param."""
        lines = []
        for name, value in vars(self).items():
            if name.startswith("nms_"):
                continue
            shown = str(value).lower() if isinstance(value, bool) else value
            lines.append(f"{name}: {shown % 2**32 if name == 'background_label_id' else shown}")
        if self.nms_threshold is not None:
            lines.append(f"nms_param {{ nms_threshold: {self.nms_threshold} top_k: {self.nms_top_k} }}")
        return "multibox_loss_param { " + " ".join(lines) + " }"

    # One prior

    def label(self, label: int) -> int:
        return self.background_label_id + 1 if self.map_object_to_agnostic else label

    def location_loss(self, error: Box) -> float:
        if self.loc_loss_type == "L2":
            return sum(e * e / 2 for e in error)
        return sum(e * e / 2 if abs(e) < 1 else abs(e) - 0.5 for e in error)

    def confidence_loss(self, scores: Box, hits: set[int]) -> float:
        scores = [float(score) for score in scores]
        if self.conf_loss_type == "SOFTMAX":
            (label,) = hits
            total = sum(math.exp(score - max(scores)) for score in scores)
            return -math.log(max(math.exp(scores[label] - max(scores)) / total, float(np.finfo(np.float32).tiny)))
        return sum(math.log1p(math.exp(-s if c in hits else s)) for c, s in enumerate(scores))

    def error(self, code: Box, prior: Box, variance: Box, truth: Box) -> list[float]:
        in_target = self.encode_variance_in_target
        goal = encode(truth, prior, variance, self.code_type, in_target)
        where = prior
        if not self.use_prior_for_matching:
            where = decode(code, prior, variance, self.code_type, in_target)
        error = [code[i] - goal[i] for i in range(4)]
        if self.bp_inside:
            error = [0.0 if where[i] < 0 or where[i] > 1 else error[i] for i in range(4)]
        return [error[i] / variance[i] for i in range(4)] if in_target else error


@dataclass
class Result:
    """What a MultiBoxLoss gives: sums of losses, and who counted, as (image, prior)."""

    location: float = 0.0
    confidence: float = 0.0
    positives: list[tuple[int, int, int]] = field(default_factory=list)
    """Image, prior, row of the ground truth."""
    negatives: list[tuple[int, int]] = field(default_factory=list)


def multibox_loss(param: MultiBox, loc: np.ndarray, conf: np.ndarray, priors: np.ndarray, rows: np.ndarray) -> Result:
    """The sums of losses.

    Args:
        param: the parameters.
        loc: shape (N, P, location classes, 4).
        conf: shape (N, P, C).
        priors: shape (2, P, 4).
        rows: ground truth, shape (G, 8).
    """
    result = Result()
    boxes, variances = priors.astype(float)
    num_priors = len(boxes)
    for image in range(len(loc)):
        mine = [g for g, row in enumerate(rows) if int(row[0]) == image and (param.use_difficult_gt or not row[7])]
        hits: list[set[int]] = [set() for _ in range(num_priors)]
        found: list[tuple[int, int]] = []
        matched: list[int] = [-1] * num_priors
        overlaps: list[float] = [0.0] * num_priors
        groups = [(0, mine)]
        if not param.share_location and not param.use_prior_for_matching:
            groups = [(c, [g for g in mine if int(rows[g, 1]) == c]) for c in range(param.num_classes)]
        for loc_class, group in groups:
            if not group:
                continue
            predicted = [
                decode(
                    loc[image, p, loc_class], boxes[p], variances[p], param.code_type, param.encode_variance_in_target
                )
                for p in range(num_priors)
            ]
            matched, overlaps = match(
                boxes.tolist() if param.use_prior_for_matching else predicted,
                [rows[g, 3:7].astype(float).tolist() for g in group],
                param.match_type == "PER_PREDICTION",
                param.overlap_threshold,
                param.ignore_cross_boundary_bbox,
            )
            found += [(p, group[m]) for p, m in enumerate(matched) if m >= 0]
        errors = {}
        for p, g in found:
            label = int(rows[g, 1])
            code = loc[image, p, 0 if param.share_location else label].astype(float)
            errors[p, g] = param.error(code, boxes[p], variances[p], rows[g, 3:7].astype(float))
            if param.conf_loss_type == "SOFTMAX":
                hits[p].clear()
            hits[p].add(param.label(label))
        negatives: list[int] = []
        if param.mining_type != "NONE" and mine:
            background = {param.background_label_id} if param.background_label_id >= 0 else set()
            losses = [param.confidence_loss(conf[image, p], hits[p] or background) for p in range(num_priors)]
            if param.mining_type == "HARD_EXAMPLE":
                for (p, _), error in errors.items():
                    losses[p] += param.location_loss(error)
                candidates, wanted = list(range(num_priors)), param.sample_size
            else:
                candidates = [p for p in range(num_priors) if matched[p] == -1 and overlaps[p] < param.neg_overlap]
                wanted = int(len(found) * param.neg_pos_ratio)
            if param.nms_threshold:
                where = boxes.tolist() if param.use_prior_for_nms else predicted
                candidates.sort(key=lambda p: -losses[p])
                candidates = candidates if param.nms_top_k < 0 else candidates[: param.nms_top_k]
                candidates = [p for p in candidates if area(where[p]) >= 1e-5]
                kept = nms([where[p] for p in candidates], [losses[p] for p in candidates], param.nms_threshold)
                candidates = [candidates[k] for k in kept]
            chosen = sorted(candidates, key=lambda p: -losses[p])[:wanted]
            if param.mining_type == "HARD_EXAMPLE":
                found = [(p, g) for p, g in found if p in chosen]
            negatives = [p for p in chosen if matched[p] == -1]
            for p in negatives:
                hits[p] = set(background)
        result.positives += [(image, p, g) for p, g in found]
        result.negatives += [(image, p) for p in negatives]
        result.location += sum(param.location_loss(errors[pair]) for pair in found)
        for p in range(num_priors):
            counts = param.mining_type == "NONE" or p in negatives or any(p == q for q, _ in found)
            if param.conf_loss_type == "SOFTMAX" and not hits[p]:
                hits[p] = {param.background_label_id}
            if counts:
                result.confidence += param.confidence_loss(conf[image, p], hits[p])
    return result
