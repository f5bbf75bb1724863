"""How fast Markov chains mix."""

from __future__ import annotations

import numpy as np

WINDOW = 5.0


def integrated_autocorrelation(x: np.ndarray, window: float = WINDOW) -> np.ndarray:
    """tau = 1 + 2 sum_{t=1}^{W} rho_t of each coordinate, ``(K,)``, in units of the distance of two positions.

    W is the least number with W >= ``window`` * tau(W) (Sokal 1997). Autocovariances are means over chains, about the mean of all.

    Args:
        x: positions ``(T, C, K)`` of C chains. A coordinate that does not move has tau = T.
    """
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    x = x - x.mean((0, 1))
    spectrum = np.abs(np.fft.rfft(x, 2 * n, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, axis=0)[:n].mean(1) / n
    times = []
    for of in covariance.T:
        if of[0] <= 1e-30:
            times.append(float(n))
            continue
        sums = 2 * np.cumsum(of / of[0]) - 1
        enough = np.arange(n) >= window * sums
        times.append(float(sums[enough.argmax() if enough.any() else n - 1]))
    return np.array(times)
