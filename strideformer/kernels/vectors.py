"""VectorBuilder: llvmlite's builder of LLVM instructions, with loops and vectors of float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
POINTER = ir.PointerType()


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


BF16 = BFloat()


@dataclass
class Loop:
    """The body of a loop that is being built.

    Attributes:
        index: i64.
        carried: what goes from one turn to the next.
        results: to be filled by the body with the values that the next turn gets, and after the loop the last ones.
    """

    index: ir.Value
    carried: list[ir.Value]
    results: list[ir.Value] = field(default_factory=list)


class VectorBuilder(ir.IRBuilder):
    """Builds one function over vectors of as many float32 as a register of the CPU holds.

    Numbers in memory are float32 or bfloat16, and all are computed with in float32. A *word* is 32 bits of memory: one
    float32, or two bfloat16 that lie side by side.

    Args:
        name: the function's.
        arguments: its types.
        lanes: float32 numbers in a register, 16 with AVX-512 and 8 with AVX2.
        bf16: whether numbers in memory are bfloat16.
    """

    def __init__(self, name: str, arguments: Sequence[ir.Type], lanes: int, bf16: bool) -> None:
        self.llvm = ir.Module(name)
        kernel = ir.Function(self.llvm, ir.FunctionType(ir.VoidType(), arguments), name)
        super().__init__(kernel.append_basic_block("entry"))
        self.arguments: tuple[ir.Value, ...] = kernel.args
        self.lanes, self.bf16 = lanes, bf16
        self.number_bytes = 2 if bf16 else 4
        self.floats = ir.VectorType(F32, lanes)
        self.words = ir.VectorType(I32, lanes)
        self.numbers = ir.VectorType(BF16, lanes) if bf16 else self.floats

    @contextmanager
    def loop(
        self, start: ir.Value | int, stop: ir.Value | int, step: int, carried: Sequence[ir.Value] = ()
    ) -> Iterator[Loop]:
        """The body between ``start`` and ``stop``, once at least."""
        before = self.block
        body = self.append_basic_block("loop")
        self.branch(body)
        self.position_at_end(body)
        index = self.phi(I64)
        index.add_incoming(_i64(start), before)
        phis = [self.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        loop = Loop(index, phis)
        yield loop
        following = self.add(index, _i64(step))
        for phi, value in zip([index, *phis], [following, *loop.results], strict=True):
            phi.add_incoming(value, self.block)
        after = self.append_basic_block("after")
        self.cbranch(self.icmp_signed("<", following, _i64(stop)), body, after)
        self.position_at_end(after)

    def at(self, pointer: ir.Value, *products: ir.Value | int | tuple[ir.Value, int]) -> ir.Value:
        """A pointer so many bytes further, of which some are products of a value and a number."""
        for product in products:
            value, times = product if isinstance(product, tuple) else (product, 1)
            offset = _i64(value) if times == 1 else self.mul(_i64(value), _i64(times))
            pointer = self.gep(pointer, [offset], source_etype=I8)
        return pointer

    def word(self, pointer: ir.Value) -> ir.Value:
        """The word at a pointer, in each lane."""
        return self.everywhere(self.load(pointer, align=self.number_bytes, typ=I32))

    def everywhere(self, value: ir.Value) -> ir.Value:
        """One value, in each lane."""
        vector = self.insert_element(ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined), value, I32(0))
        return self.shuffle_vector(vector, vector, self.constant(0, I32))

    def constant(self, value: float, kind: ir.Type = F32) -> ir.Constant:
        """One constant, in each lane."""
        return ir.Constant(ir.VectorType(kind, self.lanes), [value] * self.lanes)

    def read_words(self, pointer: ir.Value) -> ir.Value:
        """As many words as lanes."""
        return self.load(pointer, align=4, typ=self.words)

    def read_floats(self, pointer: ir.Value) -> ir.Value:
        """As many float32 as lanes."""
        return self.load(pointer, align=4, typ=self.floats)

    def read(self, pointer: ir.Value) -> ir.Value:
        """As many numbers as lanes, as float32."""
        numbers = self.load(pointer, align=self.number_bytes, typ=self.numbers)
        return self.fpext(numbers, self.floats) if self.bf16 else numbers

    def write(self, floats: ir.Value, pointer: ir.Value) -> None:
        """Float32 to memory, rounded to its numbers."""
        numbers = self.fptrunc(floats, self.numbers) if self.bf16 else floats
        self.store(numbers, pointer, align=self.number_bytes)

    def multiply_add(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        """``left * right + addend`` of float32."""
        return self._call(f"llvm.fma.v{self.lanes}f32", self.floats, left, right, addend)

    def dot_words(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        """To float32 the products of the numbers in two vectors of words are added, lane by lane."""
        if not self.bf16:
            return self.multiply_add(self.bitcast(left, self.floats), self.bitcast(right, self.floats), addend)
        pairs = ir.VectorType(BF16, 2 * self.lanes)
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * self.lanes}"
        return self._call(name, self.floats, addend, self.bitcast(left, pairs), self.bitcast(right, pairs))

    def largest(self, left: ir.Value, right: ir.Value) -> ir.Value:
        """The larger one lane by lane; ``right`` where one is not a number."""
        return self.select(self.fcmp_ordered(">", left, right), left, right)

    def power_of_two(self, exponent: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """2^exponent for exponents from -126 to 126, by a polynomial for 2^x between -0.5 and 0.5."""
        whole = self._call(f"llvm.rint.v{self.lanes}f32", self.floats, exponent)
        rest = self.fsub(exponent, whole)
        power: ir.Value = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            power = self.multiply_add(power, rest, self.constant(coefficient))
        # The exponent's bits are above the 23 of the fraction.
        shifted = self.shl(self.fptosi(whole, self.words), self.constant(23, I32))
        return self.bitcast(self.add(self.bitcast(power, self.words), shifted), self.floats)

    def over_lanes(self, vector: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """All lanes combined, in each lane."""
        distance = self.lanes // 2
        while distance:
            places = ir.Constant(self.words, [lane ^ distance for lane in range(self.lanes)])
            vector = combine(vector, self.shuffle_vector(vector, vector, places))
            distance //= 2
        return vector

    def square_root(self, vector: ir.Value) -> ir.Value:
        """Lane by lane."""
        return self._call(f"llvm.sqrt.v{self.lanes}f32", self.floats, vector)

    def _call(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        """Of one of LLVM's own functions."""
        function: Any = self.llvm.globals.get(name)
        if function is None:
            kinds = [argument.type for argument in arguments]
            function = ir.Function(self.llvm, ir.FunctionType(result, kinds), name)
        return self.call(function, arguments)


def _i64(value: ir.Value | int) -> ir.Value:
    return ir.Constant(I64, value) if isinstance(value, int) else value
