"""The same network and loop in PyTorch, ONNX Runtime and OpenVINO, and diffusers' pipeline: only to compare speeds."""

import io
import time

import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool2d, relu

from benchmarks.contenders import BATCH, SAMPLE_STEPS, TRAIN_STEPS, WARM_UP, original_tables, timed
from labutils.support.machine import machine

torch.set_num_threads(machine()["cores"])


class Classic(nn.Module):
    """labutils.networks.build_classic_unet, layer by layer."""

    def __init__(self):
        super().__init__()

        def conv(channels, filters):
            return nn.Conv2d(channels, filters, 3, padding=1)

        self.time_hidden, self.time_map = nn.Linear(1, 32), nn.Linear(32, 28 * 28)
        self.down_1, self.down_2, self.middle = conv(2, 32), conv(32, 64), conv(64, 128)
        self.up_2, self.up_1, self.predicted_noise = conv(192, 64), conv(96, 32), nn.Conv2d(32, 1, 1)

    def forward(self, x, time_):
        """(B, 1, 28, 28) and t/T (B, 1) → predicted noise (B, 1, 28, 28)."""
        time_map = relu(self.time_map(relu(self.time_hidden(time_)))).view(-1, 1, 28, 28)
        x = torch.cat([x, time_map], 1).contiguous(memory_format=torch.channels_last)
        down1 = relu(self.down_1(x))
        down2 = relu(self.down_2(max_pool2d(down1, 2)))
        x = relu(self.middle(max_pool2d(down2, 2)))
        x = relu(self.up_2(torch.cat([interpolate(x, scale_factor=2), down2], 1)))
        x = relu(self.up_1(torch.cat([interpolate(x, scale_factor=2), down1], 1)))
        return self.predicted_noise(x)


def network(compiled):
    """The network in channels-last memory, (forward function, parameters)."""
    net = Classic().to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in net.parameters()) == 257_265
    return torch.compile(net) if compiled else net, list(net.parameters())


def train_step(compiled=False):
    """A training step; images/s."""
    net, parameters = network(compiled)
    optimizer = torch.optim.Adam(parameters, 2e-4, fused=True)  # the fastest of PyTorch's forms of Adam
    (x, time_), (noise, _) = example(), example()

    def step():
        optimizer.zero_grad()
        ((net(x, time_) - noise) ** 2).mean().backward()
        optimizer.step()

    return {"images_per_second": BATCH / timed(step, TRAIN_STEPS)[0]}


def torch_forward(compiled=False):
    """The network as a function (images, t/T) → predicted noise; channels last, perhaps by torch.compile."""
    return network(compiled)[0]


def onnx_forward():
    """The same by ONNX Runtime."""
    import onnxruntime

    file = io.BytesIO()
    names = {"input_names": ["x", "time"], "output_names": ["noise"]}
    torch.onnx.export(Classic().eval(), example(), file, dynamo=False, **names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine()["cores"]
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda x, time_: torch.from_numpy(session.run(None, {"x": x.numpy(), "time": time_.numpy()})[0])


def openvino_forward():
    """The same by OpenVINO, in float32."""
    import openvino

    model = openvino.convert_model(Classic().eval(), example_input=example())
    settings = {"INFERENCE_NUM_THREADS": machine()["cores"], "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **settings}).create_infer_request()
    return lambda x, time_: torch.from_numpy(request.infer([x.numpy(), time_.numpy()])[0])


def example():
    """A batch of images and t/T."""
    return torch.randn(BATCH, 1, 28, 28), torch.rand(BATCH, 1)


def draw(make, **options):
    """Ancestral sampling of one batch by the function that ``make`` returns; images/s at 1000 steps."""
    a, b, sigma = original_tables()
    with torch.no_grad():
        forward, (x, _) = make(**options), example()
        for _ in range(WARM_UP):
            forward(x, torch.zeros(BATCH, 1))
        started = time.perf_counter()
        for t in range(SAMPLE_STEPS - 1, -1, -1):
            predicted = forward(x, torch.full((BATCH, 1), t / 1000))
            x = a[t] * x - b[t] * predicted + sigma[t] * torch.randn_like(x)
    return {"images_per_second": BATCH * SAMPLE_STEPS / 1000 / (time.perf_counter() - started)}


def pipeline(steps=100):
    """Diffusers' DDPMPipeline with its own U-Net, of about the classic network's size; images/s at 1000 steps."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from diffusers.utils import logging

    logging.set_verbosity_error()
    net = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32, 32),
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        add_attention=False,
    )
    pipe = DDPMPipeline(net.to(memory_format=torch.channels_last), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    pipe(batch_size=BATCH, num_inference_steps=WARM_UP, output_type="np")
    started = time.perf_counter()
    pipe(batch_size=BATCH, num_inference_steps=steps, output_type="np")
    seconds = time.perf_counter() - started
    return {"images_per_second": BATCH * steps / 1000 / seconds, "parameters": sum(p.numel() for p in net.parameters())}
