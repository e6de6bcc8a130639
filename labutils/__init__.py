"""The maths of the lab. Each name is a word of the field; a module imports only what stands above it.

picture_folder  your own pictures: a folder of files
data            images in [-1, 1]
caption_data    coloured digits with a sentence each
schedule        the noise schedule: β, ᾱ, β̃; adding noise
networks        the U-Net and the other networks
training        the loss, one step, the training run
pretrained      weights that say where they come from
samplers        DDPM, DDIM, DPM-Solver++ and Heun
sampling        the reverse loop; guidance; inpainting
pipeline        from a caption to pictures
metrics         measures of sets of images, with intervals
evaluation      how good are generated images?
toys            the small problems of lessons 1 and 6
plots, presets  figures; the three sizes of a run
checks          tell a student what is wrong
"""

from labutils.support import startup  # noqa: F401 (first: it imports TensorFlow without its start-up messages)

__version__ = "1.0.0"
