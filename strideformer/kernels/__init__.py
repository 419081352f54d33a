"""Kernels for CPUs, written as LLVM's intermediate representation and compiled for the machine that they run on.

What torch has for attention and for norms on a CPU writes between its steps to memory what could stay in a core's
registers and its first cache. These do all steps on a few rows at once. LLVM comes with the package ``llvmlite``, so
that no compiler is needed; without it, or on a CPU of another kind, torch's operators are used.

Each kernel computes on the one core that calls it, and lets go of Python's lock meanwhile.
"""
