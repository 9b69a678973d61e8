"""The built-in layers, grouped as Caffe groups them; importing this package registers them all."""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, __name__ + "."):
    importlib.import_module(_module.name)
