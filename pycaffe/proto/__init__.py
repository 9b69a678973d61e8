"""Caffe's message classes under the name that `from caffe.proto import caffe_pb2` asks for."""

from farlayer.pycaffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
