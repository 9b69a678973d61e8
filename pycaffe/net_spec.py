"""Nets written in Python, under the name that `import caffe.net_spec` asks for."""

from farlayer.engine.net_spec import Function, NetSpec, Top, assign_proto, layers, param_name_dict, params, to_proto

__all__ = ["Function", "NetSpec", "Top", "assign_proto", "layers", "param_name_dict", "params", "to_proto"]
