"""A module of layers that cannot be imported."""

import caffe

caffe.log("about to fail")
raise ZeroDivisionError("in the module itself")
