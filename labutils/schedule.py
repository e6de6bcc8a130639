r"""The noise schedule: how much signal and how much noise there is at each step.

Index convention, used everywhere in this package: ``t`` runs from 0 to ``T - 1``. The DDPM paper counts from 1,
so its t is our ``t + 1``. ``t = 0`` is the *least* noisy image, not the clean one.

All tables are computed in float64 and cast to float32 once, when they are applied to an image.

Sources:
    Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models" (DDPM), https://arxiv.org/abs/2006.11239
    Nichol, Dhariwal 2021, "Improved DDPM" (the cosine schedule), https://arxiv.org/abs/2102.09672
"""

import numpy as np
from keras import ops

from labutils.support.arguments import check_count

PREDICTIONS = ("noise", "x0", "v", "velocity")  # what a network can predict


class NoiseSchedule:
    """Everything that follows from the noise variances β_0 … β_{T-1}.

    A new schedule is a function that returns one of these from its ``betas``; see :func:`linear_schedule`.

    Args:
        betas: shape (T,), strictly increasing values in the open interval (0, 1). The last ones may be equal where a
            schedule clips them (``allow_plateau``).
        name: what plots and provenance call it.
        allow_plateau: accept neighbouring β that are equal.
        options: the arguments beside T of the function that made it, for a checkpoint's record.

    Attributes (NumPy, float64, shape (T,)):
        betas: β_t, variance of the noise added by step t.
        alphas: α_t = 1 - β_t.
        alpha_bars: ᾱ_t = α_0 · … · α_t, the share of the signal's variance that is kept (DDPM eq. 4).
        alpha_bars_previous: ᾱ_{t-1}, with ᾱ_{-1} = 1: before the first step nothing is lost.
        posterior_variances: β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) (DDPM eq. 7); β̃_0 = 0.
        snr: signal-to-noise ratio ᾱ_t / (1 - ᾱ_t).

    Raises:
        ValueError: if ``betas`` is empty, not one-dimensional, outside (0, 1) or not increasing.
    """

    def __init__(self, betas, name="custom", allow_plateau=False, options=None):
        betas = np.array(betas, dtype=np.float64)  # a copy: the caller may change its own array later
        if betas.ndim != 1 or betas.size < 1:
            raise ValueError(f"betas must have shape (T,) with T >= 1, got shape {betas.shape}")
        if not np.all((betas > 0) & (betas < 1)):  # written so that NaN fails too
            raise ValueError(f"betas must lie between 0 and 1 (both excluded), got {betas.min()} … {betas.max()}")
        steps = np.diff(betas)
        if np.any(steps < 0) or (not allow_plateau and np.any(steps == 0)):
            raise ValueError("betas must increase from step to step: later steps add more noise")
        self.name = name
        self.options = options or {}
        self.T = betas.size
        self.betas = betas
        self.alphas = 1.0 - betas
        self.alpha_bars = np.cumprod(self.alphas)
        self.alpha_bars_previous = np.concatenate([[1.0], self.alpha_bars[:-1]])
        self.posterior_variances = betas * (1.0 - self.alpha_bars_previous) / (1.0 - self.alpha_bars)
        self.snr = self.alpha_bars / (1.0 - self.alpha_bars)

    def __repr__(self):
        return f"NoiseSchedule({self.name!r}, T={self.T}, betas {self.betas[0]:.3g} … {self.betas[-1]:.3g})"

    def add_noise(self, x0, t, noise):
        """Go from the clean image to step t in one jump (DDPM eq. 4): x_t = √ᾱ_t · x_0 + √(1 - ᾱ_t) · ε.

        Args:
            x0: clean data, shape (B, …), for images (B, H, W, C) in [-1, 1].
            t: integer step of each item, shape (B,), or one integer for all; 0 … T - 1.
            noise: ε, a standard normal sample of the same shape as ``x0``.

        Returns:
            x_t, a float32 tensor of the shape of ``x0``.

        Raises:
            ValueError: if the shapes differ, or t is out of range or not an integer.
        """
        check_same_shape("noise", noise, "x0", x0)
        self.check_t(t, batch=x0.shape[0])
        x0, noise = ops.cast(x0, "float32"), ops.cast(noise, "float32")
        signal_scale, noise_scale = self.scales(t, x0.ndim)
        return signal_scale * x0 + noise_scale * noise

    def target(self, x0, t, noise, prediction="noise"):
        """What a network should predict at step t.

        - ``noise``: ε (DDPM)
        - ``x0``: x_0
        - ``v``: √ᾱ_t ε − √(1 - ᾱ_t) x_0 (Salimans & Ho 2022, arXiv:2202.00512)
        - ``velocity``: u = ε − x_0, the velocity of flow matching (Lipman et al. 2022, arXiv:2210.02747)

        Args:
            x0, t, noise: as in :meth:`add_noise`.
            prediction: one of PREDICTIONS.

        Returns:
            Array or tensor of the shape of ``x0``.
        """
        check_prediction(prediction)
        if prediction == "noise":
            return noise
        if prediction == "x0":
            return x0
        if prediction == "velocity":
            return noise - x0
        signal_scale, noise_scale = self.scales(t, len(x0.shape))
        return signal_scale * noise - noise_scale * x0

    def predict_x0(self, xt, t, output, prediction="noise"):
        """The clean image that a network's output implies; the inverse of :meth:`target`.

        From the noise, x̂_0 = (x_t - √(1 - ᾱ_t) · ε_θ) / √ᾱ_t (DDPM eq. 15).

        Args:
            xt: noisy data, shape (B, …).
            t: as in :meth:`add_noise`.
            output: of the network, such as ε_θ(x_t, t); shape of ``xt``.
            prediction: what the network predicts, one of PREDICTIONS.

        Returns:
            x̂_0, a tensor of the shape of ``xt``; not clipped, so it may leave [-1, 1].

        Raises:
            ValueError: as :meth:`add_noise`, or an unknown prediction.
        """
        check_prediction(prediction)
        check_same_shape("the output", output, "xt", xt)
        self.check_t(t, batch=xt.shape[0])
        signal_scale, noise_scale = self.scales(t, len(xt.shape))
        if prediction == "noise":
            return (xt - noise_scale * output) / signal_scale
        if prediction == "x0":
            return output
        if prediction == "v":
            return signal_scale * xt - noise_scale * output
        return (xt - noise_scale * output) / (signal_scale + noise_scale)

    def t_of(self, tau):
        """The step with the SNR of x_τ = (1−τ) x_0 + τ ε on the straight path of flow matching; τ = 1 is T - 1.

        Args:
            tau: numbers in [0, 1], any shape.

        Returns:
            int32 of that shape: the step t whose τ_t = √(1 - ᾱ_t) / (√ᾱ_t + √(1 - ᾱ_t)) is nearest.

        Raises:
            ValueError: τ outside [0, 1].
        """
        tau = np.asarray(tau, np.float64)
        if not np.all((tau >= 0) & (tau <= 1)):
            raise ValueError(f"tau must lie in [0, 1], got {tau.min()} … {tau.max()}")
        return np.abs(self.taus - tau[..., None]).argmin(axis=-1).astype(np.int32)

    @property
    def taus(self):
        """τ_t, the place on the straight path with the SNR of step t: float64 (T,), growing."""
        return 1.0 / (1.0 + np.sqrt(self.snr))

    def record(self):
        """What :func:`from_record` makes the schedule from again: a dict of JSON types."""
        return {"name": self.name, "T": self.T, **(self.options or {"betas": self.betas.tolist()})}

    def scales(self, t, ndim):
        """√ᾱ_t and √(1 - ᾱ_t), shaped to multiply a batch of ``ndim`` axes."""
        return at(np.sqrt(self.alpha_bars), t, ndim), at(np.sqrt(1.0 - self.alpha_bars), t, ndim)

    def check_t(self, t, batch=None):
        """Raise ``ValueError`` unless t is an integer in 0 … T - 1, alone or one per item of the batch.

        Inside a compiled graph only shape and dtype are known. There only these are checked.
        """
        t = t if hasattr(t, "dtype") else np.asarray(t)
        if "int" not in str(t.dtype):
            raise ValueError(f"t must be an integer index 0 … {self.T - 1}, got dtype {t.dtype}")
        shape = tuple(t.shape)
        if len(shape) > 1 or (shape and batch is not None and shape[0] not in (batch, None)):
            raise ValueError(f"t must be one integer, or one for each of the {batch} items, got shape {shape}")
        try:
            values = np.asarray(t)
        except (NotImplementedError, TypeError, ValueError):  # symbolic: no values yet
            return
        if values.size and (values.min() < 0 or values.max() >= self.T):
            raise ValueError(f"t must lie in 0 … {self.T - 1}, got {values.min()} … {values.max()}")


