"""Nets as graphs of layers, and lowering: from a net to the program of one step."""

from convjit.graph.counts import LayerCounts, counts
from convjit.graph.lower import lower
from convjit.graph.net import Net, Node
from convjit.graph.recipe import Recipe

__all__ = ["LayerCounts", "Net", "Node", "Recipe", "counts", "lower"]
