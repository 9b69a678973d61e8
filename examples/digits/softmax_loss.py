"""Softmax with cross entropy, written in NumPy."""

import caffe
import numpy as np


class SoftmaxLossLayer(caffe.Layer):
    """The mean over a batch of -log(softmax(score)[label]).

    bottom[0]: scores, (N, classes). bottom[1]: labels, (N,).
    top[0]: the loss, one number. The prototxt gives it loss_weight: 1.
    """

    def setup(self, bottom, top):
        if len(bottom) != 2 or len(top) != 1:
            raise ValueError(f"SoftmaxLossLayer needs 2 bottoms and 1 top, not {len(bottom)} and {len(top)}")

    def reshape(self, bottom, top):
        if bottom[0].num != bottom[1].count:
            raise ValueError(f"{bottom[0].num} scores came with {bottom[1].count} labels")
        top[0].reshape(1)

    def forward(self, bottom, top):
        score = bottom[0].data
        self.label = bottom[1].data.astype(int)
        self.rows = np.arange(len(score))
        shifted = score - score.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        log_probability = shifted - log_sum
        self.probability = np.exp(log_probability)
        top[0].data[...] = -log_probability[self.rows, self.label].mean()

    def backward(self, top, propagate_down, bottom):
        if propagate_down[1]:
            raise ValueError("labels have no gradient")
        if propagate_down[0]:
            gradient = self.probability.copy()
            gradient[self.rows, self.label] -= 1
            bottom[0].diff[...] = gradient * (top[0].diff[0] / len(gradient))
