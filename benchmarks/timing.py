"""What all contenders of ``benchmarks.speed`` share: sizes, the clock, and the tables of the original's sampler."""

import os
import time

import numpy as np

BATCH, WARM_UP, TRAIN_STEPS = 64, 3, 20
SAMPLE_STEPS = 250  # of 1000: the cost is proportional to the steps, which `scaling` measures
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def timed(function, repeat):
    """Mean (wall-clock seconds, processor seconds of all threads) of ``repeat`` calls, after a warm-up."""
    for _ in range(WARM_UP):
        function()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        function()
    return (time.perf_counter() - started) / repeat, (time.process_time() - cpu) / repeat


def original_tables(T=1000):
    """The numbers of algorithm 2 of the DDPM paper, made once: lists a, b, σ of x ← a·x − b·ε + σ·z."""
    betas = np.linspace(1e-4, 0.02, T)
    alphas = 1.0 - betas
    alpha_bars = np.cumprod(alphas)
    a = 1.0 / np.sqrt(alphas)
    variances = betas * (1.0 - np.append(1.0, alpha_bars[:-1])) / (1.0 - alpha_bars)  # β̃: 0 at t = 0
    return [table.tolist() for table in (a, a * betas / np.sqrt(1.0 - alpha_bars), np.sqrt(variances))]
