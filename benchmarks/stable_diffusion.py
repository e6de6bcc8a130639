"""The size of Stable Diffusion 1.5, for the comparison in lesson 8.

``python -m benchmarks.stable_diffusion`` builds its denoiser and its autoencoder from their published configuration
(https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5) with Hugging Face diffusers, without weights and
without memory (PyTorch's "meta" device). It counts parameters and multiply-adds of one call, and writes
``results/stable_diffusion.json``. The text encoder of CLIP ViT-L/14 (Radford et al. 2021,
https://arxiv.org/abs/2103.00020) is counted by its formula. It needs ``requirements-oracle.txt``.
"""

import argparse

from benchmarks import report

PICTURE, LATENT = (512, 512, 3), (64, 64, 4)
WORDS, WIDTH, VOCABULARY, BLOCKS = 77, 768, 49_408, 12  # of the text encoder


def text_encoder():
    """Parameters and multiply-adds of a transformer with BLOCKS blocks over WORDS vectors of WIDTH numbers."""
    attention, feed_forward = 4 * WIDTH**2, 2 * WIDTH * 4 * WIDTH  # weights of one block: Q, K, V, out; two layers
    biases = 4 * WIDTH + 4 * WIDTH + WIDTH + 2 * 2 * WIDTH  # of the same layers, and two normalisations
    block = WORDS * (attention + feed_forward) + 2 * WORDS**2 * WIDTH  # the last term is Q·Kᵀ and weights·V
    parameters = (VOCABULARY + WORDS) * WIDTH + BLOCKS * (attention + feed_forward + biases) + 2 * WIDTH
    return {"parameters": parameters, "multiply_adds": BLOCKS * block}


def diffusion_networks():
    """The same for the U-Net, the encoder and the decoder; built by diffusers."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    def channels_first(shape):
        return torch.empty(1, shape[2], shape[0], shape[1])

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=LATENT[0], cross_attention_dim=WIDTH)
        autoencoder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
            latent_channels=LATENT[2],
        )
        calls = {
            "denoiser": (unet, unet, (channels_first(LATENT), torch.empty(1), torch.empty(1, WORDS, WIDTH))),
            "encoder": (autoencoder.encoder, autoencoder.encode, (channels_first(PICTURE),)),
            "decoder": (autoencoder.decoder, autoencoder.decode, (channels_first(LATENT),)),
        }
        return {name: _count(*call) for name, call in calls.items()}


def _count(module, call, inputs):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*inputs)
    parameters = sum(weights.numel() for weights in module.parameters())
    return {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}


def measure():
    """The content of the result file."""
    import diffusers

    return {
        "name": "Stable Diffusion 1.5",
        "diffusers": diffusers.__version__,
        "picture": PICTURE,
        "latent": LATENT,
        "words": (WORDS, WIDTH),
        "parts": {"text encoder": text_encoder(), **diffusion_networks()},
    }


def main():
    """Count, and write the file."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    report.save("stable_diffusion", measure())


if __name__ == "__main__":
    main()