def linear_schedule(T=1000, beta_start=1e-4, beta_end=0.02):
    """β grows linearly, as in the DDPM paper (section 4): from 1e-4 to 0.02 over T = 1000 steps.

    Args:
        T: number of diffusion steps, at least 1.
        beta_start: β_0. beta_end: β_{T-1}, greater than ``beta_start``.

    Returns:
        NoiseSchedule. With the defaults ᾱ_{T-1} ≈ 4.04e-5: almost nothing of the image is left.

    Raises:
        ValueError: if T < 1, or β leaves (0, 1) or does not increase.
    """
    check_count("T", T)
    if not 0 < beta_start < beta_end < 1:
        raise ValueError(f"need 0 < beta_start < beta_end < 1, got beta_start={beta_start}, beta_end={beta_end}")
    options = {"beta_start": beta_start, "beta_end": beta_end}
    return NoiseSchedule(np.linspace(beta_start, beta_end, T, dtype=np.float64), name="linear", options=options)


def cosine_schedule(T=1000, s=0.008, max_beta=0.999):
    """ᾱ falls along a squared cosine (Nichol & Dhariwal 2021, eq. 17), so that fewer steps are spent on pure noise.

    Args:
        T: number of diffusion steps, at least 1.
        s: small offset; without it β_0 would be almost 0.
        max_beta: upper limit of β, as in the paper. Without it ᾱ would be 0 after the last step.

    Returns:
        NoiseSchedule.

    Raises:
        ValueError: if T < 1 or an argument is out of range.
    """
    check_count("T", T)
    if not (s > 0 and 0 < max_beta < 1):
        raise ValueError(f"need s > 0 and 0 < max_beta < 1, got s={s}, max_beta={max_beta}")
    u = np.arange(T + 1, dtype=np.float64) / T
    f = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
    betas = np.minimum(1.0 - f[1:] / f[:-1], max_beta)  # β_t = 1 - ᾱ_t / ᾱ_{t-1}
    return NoiseSchedule(betas, name="cosine", allow_plateau=True, options={"s": s, "max_beta": max_beta})


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}


