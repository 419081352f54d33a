"""The kernel of self-attention within each chunk of a packed micro-batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from strideformer.kernels.vectors import F32, I32, I64, POINTER, VectorBuilder

# Queries, and vectors of keys, whose scores are in registers at once: 16 of the 32 of AVX-512, 8 of the 16 of AVX2.
QUERIES_AT_ONCE = {16: 8, 8: 4}
KEY_VECTORS = 2
# Vectors of a value's features, and words of keys in one turn of the loop over them.
VALUE_VECTORS, WORDS_AT_ONCE = 2, 4
# Added to the scores of keys that are not there.
ABSENT = -1e30
# The least exponent of a power of two: what is smaller is nothing beside the largest, which is 1.
LEAST_EXPONENT = -126.0
# Degree of the polynomial for powers of two: errors of 3.5e-6, under those of bf16, and 2.5e-9.
DEGREES = {True: 4, False: 6}


def scratch_bytes(most_keys: int, head_size: int, lanes: int, bf16: bool) -> int:
    """Memory that a call needs whose longest chunk has so many tokens, rounded up to `keys_at_once`."""
    number_bytes = 2 if bf16 else 4
    return most_keys * (2 * head_size * number_bytes + 4 + QUERIES_AT_ONCE[lanes] * (4 + number_bytes))


def keys_at_once(lanes: int) -> int:
    """What the number of keys is rounded up to."""
    return KEY_VECTORS * lanes


class AttentionCode(VectorBuilder):
    """Softmax attention, of a few queries after the other to all keys of their chunk.

    For each head of a chunk its keys and values are copied to where they lie as the products read them. Then, for a
    few queries at once: scores with all keys, which stay in the core's first cache, with their largest; powers of two
    of them and their sums; and the products with values, divided by the sums. Products are summed in float32, whatever
    is multiplied.

    The function's arguments: (tokens, 3, heads, head_size) queries, keys and values; (tokens, heads, head_size)
    contexts to be written; (chunks + 1,) int32 where each chunk starts; (heads, biases) float32; the number of chunks;
    the first head and the end of those to attend with; by what scores are multiplied, times log2(e); `scratch_bytes` of
    memory; and the most keys that it was made for.

    Args:
        heads, head_size: of the model; the head size is a multiple of the lanes.
        lanes, bf16: as of `VectorBuilder`.
        biases: 0, or how many numbers a head has of which one is added to a score before it is multiplied: by the
            distance from query to key, 0 in the middle of them but for the last `keys_at_once`, which are for keys that
            are not there.
        reach: 0, or the distance beyond which biases leave keys without a share, so that they can be left out.
    """

    def __init__(self, heads: int, head_size: int, lanes: int, bf16: bool, biases: int = 0, reach: int = 0) -> None:
        super().__init__("attend", [*[POINTER] * 4, I64, I64, I64, F32, POINTER, I64], lanes, bf16)
        self.biases, self.reach = biases, reach
        self.head_size = head_size
        self.head_bytes = head_size * self.number_bytes
        self.row_bytes = heads * self.head_bytes
        self.head_words = self.head_bytes // 4
        self.queries = QUERIES_AT_ONCE[lanes]
        degree = DEGREES[bf16]
        powers = np.polynomial.Chebyshev.interpolate(np.exp2, degree, domain=[-0.5, 0.5])
        self.coefficients: Sequence[float] = powers.convert(kind=np.polynomial.Polynomial).coef.tolist()
        self._build()

    def _build(self) -> None:
        qkv, contexts, offsets, bias, chunks, first_head, end_head, scale, scratch, self.most = self.arguments
        self.keys = scratch
        self.values = self.at(self.keys, (self.most, self.head_bytes))
        self.presence = self.at(self.values, (self.most, self.head_bytes))
        self.scores = self.at(self.presence, (self.most, 4))
        # In float32 powers take the place of scores.
        self.shares = self.at(self.scores, (self.most, 4 * self.queries)) if self.bf16 else self.scores
        self.scale = self.everywhere(scale)
        at_once = keys_at_once(self.lanes)
        with self.loop(0, chunks, 1) as chunk:
            start, end = (
                self.sext(self.load(self.at(offsets, (chunk.index, 4), further), typ=I32, align=4), I64)
                for further in (0, 4)
            )
            self.length = self.sub(end, start)
            self.padded = self.and_(self.add(self.length, I64(at_once - 1)), I64(-at_once))
            with self.if_then(self.icmp_signed(">", self.length, I64(0))):
                self._mark_present()
                with self.loop(first_head, end_head, 1) as head:
                    query = self.at(qkv, (start, 3 * self.row_bytes), (head.index, self.head_bytes))
                    context = self.at(contexts, (start, self.row_bytes), (head.index, self.head_bytes))
                    self._copy_keys(self.at(query, self.row_bytes))
                    self._copy_values(self.at(query, 2 * self.row_bytes))
                    middle = (self.biases - at_once) // 2
                    no_distance = self.at(bias, (head.index, 4 * self.biases), 4 * middle)
                    with self.loop(0, self.length, self.queries) as first:
                        self._attend(first.index, query, context, no_distance)
        self.ret_void()

    def _mark_present(self) -> None:
        """Write what is added to the scores of each key: nothing, or much where there is none."""
        with self.loop(0, self.padded, 1) as key:
            present = self.icmp_signed("<", key.index, self.length)
            self.store(self.select(present, F32(0.0), F32(ABSENT)), self.at(self.presence, (key.index, 4)), align=4)

    def _row(self, source: ir.Value, number: ir.Value) -> ir.Value:
        """Of queries, keys or values; the first one for a number beyond the chunk's end."""
        present = self.icmp_signed("<", number, self.length)
        return self.at(source, (self.select(present, number, I64(0)), 3 * self.row_bytes))

    def _copy_keys(self, source: ir.Value) -> None:
        """As many keys as there are lanes, one word after the other: the first word of all of them, then the second."""
        lanes = self.lanes
        with self.loop(0, self.padded, 1) as key:
            row = self._row(source, key.index)
            lane = self.and_(key.index, I64(lanes - 1))
            target = self.at(self.keys, (self.sub(key.index, lane), self.head_bytes), (lane, 4))
            for word in range(self.head_words):
                copied = self.load(self.at(row, 4 * word), align=self.number_bytes, typ=I32)
                self.store(copied, self.at(target, 4 * lanes * word), align=4)

    def _copy_values(self, source: ir.Value) -> None:
        """Words of one feature: of one value, or of two that follow each other."""
        lanes = self.lanes
        with self.loop(0, self.padded, 4 // self.number_bytes) as value:
            target = self.at(self.values, (value.index, self.head_bytes))
            row = self._row(source, value.index)
            following = self._row(source, self.add(value.index, I64(1))) if self.bf16 else row
            for first in range(0, self.head_size, lanes):
                here, there = (
                    self.load(self.at(one, first * self.number_bytes), align=self.number_bytes, typ=self.numbers)
                    for one in (row, following)
                )
                if self.bf16:
                    turns = [place // 2 + place % 2 * lanes for place in range(2 * lanes)]
                    here = self.shuffle_vector(here, there, ir.Constant(ir.VectorType(I32, 2 * lanes), turns))
                self.store(here, self.at(target, 4 * first), align=4)

    def _attend(self, first: ir.Value, query: ir.Value, context: ir.Value, no_distance: ir.Value) -> None:
        """Contexts of a few queries from the first on; what is beyond the chunk's end is the last once more."""
        self._choose_keys(first)
        last = self.sub(self.length, I64(1))
        queries, contexts, biases = [], [], []
        for further in range(self.queries):
            number = self.add(first, I64(further))
            number = self.select(self.icmp_signed("<", number, last), number, last)
            queries.append(self.at(query, (number, 3 * self.row_bytes)))
            contexts.append(self.at(context, (number, self.row_bytes)))
            biases.append(self.at(no_distance, (number, -4)))
        largest = self._score(queries, biases)
        sums = [self._to_shares(row, most) for row, most in enumerate(largest)]
        self._mix(contexts, sums)

    def _choose_keys(self, first: ir.Value) -> None:
        """The keys that a few queries from the first on attend to."""
        self.first_key, self.end_key = I64(0), self.padded
        if self.reach:
            before = self.sub(first, I64(self.reach))
            before = self.select(self.icmp_signed(">", before, I64(0)), before, I64(0))
            self.first_key = self.and_(before, I64(-keys_at_once(self.lanes)))
            end = self.add(first, I64(self.queries + self.reach))
            self.end_key = self.select(self.icmp_signed("<", end, self.padded), end, self.padded)

    def _score(self, queries: list[ir.Value], biases: list[ir.Value]) -> list[ir.Value]:
        """Write scores, and give the largest of each row, in all lanes."""
        nothing = [self.constant(ABSENT)] * len(queries)
        with self.loop(self.first_key, self.end_key, keys_at_once(self.lanes), nothing) as key:
            block = self.at(self.keys, (key.index, self.head_bytes))
            vectors = range(KEY_VECTORS)
            start = [self.read_floats(self.at(self.presence, (key.index, 4), 4 * self.lanes * v)) for v in vectors]
            scores = [list(start) for _ in queries]
            if self.biases:
                for row, bias in enumerate(biases):
                    added = [self.read_floats(self.at(bias, (key.index, 4), 4 * self.lanes * v)) for v in vectors]
                    scores[row] = [self.fadd(*pair) for pair in zip(start, added, strict=True)]
            for word in range(self.head_words):
                places = [4 * self.lanes * (v * self.head_words + word) for v in vectors]
                keys = [self.read_words(self.at(block, place)) for place in places]
                for row, query in enumerate(queries):
                    asked = self.word(self.at(query, 4 * word))
                    scores[row] = [self.dot_words(keys[v], asked, scores[row][v]) for v in vectors]
            for row, found in enumerate(scores):
                most = key.carried[row]
                for v, vector in enumerate(found):
                    self.store(vector, self._column(self.scores, 4, row, key.index, v * self.lanes), align=4)
                    most = self.largest(vector, most)
                key.results.append(most)
        return [self.over_lanes(most, self.largest) for most in key.results]

    def _to_shares(self, row: int, most: ir.Value) -> ir.Value:
        """Write 2 to the power of what scores are above the largest, and give the sum, in all lanes."""
        above = self.fneg(self.fmul(most, self.scale))
        least = self.constant(LEAST_EXPONENT)
        with self.loop(
            self.first_key, self.end_key, keys_at_once(self.lanes), [self.constant(0.0)] * KEY_VECTORS
        ) as key:
            for v, total in enumerate(key.carried):
                column = v * self.lanes
                score = self.read_floats(self._column(self.scores, 4, row, key.index, column))
                exponent = self.largest(self.multiply_add(score, self.scale, above), least)
                share = self.power_of_two(exponent, self.coefficients)
                self.write(share, self._column(self.shares, self.number_bytes, row, key.index, column))
                key.results.append(self.fadd(total, share))
        first, *others = key.results
        for other in others:
            first = self.fadd(first, other)
        return self.over_lanes(first, self.fadd)

    def _column(self, start: ir.Value, size: int, row: int, key: ir.Value, further: int) -> ir.Value:
        """Where a row has what is of the key so many further, in scores or shares of so many bytes each."""
        return self.at(start, (self.most, size * row), (key, size), size * further)

    def _mix(self, contexts: list[ir.Value], sums: list[ir.Value]) -> None:
        """Write the sums of values times shares, divided by the sums of shares."""
        divided = [self.fdiv(self.constant(1.0), total) for total in sums]
        size, lanes = self.number_bytes, self.lanes
        for first in range(0, self.head_size // lanes, VALUE_VECTORS):
            vectors = range(min(VALUE_VECTORS, self.head_size // lanes - first))
            nothing = [self.constant(0.0)] * (len(contexts) * len(vectors))
            with self.loop(self.first_key, self.end_key, WORDS_AT_ONCE * 4 // size, nothing) as key:
                found = list(key.carried)
                for word in range(WORDS_AT_ONCE):
                    row_of_words = self.at(self.values, (key.index, self.head_bytes), 4 * self.head_size * word)
                    values = [self.read_words(self.at(row_of_words, 4 * lanes * (first + v))) for v in vectors]
                    for row in range(len(contexts)):
                        share = self.word(self._column(self.shares, size, row, key.index, word * 4 // size))
                        for v in vectors:
                            place = row * len(vectors) + v
                            found[place] = self.dot_words(values[v], share, found[place])
                key.results.extend(found)
            for row, context in enumerate(contexts):
                for v in vectors:
                    mixed = self.fmul(key.results[row * len(vectors) + v], divided[row])
                    self.write(mixed, self.at(context, (first + v) * lanes * size))
