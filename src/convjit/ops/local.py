"""Locally connected layers: a convolution whose filters and biases are different ones at every output pixel.

    y[n,f,i,j] = b[f,i,j] + sum over c, ky, kx of x[n, c, i*S-P+ky, j*S-P+kx] * w[i,j,f,ky,kx,c]     x is 0 outside
    dx[n,c,y,x] = sum of dy[n,f,i,j] * w[i,j,f,ky,kx,c] over the f, i, j, ky, kx that meet in the pixel
    dw[i,j,f,ky,kx,c] = sum over n of dy[n,f,i,j] * x[n, c, i*S-P+ky, j*S-P+kx]

Groups are those of convolutions. i, j and f are one axis after the other in memory; channels lie innermost, so that the
numbers of one tap are neighbours for all three kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convjit.ops.base import Array, Arrays, NdArray
from convjit.ops.conv import ConvShape
from convjit.ops.product import ProductBackwardData, ProductBackwardWeights, ProductForward

__all__ = ["LocalBackwardData", "LocalBackwardWeights", "LocalForward", "LocalShape"]


@dataclass(frozen=True)
class LocalShape(ConvShape):
    """The geometry of a convolution, with filters of its own for every output pixel."""

    @property
    def weights(self) -> Array:
        """Shape of w: (rows * columns, F, K, K, C/G)."""
        return Array((self.rows * self.columns, self.filters, self.size, self.size, self.group_channels))

    def biases(self, shared: bool = False) -> Array:
        """Shape of b: (F, rows, columns)."""
        return super().biases(shared)

    def filters_at(self, w: NdArray) -> NdArray:
        """w as (rows, columns, F, K, K, C/G)."""
        return w.reshape(self.rows, self.columns, *w.shape[1:])


@dataclass(frozen=True)
class LocalForward(ProductForward[LocalShape]):
    """y from x, w and b; `neuron` is applied at the end."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        windows = self.shape.windows(self.shape.padded(arrays["x"]))
        w = self.shape.filters_at(arrays["w"])
        parts = [
            np.einsum("ncijuv,ijfuvc->nfij", windows[:, c], w[:, :, f], optimize=True) for c, f in self.shape.grouped()
        ]
        y = np.concatenate(parts, axis=1)
        if self.biases:
            y = y + arrays["b"]
        return {"y": self.neuron.forward(y) if self.neuron else y}


@dataclass(frozen=True)
class LocalBackwardData(ProductBackwardData[LocalShape]):
    """dx from dy and w."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        s, dy = self.shape, arrays["dy"]
        w = s.filters_at(arrays["w"])
        dx = np.zeros(s.input.logical(len(dy)), dy.dtype)
        padded = s.padded(dx)
        for i in range(s.rows):
            for j in range(s.columns):
                top, left = i * s.stride, j * s.stride
                for c, f in s.grouped():
                    window = padded[:, c, top : top + s.size, left : left + s.size]
                    window += np.einsum("nf,fuvc->ncuv", dy[:, f, i, j], w[i, j, f], optimize=True)
        p = s.padding
        return {"dx": padded[:, :, p : p + s.height, p : p + s.width]}


@dataclass(frozen=True)
class LocalBackwardWeights(ProductBackwardWeights[LocalShape]):
    """dw from x and dy, summed over the images."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        windows = self.shape.windows(self.shape.padded(arrays["x"]))
        parts = [
            np.einsum("nfij,ncijuv->ijfuvc", arrays["dy"][:, f], windows[:, c], optimize=True)
            for c, f in self.shape.grouped()
        ]
        dw = np.concatenate(parts, axis=2)
        return {"dw": dw.reshape(-1, *dw.shape[2:])}