def from_record(record):
    """The schedule that :meth:`NoiseSchedule.record` describes.

    Raises:
        ValueError: not such a dict, or a schedule that this version does not know.
    """
    try:
        name, options = record["name"], {key: value for key, value in record.items() if key != "name"}
        if "betas" in options:
            return NoiseSchedule(options["betas"], name, allow_plateau=True)
        return SCHEDULES[name](**options)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this version cannot build the schedule {record!r}") from error


def at(table, t, ndim):
    """Look up ``table`` (shape (T,)) at ``t`` and shape the result so that it multiplies a batch of ``ndim`` axes."""
    values = ops.take(ops.convert_to_tensor(np.asarray(table, dtype="float32")), ops.cast(t, "int32"))
    return ops.reshape(values, (-1,) + (1,) * (ndim - 1)) if values.ndim else values


def check_prediction(prediction):
    """Raise ``ValueError`` unless ``prediction`` is one of PREDICTIONS."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}, known: {', '.join(PREDICTIONS)}")


def check_same_shape(name, array, other_name, other):
    """Raise ``ValueError`` unless two arrays have the same shape; unknown sizes in a graph pass."""
    shapes = tuple(array.shape), tuple(other.shape)
    same = len(shapes[0]) == len(shapes[1])
    if not same or any(None not in (a, b) and a != b for a, b in zip(*shapes, strict=True)):
        raise ValueError(f"{name} must have the shape of {other_name}, got {shapes[0]} and {shapes[1]}")
