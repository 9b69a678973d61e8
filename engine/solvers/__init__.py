"""Solvers: they train a net, test it and keep snapshots."""

from farlayer.engine.solvers.build import SOLVER_TYPES, build_solver
from farlayer.engine.solvers.listener import SolverListener
from farlayer.engine.solvers.sgd import SGDSolver
from farlayer.engine.solvers.solver import Solver

__all__ = ["SOLVER_TYPES", "SGDSolver", "Solver", "SolverListener", "build_solver"]
