"""The handwritten digits of scikit-learn, in shuffled batches; those to learn from are moved about a little."""

import json

import caffe
import numpy as np
from sklearn.datasets import load_digits

TEST_IMAGES = 297  # of 1,797
SIDE = 8  # pixels


class DigitsDataLayer(caffe.Layer):
    """Gives batches of images and labels.

    top[0]: images, (batch_size, 1, 8, 8), from 0 to 1; in TRAIN shifted by up to one pixel each way.
    top[1]: labels, (batch_size,), from 0 to 9.
    param_str: {"batch_size": N, "seed": S}. The seed splits the images into those of TRAIN and those of TEST, so both
    phases must be given the same one.
    """

    def setup(self, bottom, top):
        if len(bottom) != 0 or len(top) != 2:
            raise ValueError(f"DigitsDataLayer needs no bottoms and 2 tops, not {len(bottom)} and {len(top)}")
        params = json.loads(self.param_str)
        self.batch_size = params["batch_size"]
        digits = load_digits()
        order = np.random.default_rng(params["seed"]).permutation(len(digits.target))
        mine = order[:TEST_IMAGES] if self.phase == caffe.TEST else order[TEST_IMAGES:]
        self.images = digits.images[mine] / 16.0
        self.labels = digits.target[mine]
        self.random = np.random.default_rng(params["seed"] + 1)
        self.order = np.arange(len(mine))
        self.next = 0

    def reshape(self, bottom, top):
        top[0].reshape(self.batch_size, 1, SIDE, SIDE)
        top[1].reshape(self.batch_size)

    def forward(self, bottom, top):
        for row in range(self.batch_size):
            index = self.next_index()
            image = self.images[index]
            top[0].data[row, 0] = self.shifted(image) if self.phase == caffe.TRAIN else image
            top[1].data[row] = self.labels[index]

    def backward(self, top, propagate_down, bottom):
        pass

    def next_index(self):
        """Goes through all images, in a new order each time in TRAIN."""
        if self.next == 0 and self.phase == caffe.TRAIN:
            self.random.shuffle(self.order)
        index = self.order[self.next]
        self.next = (self.next + 1) % len(self.order)
        return index

    def shifted(self, image):
        """The image moved by up to one pixel along each axis; what comes in at the edge is empty."""
        down, right = self.random.integers(0, 3, size=2)
        return np.pad(image, 1)[down : down + SIDE, right : right + SIDE]
