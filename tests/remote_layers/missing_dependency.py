"""A module of layers that needs what is not installed."""

import no_such_package_at_all  # noqa: F401
