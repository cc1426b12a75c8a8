"""ONNX graphs of networks, written node by node from their layers: no training library is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hyperexec_env.extras import need

__all__ = ["Graph", "Value"]

_OPSET, _VERSION = 17, 8
"""Versions of the operators and of the format, which onnxruntime has read since 1.13."""
_ACTIVATIONS: Final = {"tanh": "Tanh", "relu": "Relu"}


@dataclass(frozen=True)
class Value:
    """An array that a graph computes: arithmetic with it, or with numbers, adds a node."""

    graph: Graph
    name: str
    dtype: np.dtype[Any]

    def __add__(self, other: Any) -> Value:
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.node("Add", -self, other)

    def __mul__(self, other: Any) -> Value:
        return self.graph.node("Mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.node("Div", self, other)

    def __neg__(self) -> Value:
        return self.graph.node("Neg", self)

    def __abs__(self) -> Value:
        return self.graph.node("Abs", self)

    def __matmul__(self, other: Any) -> Value:
        return self.graph.node("MatMul", self, other)

    def __getitem__(self, columns: int | list[int]) -> Value:
        """Return one column, shape (n, width) -> (n,), or several, shape (n, columns)."""
        return self.graph.node("Gather", self, np.array(columns), axis=1)

    def clip(self, low: float, high: float) -> Value:
        """Return the values within bounds."""
        return self.graph.node("Clip", self, low, high)

    def astype(self, dtype: DTypeLike) -> Value:
        """Return the values as numbers of another type."""
        return self.graph.cast(self, np.dtype(dtype))

    def take(self, table: NDArray[Any]) -> Value:
        """Return the rows of a table that these whole numbers name."""
        stored = self.graph.store(table)
        return self.graph.node("Gather", stored, self, axis=0)

    def reshape(self, *shape: int) -> Value:
        """Return the values in another shape."""
        return self.graph.node("Reshape", self, np.array(shape))


class Graph:
    """A graph in the making: values, which nodes compute from inputs and from stored numbers."""

    def __init__(self) -> None:
        """Begin an empty graph.

        Raises:
            MissingExtra: onnx is not installed.
        """
        self._onnx, self._helper, self._numpy = (need(f"onnx{part}", "export") for part in ("", ".helper", ".numpy_helper"))
        self._nodes: list[Any] = []
        self._stored: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, width: int, dtype: DTypeLike = np.float32) -> Value:
        """Add an input of shape (n, width)."""
        self._inputs.append(self._described(name, np.dtype(dtype), (width,)))
        return Value(self, name, np.dtype(dtype))

    def _described(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        kind = self._helper.np_dtype_to_tensor_dtype(dtype)
        return self._helper.make_tensor_value_info(name, kind, ["n", *shape])

    def store(self, values: ArrayLike) -> Value:
        """Add numbers."""
        array = np.asarray(values)
        name = f"stored{len(self._stored)}"
        self._stored.append(self._numpy.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return Value(self, name, array.dtype)

    def node(self, operator: str, *given: Any, **attributes: Any) -> Value:
        """Add a node of an operator and return its value, which has the type of the first argument.

        Args:
            operator: Name of an ONNX operator.
            given: Values; arrays, which are stored; and floats, which are stored in the type of the first argument.
            attributes: Attributes of the operator.
        """
        dtype = given[0].dtype
        values = [
            each if isinstance(each, Value) else self.store(np.array(each, dtype) if isinstance(each, float) else each)
            for each in given
        ]
        result = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operator, [value.name for value in values], [result], **attributes))
        return Value(self, result, dtype)

    def cast(self, value: Value, dtype: np.dtype[Any]) -> Value:
        """Add numbers as those of another type."""
        found = self.node("Cast", value, to=self._helper.np_dtype_to_tensor_dtype(dtype))
        return Value(self, found.name, dtype)

    def log(self, value: Value) -> Value:
        """Add the natural logarithm."""
        return self.node("Log", value)

    def exp(self, value: Value) -> Value:
        """Add the exponential."""
        return self.node("Exp", value)

    def argmax(self, scores: Value) -> Value:
        """Add the index of the largest score along the last axis."""
        return Value(self, self.node("ArgMax", scores, axis=-1, keepdims=0).name, np.dtype(np.int64))

    def layers(self, layers: Any, activation: str, value: Value) -> Value:
        """Add the layers of a network, weights (out, in) and biases, to a value of shape (..., in)."""
        for number, (weight, bias) in enumerate(layers):
            value = self.node(_ACTIVATIONS[activation], value) if number else value
            value = value @ weight.T + bias
        return value

    def head(self, head: str, value: Value) -> Value:
        """Add the function of a last layer, shape (..., outputs) -> (..., outputs), of the head "argmax" (...)."""
        if head == "argmax":
            return self.argmax(value)
        return value.clip(-1.0, 1.0) if head == "clip" else self.node("Tanh", value) if head == "tanh" else value

    def single(self, value: Value) -> Value:
        """Add the only element of the last axis: shape (..., 1) -> (...)."""
        return self.node("Squeeze", value, np.array([-1]))

    def model(self, output: Value, shape: tuple[int, ...], about: Mapping[str, str]) -> bytes:
        """Return the finished model, whose output is named `action`.

        Args:
            output: The value to return.
            shape: Its shape, but for the first axis.
            about: Metadata.
        """
        self._nodes.append(self._helper.make_node("Identity", [output.name], ["action"]))
        returned = self._described("action", output.dtype, shape)
        graph = self._helper.make_graph(self._nodes, "policy", self._inputs, [returned], self._stored)
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], ir_version=_VERSION, producer_name="hyperexec-env")
        self._helper.set_model_props(model, dict(about))
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
