"""The kernel of a residual sum and the layer norm after it."""

from __future__ import annotations

from functools import reduce

from llvmlite import ir

from strideformer.kernels.vectors import F32, I64, POINTER, VectorBuilder

# Sums of the same number that go on side by side, since an addition takes a few clock ticks.
SUMS = 4


class AddAndNormCode(VectorBuilder):
    """``norm(added + states)`` row by row: what torch reads and writes three times stays in registers.

    The function's arguments: (rows, width) numbers that are added, and overwritten with the result; (rows, width)
    states; (width,) float32 weights and biases of the norm; its epsilon; the first row and the end of those to do.

    Args:
        width: of a row, a multiple of the lanes.
        lanes, bf16: as of `VectorBuilder`.
    """

    def __init__(self, width: int, lanes: int, bf16: bool) -> None:
        super().__init__("add_and_norm", [POINTER, POINTER, POINTER, POINTER, F32, I64, I64], lanes, bf16)
        added, states, weights, biases, epsilon, first, end = self.arguments
        row_bytes = width * self.number_bytes
        places = range(0, width, lanes)
        share = self.constant(1 / width)
        with self.loop(first, end, 1) as row:
            here = self.at(added, (row.index, row_bytes))
            there = self.at(states, (row.index, row_bytes))
            sums = []
            for place in places:
                further = place * self.number_bytes
                sums.append(self.fadd(self.read(self.at(here, further)), self.read(self.at(there, further))))
            mean = self.fmul(self._total(sums), share)
            centred = [self.fsub(vector, mean) for vector in sums]
            squares: list[ir.Value] = [self.constant(0.0)] * SUMS
            for number, vector in enumerate(centred):
                squares[number % SUMS] = self.multiply_add(vector, vector, squares[number % SUMS])
            variance = self.multiply_add(self._total(squares), share, self.everywhere(epsilon))
            factor = self.fdiv(self.constant(1.0), self.square_root(variance))
            for place, vector in zip(places, centred, strict=True):
                weight, bias = (self.read_floats(self.at(each, 4 * place)) for each in (weights, biases))
                self.write(
                    self.multiply_add(self.fmul(vector, factor), weight, bias), self.at(here, place * self.number_bytes)
                )
        self.ret_void()

    def _total(self, vectors: list[ir.Value]) -> ir.Value:
        """The sum of all lanes of all vectors, in each lane."""
        sums = [reduce(self.fadd, vectors[start::SUMS]) for start in range(min(SUMS, len(vectors)))]
        return self.over_lanes(reduce(self.fadd, sums), self.fadd)
